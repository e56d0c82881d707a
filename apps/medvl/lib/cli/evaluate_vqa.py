"""`medvl evaluate vqa`: how well closed and open questions are answered."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lib.cli.evaluate_text import load_finder
from lib.errors import InputError
from lib.model.versions import serving_sha256
from lib.predict.quick import for_words
from lib.settings import Settings
from lib.train.dataset import load_manifest, select_cases

if TYPE_CHECKING:
    from lib.train.evaluate_vqa import Subject, VqaRow, VqaRows

_NARROWEST_TABLE = 150
_OPEN_HEADINGS = {
    "bleu1": "BLEU-1",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "numbers_within_10": "numbers within 10 %",
    "number_error_median": "median error",
    "laterality": "sides",
    "words_right": "names",
}


def vqa(  # noqa: PLR0913 - each is an option of the command
    *,
    data: Annotated[Path | None, typer.Option(help="Folder with a manifest.json of labelled cases.")] = None,
    split: Annotated[str, typer.Option(help="Which cases of the manifest.")] = "val",
    phantoms: Annotated[int, typer.Option(min=0, help="So many procedural patients besides.")] = 0,
    case: Annotated[list[str] | None, typer.Option(help="Only this case; may be repeated.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores to this file.")] = None,
    weights: Annotated[str | None, typer.Option(help="Name of the segmenter's weights.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    baselines: Annotated[bool, typer.Option(help="Score answers that look at no image too.")] = True,
) -> None:
    """Ask closed and open questions whose answers follow from each case's own labels.

    A question that the model does not answer counts as wrong.
    """
    if data is None and not phantoms:
        raise InputError("There is nothing to ask about; give --data, a folder of cases, or --phantoms N.")
    cases = select_cases(load_manifest(data), split, case or ()) if data is not None else []
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise InputError(f"The folder of --json does not exist: {json_file.parent}; create it first.")
    settings = Settings(device=device) if weights is None else Settings(weights=weights, device=device)
    digest = serving_sha256(settings.weights, settings.weights_dir)
    from lib.train.evaluate_vqa import (  # noqa: PLC0415 - PyTorch takes seconds
        case_subjects,
        evaluate_vqa,
        phantom_subjects,
        vqa_as_json,
    )

    def subjects() -> "Iterator[Subject | VqaRow]":
        yield from case_subjects(cases)
        yield from phantom_subjects(phantoms)

    model, console = for_words(load_finder(settings)), Console(stderr=True, soft_wrap=True)

    def told(name: str) -> None:
        console.print(f"{name}: asked", markup=False, highlight=False)

    rows = evaluate_vqa(subjects(), lambda: model, told, baselines=baselines)
    if json_file is not None:
        json_file.write_text(json.dumps(vqa_as_json(rows, split, digest), indent=1, allow_nan=False) + "\n")
    _print_scores(rows, split)
    _exit_if_any_failed(rows.closed)


def _print_scores(rows: "VqaRows", split: str) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, _NARROWEST_TABLE))
    console.print(_closed_table(rows.closed, split))
    console.print(_open_table(rows, split))
    console.print(
        "Open questions: words of the short answer; numbers within 10 % of the reference's, and their median "
        "relative error; names: which of two, plane, phase. A question without an answer scores 0. "
        "Research use only, not a medical device.",
        highlight=False,
    )
    if split == "train":
        console.print("Scores on a training split show that the program works, not how well it generalises.")


def _closed_table(rows: "Sequence[VqaRow]", split: str) -> Table:
    from lib.train.evaluate_vqa import mean_by_matter  # noqa: PLC0415 - PyTorch takes seconds

    kinds = list(dict.fromkeys(row.kind for row in rows if not row.error))
    matters = list(dict.fromkeys(row.about for row in rows if row.about))
    table = Table("kind", title=f"vqa, closed questions, split {split}: right of asked")
    for matter in [*matters, "all", "share"]:
        table.add_column(matter, justify="right", no_wrap=True)
    for kind in kinds:
        counts = mean_by_matter(rows, kind)
        right, asked = _total(list(counts.values()))
        shown = [_shown(counts.get(matter)) for matter in matters]
        table.add_row(kind, *shown, _shown((right, asked)), f"{right / max(1, asked):.2f}")
    return table


def _open_table(rows: "VqaRows", split: str) -> Table:
    from lib.train.open_scores import summarise_open  # noqa: PLC0415 - PyTorch takes seconds

    table = Table("kind", title=f"vqa, open questions, split {split}")
    for heading in ["asked", *_OPEN_HEADINGS.values()]:
        table.add_column(heading, justify="right", no_wrap=True)
    for kind, means in summarise_open(rows.open).items():
        asked = sum(row.kind == kind for row in rows.open)
        shown = [f"{means[metric]:.2f}" if metric in means else "" for metric in _OPEN_HEADINGS]
        table.add_row(kind, str(asked), *shown)
    return table


def _total(counts: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(right for right, _ in counts), sum(asked for _, asked in counts)


def _shown(count: tuple[int, int] | None) -> str:
    return "" if count is None else f"{count[0]}/{count[1]}"


def _exit_if_any_failed(rows: "Sequence[VqaRow]") -> None:
    failed = [row for row in rows if row.error]
    errors = Console(stderr=True, soft_wrap=True)
    for row in failed:
        errors.print(f"{row.case} ({row.kind}): {row.error}", markup=False, highlight=False)
    if failed:
        raise typer.Exit(1)
