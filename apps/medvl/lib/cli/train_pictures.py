"""`medvl train pictures`: trains the PicturePrior, which diagnosis rests on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lib.errors import InputError
from lib.model.weights import default_weights_dir

if TYPE_CHECKING:
    from lib.train.picture_data import PictureCase

TRAIN = "train"
OUTPUT = Path("training") / "pictures"
_CACHE_BYTES = 2**28


def pictures(
    *,
    data: Annotated[list[Path], typer.Option(help="Folder with a manifest.json; may be repeated.")],
    split: Annotated[str, typer.Option(help="Which cases of the manifests.")] = TRAIN,
    rows: Annotated[
        Path | None,
        typer.Option(help="Learn from the rows of `medvl dataset build` about the pictures of --data."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings of the stage (YAML).")] = None,
    output: Annotated[Path, typer.Option(help="Folder for embeddings, checkpoints and weights.")] = OUTPUT,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in --output.")] = False,
    budget: Annotated[float | None, typer.Option(help="Stop, resumable, after so many minutes.")] = None,
) -> None:
    """Teach the PicturePrior maps, the [SEG] vector, modalities and conditions from labelled pictures."""
    console = Console(soft_wrap=True)
    from lib.model.picture_weights import PICTURE_WEIGHTS, load_picture_config  # noqa: PLC0415
    from lib.predict import load_predictor  # noqa: PLC0415
    from lib.train.loop import CHECKPOINT  # noqa: PLC0415
    from lib.train.picture_data import split_held_out, stored_pictures  # noqa: PLC0415
    from lib.train.picture_familiar import with_familiar  # noqa: PLC0415
    from lib.train.picture_stage import PICTURE_STAGE, load_picture_stage, train_pictures  # noqa: PLC0415
    from lib.train.stages import write_parameters  # noqa: PLC0415

    if (output / CHECKPOINT).is_file() and not resume:
        raise InputError(
            f"{output.name} holds a checkpoint already; add --resume to go on, or give another --output."
        )
    settings = load_picture_stage(config or PICTURE_STAGE)
    prior = load_picture_config(settings.config)
    cases = _of_manifests(data, split) if rows is None else _of_rows(rows, data, split, console)
    learned, held = split_held_out(cases, settings.holdout)
    console.print(f"{len(learned)} pictures to learn from, {len(held)} held out", highlight=False)
    predictor = load_predictor(settings.weights, default_weights_dir(), "cpu", _CACHE_BYTES)
    stored = stored_pictures(
        learned,
        predictor,
        output / "views",
        settings.variants,
        lambda text: console.print(text, markup=False),
    )

    def report(step: int, losses: Mapping[str, float]) -> None:
        said = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        console.print(f"{step:6d}/{settings.iterations}  {said}", highlight=False)

    budget_s = None if budget is None else budget * 60
    trained = train_pictures(stored, predictor.segmenter, prior, settings, output, budget_s, report)
    if trained is None:
        console.print("The time is up; go on with the same command and --resume.")
        return
    path = output / f"{PICTURE_WEIGHTS}.safetensors"
    write_parameters(with_familiar(trained, stored, prior), path)
    console.print(f"Trained parameters: {path}", markup=False)


def _of_manifests(data: Sequence[Path], split: str) -> "list[PictureCase]":
    from lib.train.picture_data import load_picture_cases  # noqa: PLC0415 - PyTorch takes seconds

    return [case for folder in data for case in load_picture_cases(folder, split)]


def _of_rows(folder: Path, data: Sequence[Path], split: str, console: Console) -> "list[PictureCase]":
    from lib.train.picture_rows import load_picture_rows  # noqa: PLC0415 - PyTorch takes seconds

    if split != TRAIN:
        raise InputError(f"Rows are learned from in the split {TRAIN} only; leave out --split, or --rows.")
    found = load_picture_rows(folder, data)
    licences = ", ".join(f"{licence} ({count})" for licence, count in found.licences)
    console.print(
        f"{len(found.cases)} rows of pictures; {found.dropped} dropped in review, {found.volumes} of volumes "
        f"left out. Their licences, which the weights inherit: {licences}",
        markup=False,
        highlight=False,
    )
    return list(found.cases)
