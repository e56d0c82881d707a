"""A report as DICOM: the masks as a SEG, and a structured report that refers to its segments."""

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from lib.configs import APP_VERSION
from lib.errors import InputError, VolumeError
from lib.formats import read_mask, write_mask
from lib.formats.dicom_identity import with_identity
from lib.formats.dicom_seg import Algorithm, Drawn, SegHeader, write_dicom_seg
from lib.formats.dicom_seg_codes import StructureCode, load_structure_codes, structure_key
from lib.formats.dicom_series import DicomSeries, read_series
from lib.formats.dicom_sr import write_dicom_sr
from lib.mask import Mask
from lib.response import ModelCard
from lib.text import Report


def series_to_report_on(image: Path) -> tuple[DicomSeries, tuple[str, ...]]:
    """The DICOM series in a folder, and which of its identifiers are missing and were made up.

    Raises:
        VolumeError: it is none, or its slices cannot be referred to.
    """
    if not image.is_dir():
        raise VolumeError("--sr needs a DICOM series; give the folder of its slices as the image.")
    return with_identity(read_series(image))


def write_report_dicom(report: Report, mask: Mask, series: DicomSeries, path: Path, model: ModelCard) -> Path:
    """Write the structured report, and the SEG beside it as NAME-seg.dcm.

    Args:
        report: with findings.
        mask: that they rest on, on the scan's grid.
        series: that the scan was read from.
        path: of the structured report.
        model: which weights drew it.

    Returns:
        Path of the SEG.

    Raises:
        InputError: the report has no finding with a mask.
        VolumeError: the series lacks what a SEG must state.
    """
    if not report.findings:
        raise InputError("A structured report needs a finding with a mask, and this report has none.")
    with tempfile.TemporaryDirectory(prefix="medvl-report-") as folder:
        exact = Path(folder) / "mask.nrrd"
        write_mask(mask, exact)
        on_series = Mask(read_mask(exact, series), series.affine, dict(mask.labels))
    algorithm = Algorithm(model.name, APP_VERSION, model.weights_sha256, Drawn.AUTOMATICALLY)
    header = SegHeader(algorithm, APP_VERSION, "MedVL report")
    seg = path.with_name(f"{path.stem}-seg.dcm")
    segments = write_dicom_seg(on_series, series, seg, codes_of(mask.labels), header)
    write_dicom_sr(report, segments, seg, series, path, header)
    return seg


def codes_of(labels: Iterable[str]) -> Mapping[str, StructureCode]:
    """The code table, with numbered lesions coded as lesions."""
    codes = load_structure_codes()
    for label in labels:
        kind = structure_key(re.sub(r"_\d+$", "", label))
        if structure_key(label) not in codes and kind in codes:
            codes[structure_key(label)] = codes[kind]
    return codes
