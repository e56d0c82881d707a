"""`medvl report`: findings and impression of one CT, without a server."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lib.cli.outputs import check_output
from lib.cli.report_dicom import series_to_report_on, write_report_dicom
from lib.configs import APP_VERSION
from lib.configs.text import load_by_name
from lib.errors import VolumeError
from lib.formats import read_volume, write_mask
from lib.formats.dicom_identity import study_uid_of
from lib.formats.dicom_seg import Algorithm
from lib.formats.dicom_seg_codes import load_structure_codes
from lib.formats.fhir import diagnostic_report
from lib.model.versions import serving_sha256
from lib.predict import load_predictor
from lib.predict.quick import for_words
from lib.predict.report_scan import ScanReport, evidence_mask, report_scan
from lib.predict.writing import LazyWriter
from lib.request import RESULT_SUFFIXES
from lib.response import NOTICE, ModelCard, describe_mask
from lib.settings import Settings
from lib.volume import Volume

_MEGABYTE = 2**20
_JSON, _FHIR, _TEXT = ".json", ".fhir.json", ".txt"

app = typer.Typer(add_completion=False)


@app.command()
def report(
    image: Annotated[Path, typer.Argument(help="A CT, or folder of a DICOM series.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the report: .json with the findings, .txt, or .fhir.json."
        ),
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Write the masks that the findings rest on.")] = None,
    sr: Annotated[
        Path | None,
        typer.Option(help="Write a DICOM structured report (.dcm) of a DICOM series, and its SEG beside it."),
    ] = None,
    fhir: Annotated[
        Path | None, typer.Option(help="Write the report as a FHIR R4 DiagnosticReport (.json).")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="See `medvl weights list`.")] = None,
) -> None:
    """Report on a CT: every sentence rests on a mask, every number is measured on it.

    A language model writes the sentences from measurements; each is checked against its mask.
    """
    check_output(output, (_JSON, _TEXT), "report")
    check_output(mask, RESULT_SUFFIXES, "masks")
    check_output(sr, (".dcm",), "structured report")
    check_output(fhir, (_JSON,), "FHIR report")
    settings = Settings() if weights is None else Settings(weights=weights)
    series, made_up = series_to_report_on(image) if sr is not None else (None, ())
    volume = read_volume(image)
    predictor = load_predictor(
        settings.weights, settings.weights_dir, settings.device, settings.cache_mb * _MEGABYTE
    )
    by_name = for_words(load_by_name(settings, predictor))
    scan = report_scan(volume, by_name, LazyWriter(settings.weights_dir))
    card = ModelCard(settings.weights, serving_sha256(settings.weights, settings.weights_dir))
    study_uid = study_uid_of(image) if series is None else str(series.headers[0].StudyInstanceUID)
    written = [(output, _form_of(output)), (fhir, _FHIR)]
    try:
        if mask is not None:
            write_mask(evidence_mask(scan, volume), mask)
        for path, form in written:
            if path is not None:
                path.write_text(_as_text(form, scan, volume, card, study_uid) + "\n", encoding="utf-8")
    except OSError as error:
        raise VolumeError(f"The report cannot be written: {error.strerror}.") from error
    console = Console()
    console.print(scan.report.text, markup=False, highlight=False, soft_wrap=True)
    console.print("Research use only, not a medical device.", highlight=False)
    if sr is not None and series is not None:
        write_report_dicom(scan.report, evidence_mask(scan, volume), series, sr, card)
        _tell_made_up(made_up, console)


def _form_of(output: Path | None) -> str:
    """The form that a file's name asks for."""
    name = "" if output is None else output.name.lower()
    return next((form for form in (_TEXT, _FHIR) if name.endswith(form)), _JSON)


def _as_text(form: str, scan: ScanReport, volume: Volume, card: ModelCard, study_uid: str | None) -> str:
    if form == _TEXT:
        return scan.report.text
    if form == _FHIR:
        model = Algorithm(card.name, APP_VERSION, card.weights_sha256)
        document = diagnostic_report(scan.report, load_structure_codes(), NOTICE, model, study_uid)
    else:
        document = describe_mask("report", evidence_mask(scan, volume), card, {}, {}) | scan.report.as_json()
    return json.dumps(document, indent=1, allow_nan=False)


def _tell_made_up(identifiers: tuple[str, ...], console: Console) -> None:
    """What an anonymizer had emptied; whoever sends the images on has to know."""
    if identifiers:
        console.print(
            f"The series has no {', '.join(identifiers)}; SEG and structured report name what its files are "
            "called, and UIDs made from that (`make pacs` gives it the same).",
            highlight=False,
            soft_wrap=True,
        )
