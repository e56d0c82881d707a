"""`medvl evaluate diagnosis`: how well pictures are read, and what is said of CTs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lib.errors import InputError
from lib.model.versions import serving_sha256
from lib.predict.scaling import MOST, Scaling
from lib.settings import Settings
from lib.train.dataset import Case, load_manifest, select_cases

if TYPE_CHECKING:
    from lib.train.evaluate_diagnosis import DiagnosisRow
    from lib.train.evaluate_scan_diagnosis import ScanDiagnosisRow
    from lib.train.picture_data import PictureCase

_MEGABYTE = 2**20
_NARROWEST_TABLE = 150
_SCAN_HEADINGS = {
    "giou": "gIoU",
    "ciou": "cIoU",
    "accuracy": "leading",
    "structure_accuracy": "structures",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "abnormal_f1": "abnormal F1",
}


def diagnosis(  # noqa: PLR0913 - each is an option of the command
    *,
    data: Annotated[
        Path | None, typer.Option(help="Folder with a manifest.json of labelled pictures or CTs.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which cases of the manifest.")] = "val",
    phantoms: Annotated[int, typer.Option(min=0, help="So many procedural CTs besides.")] = 0,
    case: Annotated[list[str] | None, typer.Option(help="Only this case; may be repeated.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores to this file.")] = None,
    paths: Annotated[int, typer.Option(min=1, max=MOST, help="Paths of reasoning, at most.")] = 2,
    perturbations: Annotated[int, typer.Option(min=1, max=MOST, help="Looks, at most.")] = 2,
    weights: Annotated[str | None, typer.Option(help="Name of the segmenter's weights.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    baselines: Annotated[bool, typer.Option(help="Score other couplings and baselines too.")] = True,
) -> None:
    """Diagnose every picture and CT and compare masks and conditions with the reference.

    A modality's own row is the plain reading: one path, one look. The others are couplings, baselines, the
    consensus of several readings, and the best of them by the ground truth (oracle). A CT's reference is what
    the same rules make of the reference's masks.
    """
    pictures, scans = _cases(data, split, case or ())
    if not pictures and not scans and not phantoms:
        raise InputError(
            "There is nothing to diagnose; give --data, a folder of pictures or CTs, or --phantoms N."
        )
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise InputError(f"The folder of --json does not exist: {json_file.parent}; create it first.")
    settings = Settings(device=device) if weights is None else Settings(weights=weights, device=device)
    digest = serving_sha256(settings.weights, settings.weights_dir)
    scaling = Scaling(paths, perturbations)
    read = _read(pictures, settings, scaling, ablations=baselines) if pictures else []
    said = _diagnosed(scans, phantoms, settings, baselines=baselines) if scans or phantoms else []
    if json_file is not None:
        document = _document(read, said, split, digest)
        json_file.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    if read:
        _print_scores(read, split)
    if said:
        _print_scans(said, split)
    if split == "train":
        Console().print(
            "Scores on a training split show that the program works, not how well it generalises."
        )
    if any(row.error for row in read) or any(row.error for row in said):
        raise typer.Exit(1)


def _cases(data: Path | None, split: str, names: Sequence[str]) -> tuple["list[PictureCase]", list[Case]]:
    """Pictures, and what is none."""
    from lib.train.picture_data import load_picture_cases  # noqa: PLC0415 - PyTorch takes seconds

    if data is None:
        return [], []
    scans = [case for case in select_cases(load_manifest(data), split, names) if not case.is_picture]
    return load_picture_cases(data, split, names), scans


def _read(
    cases: "list[PictureCase]", settings: Settings, scaling: Scaling, *, ablations: bool
) -> "list[DiagnosisRow]":
    from lib.configs.diagnosis import load_reader  # noqa: PLC0415 - PyTorch takes seconds
    from lib.predict import load_predictor  # noqa: PLC0415
    from lib.train.evaluate_diagnosis import evaluate_diagnosis  # noqa: PLC0415

    predictor = load_predictor(
        settings.weights,
        settings.weights_dir,
        settings.device,
        settings.cache_mb * _MEGABYTE,
        settings.engine,
    )
    console = Console(stderr=True, soft_wrap=True)

    def told(row: "DiagnosisRow") -> None:
        said = row.error or f"IoU {row.giou or 0:.3f}"
        console.print(f"{row.case} ({row.kind}): {said}", markup=False, highlight=False)

    reader = load_reader(settings.weights_dir, predictor)
    return evaluate_diagnosis(cases, reader, scaling, told, ablations=ablations)


def _diagnosed(
    cases: list[Case], phantoms: int, settings: Settings, *, baselines: bool
) -> "list[ScanDiagnosisRow]":
    from lib.cli.evaluate_text import load_finder  # noqa: PLC0415 - PyTorch takes seconds
    from lib.predict.quick import for_words  # noqa: PLC0415
    from lib.train.evaluate_report import references_of  # noqa: PLC0415
    from lib.train.evaluate_scan_diagnosis import evaluate_scan_diagnosis  # noqa: PLC0415

    model, console = for_words(load_finder(settings)), Console(stderr=True, soft_wrap=True)

    def told(name: str) -> None:
        console.print(f"{name}: diagnosed", markup=False, highlight=False)

    return evaluate_scan_diagnosis(references_of(cases, phantoms), lambda: model, told, baselines=baselines)


def _document(
    read: "list[DiagnosisRow]", said: "list[ScanDiagnosisRow]", split: str, digest: str
) -> dict[str, object]:
    from lib.train.evaluate_diagnosis import diagnoses_as_json  # noqa: PLC0415 - PyTorch takes seconds
    from lib.train.evaluate_scan_diagnosis import (  # noqa: PLC0415
        scan_diagnosis_as_json,
        summarise_scan_diagnoses,
    )

    document = diagnoses_as_json(read, split, digest)
    summary = document["summary"] | summarise_scan_diagnoses(said)
    return document | {"summary": summary, "rows": [*document["rows"], *map(scan_diagnosis_as_json, said)]}


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


def _print_scans(rows: "list[ScanDiagnosisRow]", split: str) -> None:
    from lib.train.evaluate_scan_diagnosis import scores_of, summarise_scan_diagnoses  # noqa: PLC0415

    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, _NARROWEST_TABLE))
    table = Table("scan", "kind", title=f"diagnosis of CTs, split {split}")
    for heading in _SCAN_HEADINGS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        if not row.error:
            table.add_row(row.case, row.kind, *_shown(scores_of([row])))
    table.add_section()
    for kind, means in summarise_scan_diagnoses(rows).items():
        table.add_row("all", kind, *_shown(means))
    console.print(table)
    console.print(
        "The reference is what the same rules make of the reference's masks: sizes against ranges of adults, "
        "and lesions. leading: the leading condition agrees; structures: share judged as the reference does. "
        "Research use only, not a medical device.",
        highlight=False,
    )
    errors = Console(stderr=True, soft_wrap=True)
    for row in rows:
        if row.error:
            errors.print(f"{row.case} ({row.kind}): {row.error}", markup=False, highlight=False)


def _shown(means: Mapping[str, float]) -> list[str]:
    return [f"{means[metric]:.3f}" if metric in means else "" for metric in _SCAN_HEADINGS]
