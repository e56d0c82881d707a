"""`medvl evaluate text`: how well structures are segmented by their names alone."""

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lib.errors import InputError
from lib.model.versions import serving_sha256
from lib.settings import Settings
from lib.train.dataset import Case, load_manifest, select_cases

if TYPE_CHECKING:
    from lib.predict.named import NamedSegmenter
    from lib.train.evaluate_text import Contender, TextRow

CACHE_BYTES = 2**31
"""Embeddings of about 500 slices, so that what is compared shares them."""
TRAIN = "train"
"""The split that the atlas is made from."""
_NARROWEST_TABLE = 150
_HEADINGS = {
    "dice": "Dice",
    "nsd": "NSD",
    "giou": "gIoU",
    "ciou": "cIoU",
    "localisation_mm": "centre mm",
    "left_right_errors": "wrong side",
    "false_positive_ml": "false ml",
}


def text(  # noqa: PLR0913 - each is an option of the command
    *,
    data: Annotated[Path | None, typer.Option(help="Folder with a manifest.json of labelled cases.")] = None,
    split: Annotated[str, typer.Option(help="Which cases of the manifest.")] = "val",
    phantoms: Annotated[int, typer.Option(min=0, help="So many procedural patients besides.")] = 0,
    case: Annotated[list[str] | None, typer.Option(help="Only this case; may be repeated.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only this structure; may be repeated.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores to this file.")] = None,
    weights: Annotated[str | None, typer.Option(help="Name of the segmenter's weights.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    baselines: Annotated[
        bool, typer.Option(help="Score a mean atlas of the train split, through the same segmenter, too.")
    ] = True,
    ablations: Annotated[
        bool, typer.Option(help="Score regions without the segmenter, and as points or boxes alone, too.")
    ] = False,
    mirrored: Annotated[bool, typer.Option(help="Show the model the mirror image of each case too.")] = False,
    seg_token: Annotated[
        Path | None,
        typer.Option(help="Score the [SEG] prompt of `medvl train joint` alone, from its file, too."),
    ] = None,
) -> None:
    """Ask for every label of every case by its name, and for known structures that are absent.

    gIoU and cIoU as in GRES (Liu et al., CVPR 2023): an empty union counts 1, and cIoU is cumulated.
    """
    if data is None and not phantoms:
        raise InputError("There is nothing to segment; give --data, a folder of cases, or --phantoms N.")
    cases = load_manifest(data) if data is not None else []
    chosen = select_cases(cases, split, case or ()) if data is not None else []
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise InputError(f"The folder of --json does not exist: {json_file.parent}; create it first.")
    settings = Settings(device=device) if weights is None else Settings(weights=weights, device=device)
    digest = serving_sha256(settings.weights, settings.weights_dir)
    from lib.train.evaluate_text import evaluate_text, text_as_json  # noqa: PLC0415 - PyTorch takes seconds

    model = load_finder(settings)
    contenders = [
        *_of_model(model, ablations=ablations, mirrored=mirrored),
        *(_of_seg_token(model, seg_token, settings) if seg_token else []),
        *(_of_atlas(model, cases) if baselines else []),
    ]
    with TemporaryDirectory(prefix="medvl-phantoms-") as folder:
        rows = _told(evaluate_text(contenders, [*chosen, *_unseen(phantoms, Path(folder))], label or ()))
    if not rows:
        raise InputError(f"No structure is called {label} in the {len(chosen)} cases of split '{split}'.")
    if json_file is not None:
        json_file.write_text(json.dumps(text_as_json(rows, split, digest), indent=1, allow_nan=False) + "\n")
    _print_scores(rows, split)
    _exit_if_any_failed(rows)


def _unseen(count: int, folder: Path) -> list[Case]:
    from lib.train.phantom_cases import FIRST_PHANTOM, phantom_cases  # noqa: PLC0415 - takes seconds

    console = Console(stderr=True, soft_wrap=True)
    return phantom_cases(range(FIRST_PHANTOM, FIRST_PHANTOM + count), folder, console.print)


def load_finder(settings: Settings) -> "NamedSegmenter":
    """The model that finds structures by name, for a command without a server."""
    from lib.configs.text import load_by_name  # noqa: PLC0415 - takes seconds
    from lib.predict import load_predictor  # noqa: PLC0415

    predictor = load_predictor(
        settings.weights, settings.weights_dir, settings.device, CACHE_BYTES, settings.engine
    )
    return load_by_name(settings, predictor)


def _of_model(model: "NamedSegmenter", *, ablations: bool, mirrored: bool) -> "list[Contender]":
    from dataclasses import replace  # noqa: PLC0415

    from lib.predict.from_region import Drawing  # noqa: PLC0415 - PyTorch takes seconds
    from lib.train.evaluate_text import MIRRORED, Contender  # noqa: PLC0415

    contenders = [Contender("", lambda _: model)]
    if mirrored:
        contenders.append(Contender(MIRRORED, lambda _: model, mirrored=True))
    for how in (Drawing.MAP, Drawing.POINT, Drawing.BOX) if ablations else ():
        other = replace(model, options=replace(model.options, how=how))
        contenders.append(Contender(how.value, lambda _, other=other: other))  # type: ignore[misc]
    return contenders


def _of_seg_token(model: "NamedSegmenter", path: Path, settings: Settings) -> "list[Contender]":
    from lib.predict.seg_token import load_seg_token  # noqa: PLC0415 - takes seconds
    from lib.train.evaluate_text import SEG_TOKEN, Contender  # noqa: PLC0415

    told = load_seg_token(model.predictor, path, model.locator.names, settings.weights_dir)
    return [Contender(SEG_TOKEN, lambda _: told)]


def _of_atlas(model: "NamedSegmenter", cases: list[Case]) -> "list[Contender]":
    """The atlas of the train split, without the case that is scored; none if there are no labelled scans."""
    from dataclasses import replace  # noqa: PLC0415

    from lib.train.atlas import build_atlas  # noqa: PLC0415 - takes seconds
    from lib.train.evaluate_text import ATLAS, Contender  # noqa: PLC0415

    train = [one for one in cases if one.split == TRAIN]
    if not train:
        return []

    @lru_cache(maxsize=2)
    def without(name: str) -> "NamedSegmenter":
        atlas = build_atlas([one for one in train if one.name != name], model.locator.names)
        return replace(model, locator=atlas)

    in_train = {one.name for one in train}
    return [Contender(ATLAS, lambda case: without(case.name if case.name in in_train else ""))]


def _told(rows: "Iterable[TextRow]") -> "list[TextRow]":
    """All rows; each is told on stderr as it comes."""
    console, told = Console(stderr=True, soft_wrap=True), []
    for row in rows:
        dice = None if row.scores is None else row.scores.dice
        outcome = "failed" if row.scores is None else "absent" if dice is None else f"Dice {dice:.3f}"
        console.print(f"{row.case} {row.label} ({row.kind}): {outcome}", markup=False, highlight=False)
        told.append(row)
    return told


def _print_scores(rows: "list[TextRow]", split: str) -> None:
    from lib.train.evaluate_text import summarise_text  # noqa: PLC0415 - PyTorch takes seconds

    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, _NARROWEST_TABLE))
    table = Table("case", "label", title=f"text, split {split}")
    table.add_column("kind", no_wrap=True)
    for heading in _HEADINGS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        if row.scores is not None:
            values = [getattr(row.scores, metric) for metric in _HEADINGS]
            table.add_row(row.case, row.label, row.kind, *map(_shown, values))
    table.add_section()
    for kind, means in summarise_text(rows).items():
        table.add_row("mean", "", kind, *(_shown(means.get(metric)) for metric in _HEADINGS))
    console.print(table)
    console.print("NSD at 2 mm. Research use only, not a medical device.", highlight=False)
    if split == TRAIN:
        console.print("Scores on a training split show that the program works, not how well it generalises.")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _exit_if_any_failed(rows: "list[TextRow]") -> None:
    failed = [row for row in rows if row.scores is None]
    errors = Console(stderr=True, soft_wrap=True)
    for row in failed:
        errors.print(f"{row.case} ({row.kind}): {row.error}", markup=False, highlight=False)
    if failed:
        raise typer.Exit(1)
