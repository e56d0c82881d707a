"""`medvl evaluate diagnosis`: how well pictures are read."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lib.errors import InputError
from lib.model.versions import serving_sha256
from lib.predict.scaling import MOST, Scaling
from lib.settings import Settings

if TYPE_CHECKING:
    from lib.train.evaluate_diagnosis import DiagnosisRow

_MEGABYTE = 2**20


def diagnosis(  # noqa: PLR0913 - each is an option of the command
    *,
    data: Annotated[Path, typer.Option(help="Folder with a manifest.json of labelled pictures.")],
    split: Annotated[str, typer.Option(help="Which cases of the manifest.")] = "val",
    case: Annotated[list[str] | None, typer.Option(help="Only this case; may be repeated.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores to this file.")] = None,
    paths: Annotated[int, typer.Option(min=1, max=MOST, help="Paths of reasoning, at most.")] = 2,
    perturbations: Annotated[int, typer.Option(min=1, max=MOST, help="Looks, at most.")] = 2,
    weights: Annotated[str | None, typer.Option(help="Name of the segmenter's weights.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    baselines: Annotated[bool, typer.Option(help="Score other couplings and baselines too.")] = True,
) -> None:
    """Diagnose every picture and compare mask and condition with the reference.

    A modality's own row is the plain reading: one path, one look. The others are couplings, baselines, the
    consensus of several readings, and the best of them by the ground truth (oracle).
    """
    from lib.train.picture_data import load_picture_cases  # noqa: PLC0415 - PyTorch takes seconds

    cases = load_picture_cases(data, split, case or ())
    if not cases:
        raise InputError(f"Split '{split}' holds no pictures; diagnosis is scored on PNG and JPEG files.")
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise InputError(f"The folder of --json does not exist: {json_file.parent}; create it first.")
    settings = Settings(device=device) if weights is None else Settings(weights=weights, device=device)
    digest = serving_sha256(settings.weights, settings.weights_dir)
    from lib.configs.diagnosis import load_reader  # noqa: PLC0415
    from lib.predict import load_predictor  # noqa: PLC0415
    from lib.train.evaluate_diagnosis import diagnoses_as_json, evaluate_diagnosis  # noqa: PLC0415

    predictor = load_predictor(
        settings.weights, settings.weights_dir, device, settings.cache_mb * _MEGABYTE, settings.engine
    )
    console = Console(stderr=True, soft_wrap=True)

    def told(row: "DiagnosisRow") -> None:
        said = row.error or f"IoU {row.giou or 0:.3f}"
        console.print(f"{row.case} ({row.kind}): {said}", markup=False, highlight=False)

    rows = evaluate_diagnosis(
        cases,
        load_reader(settings.weights_dir, predictor),
        Scaling(paths, perturbations),
        told,
        ablations=baselines,
    )
    if json_file is not None:
        document = diagnoses_as_json(rows, split, digest)
        json_file.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    _print_scores(rows, split)
    if any(row.error for row in rows):
        raise typer.Exit(1)


def _print_scores(rows: "list[DiagnosisRow]", split: str) -> None:
    from lib.train.evaluate_diagnosis import METRICS, summarise_diagnoses  # noqa: PLC0415

    table = Table("kind", "pictures", title=f"diagnosis, split {split}")
    for metric in METRICS:
        table.add_column(metric, justify="right")
    for kind, means in summarise_diagnoses(rows).items():
        count = sum(row.kind == kind or kind.startswith("all") for row in rows if not row.error)
        shown = [f"{means[metric]:.3f}" if metric in means else "" for metric in METRICS]
        table.add_row(kind, "" if kind.startswith("all") else str(count), *shown)
    console = Console()
    console.print(table)
    console.print(
        "gIoU: mean overlap; cIoU: overlap of all pixels together. oracle chooses by the ground truth and is "
        "an upper bound. Where a modality has one condition, accuracy says whether the modality was "
        "recognised and the target found. Research use only, not a medical device.",
        highlight=False,
    )
    if split == "train":
        console.print("Scores on a training split show that the program works, not how well it generalises.")
