"""`medvl report`: findings and impression of one CT, without a server."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lib.cli.outputs import check_output
from lib.cli.report_dicom import write_report_dicom
from lib.configs.text import load_by_name
from lib.errors import VolumeError
from lib.formats import read_volume, write_mask
from lib.formats.dicom_seg_codes import load_structure_codes
from lib.formats.fhir import diagnostic_report
from lib.mask import Mask
from lib.model.versions import serving_sha256
from lib.predict import load_predictor
from lib.predict.quick import for_words
from lib.predict.report_scan import ScanReport, evidence_mask, report_scan
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
            "--output", "-o", help="Write the report: .json with the findings, .fhir.json (R4), or .txt."
        ),
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Write the masks that the findings rest on.")] = None,
    sr: Annotated[
        Path | None,
        typer.Option(help="Write a DICOM structured report (.dcm) of a DICOM series, and its SEG beside it."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="See `medvl weights list`.")] = None,
) -> None:
    """Report on a CT: every sentence rests on a mask, every number is measured on it.

    The sentences are put together from measurements; they are not written by a language model yet.
    """
    check_output(output, (_JSON, _TEXT), "report")
    check_output(mask, RESULT_SUFFIXES, "masks")
    check_output(sr, (".dcm",), "structured report")
    settings = Settings() if weights is None else Settings(weights=weights)
    volume = read_volume(image)
    predictor = load_predictor(
        settings.weights, settings.weights_dir, settings.device, settings.cache_mb * _MEGABYTE
    )
    scan = report_scan(volume, for_words(load_by_name(settings, predictor)))
    card = ModelCard(settings.weights, serving_sha256(settings.weights, settings.weights_dir))
    _write(scan, volume, card, output, mask)
    if sr is not None:
        write_report_dicom(scan.report, evidence_mask(scan, volume), image, sr, card)
    console = Console()
    console.print(scan.report.text, markup=False, highlight=False, soft_wrap=True)
    console.print("Research use only, not a medical device.", highlight=False)


def _write(scan: ScanReport, volume: Volume, card: ModelCard, output: Path | None, mask: Path | None) -> None:
    label_map = evidence_mask(scan, volume)
    try:
        if mask is not None:
            write_mask(label_map, mask)
        if output is not None:
            output.write_text(_as_text(scan, label_map, card, output.name.lower()) + "\n", encoding="utf-8")
    except OSError as error:
        raise VolumeError(f"The report cannot be written: {error.strerror}.") from error


def _as_text(scan: ScanReport, label_map: Mask, card: ModelCard, name: str) -> str:
    """The report in the form that the file's name asks for."""
    if name.endswith(_TEXT):
        return scan.report.text
    if name.endswith(_FHIR):
        document = diagnostic_report(scan.report, load_structure_codes(), NOTICE)
    else:
        document = describe_mask("report", label_map, card, {}, {}) | scan.report.as_json()
    return json.dumps(document, indent=1, allow_nan=False)
