"""A folder of DICOM files to a scan: one series, sorted in space, rescaled, placed in RAS+.

Only image slices of one frame are read; localizers, reports, segmentations and DICOMDIR beside them are not.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from lib.errors import VolumeError
from lib.formats.array import as_voxels, check_size, readable
from lib.formats.content import is_dicom, plain_head
from lib.formats.dicom_geometry import order_and_affine
from lib.formats.dicom_pixels import stored_values
from lib.shapes import AnyArray
from lib.volume import Modality, Volume

logger = logging.getLogger(__name__)

_DERIVED_MODALITIES = {"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "SR", "PR", "KO", "REG", "RWV", "DOC"}
"""Objects about a scan, not scans; some have rows and columns all the same."""
_MODALITIES = {"CT": Modality.CT, "MR": Modality.MR, "PT": Modality.MR, "NM": Modality.MR}
_ABSOLUTE_SCALE = {"CT", "PT"}
"""Their values are measurements, so that MONOCHROME1 is a wish for display only."""
_LOCALIZER_SLICES = 3
"""A series of up to as many slices beside a longer one is a localizer or a screenshot."""


@dataclass(frozen=True, eq=False)
class SliceFile:
    """One image file and its header, pixels not read yet."""

    path: Path
    header: pydicom.Dataset


def is_dicom_folder(path: Path) -> bool:
    """Whether a folder directly holds at least one DICOM file (a DICOMDIR alone does not count)."""
    return path.is_dir() and next(_dicom_paths(path), None) is not None


def read_dicom_folder(folder: Path) -> Volume:
    """Read the one series that lies directly in a folder.

    Beside a longer series, series of up to three slices are left out as localizers.

    Raises:
        VolumeError: no image, several series, multi-frame files, or slices that do not form a grid.
    """
    return _read_series(series_files(folder))


def series_files(folder: Path) -> list[SliceFile]:
    """The slices of the one series that lies directly in a folder, in no order.

    Raises:
        VolumeError: no image, several series, multi-frame files, or slices that differ in size.
    """
    slices = [SliceFile(path, header) for path in _dicom_paths(folder) if (header := _image_header(path))]
    if not slices:
        raise VolumeError(
            "The folder holds no DICOM image; give the folder that holds the slices of one series."
        )
    chosen = _chosen_series(slices)
    with readable("DICOM"):
        _check_equal(chosen)
    return chosen


def read_dicom_file(path: Path) -> Volume:
    """Read one DICOM file as a scan of one slice.

    Raises:
        VolumeError: not an image, multi-frame, or damaged.
    """
    header = _image_header(path)
    if header is None:
        raise VolumeError("The DICOM file is not an image; give an image or the folder of its series.")
    return _read_series([SliceFile(path, header)])


def _dicom_paths(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != "DICOMDIR" and is_dicom(plain_head(path)):
            yield path


def _image_header(path: Path) -> pydicom.Dataset | None:
    """A file's header, or None if it is about something other than pixels of a scan."""
    with readable("DICOM"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        if header.get("Modality") in _DERIVED_MODALITIES or not _has_pixels(header):
            return None
        if int(header.get("NumberOfFrames") or 1) > 1:
            raise VolumeError(
                f"The DICOM file has {header.NumberOfFrames} frames; only files of one frame are read: "
                "export the series as classic single-frame DICOM or as NIfTI."
            )
        return header


def _has_pixels(header: pydicom.Dataset) -> bool:
    """Whether the file is an image; one that is called so and has no rows was cut off in its header.

    Raises:
        VolumeError: an image without rows or columns.
    """
    if "Rows" in header and "Columns" in header:
        return True
    if "Image Storage" in header.file_meta.MediaStorageSOPClassUID.name:
        raise VolumeError("A DICOM image of the series is truncated: it has no rows; send it again.")
    return False


def _chosen_series(slices: list[SliceFile]) -> list[SliceFile]:
    """The only series, or the only one longer than a localizer."""
    series: dict[str, list[SliceFile]] = defaultdict(list)
    for file in slices:
        series[str(file.header.get("SeriesInstanceUID"))].append(file)
    candidates = list(series.values())
    if len(candidates) > 1:
        candidates = [files for files in candidates if len(files) > _LOCALIZER_SLICES]
    if len(candidates) != 1:
        sizes = sorted((len(files) for files in series.values()), reverse=True)
        raise VolumeError(
            f"The folder holds {len(series)} series, of {sizes[:10]} slices; one is needed: give each "
            "series a folder of its own."
        )
    if len(series) > 1:
        logger.info(
            "of %d series in a folder, the one with %d slices is read", len(series), len(candidates[0])
        )
    return candidates[0]


def _read_series(slices: list[SliceFile]) -> Volume:
    first = slices[0].header
    with readable("DICOM"):
        check_size((int(first.Columns), int(first.Rows), len(slices)))
        order, affine = order_and_affine([file.header for file in slices])
        if int(first.get("SamplesPerPixel") or 1) > 1:
            return Volume(_colours(slices, order), affine, Modality.DISPLAY)
        return Volume(as_voxels(_rescaled_stack(slices, order)), affine, _modality(first))


def _check_equal(slices: list[SliceFile]) -> None:
    """All slices must have one size and kind of pixel."""
    kinds = {
        (file.header.Rows, file.header.Columns, file.header.get("SamplesPerPixel") or 1) for file in slices
    }
    if len(kinds) > 1:
        raise VolumeError(
            f"The slices of the series differ in size (rows, columns, samples): {sorted(kinds)[:4]}; "
            "a series needs one size: split it."
        )


def _rescaled_stack(slices: list[SliceFile], order: list[int]) -> AnyArray:
    """All slices, shape (I, J, K), in the unit of the scan (HU for CT), float32."""
    columns, rows = int(slices[0].header.Columns), int(slices[0].header.Rows)
    stack = np.empty((columns, rows, len(slices)), dtype=np.float32, order="F")
    for k, index in enumerate(order):
        stack[:, :, k] = _rescaled(slices[index]).T
    return stack


def _rescaled(file: SliceFile) -> AnyArray:
    """One slice, shape (rows, columns), after the modality LUT (PS3.3 C.11.1) of its own header."""
    header = file.header
    if "ModalityLUTSequence" in header:
        raise VolumeError(
            "The DICOM image has a modality lookup table; export it with rescale slope instead."
        )
    stored = stored_values(file.path).astype(np.float32)
    if (
        header.get("PhotometricInterpretation") == "MONOCHROME1"
        and header.get("Modality") not in _ABSOLUTE_SCALE
    ):
        stored = _inverted(stored, header)
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    return stored * np.float32(1 if slope is None else slope) + np.float32(intercept or 0)


def _inverted(stored: AnyArray, header: pydicom.Dataset) -> AnyArray:
    """MONOCHROME1 shows the lowest value white; turned so that bright is high, as in all other pictures."""
    levels = 2 ** int(header.BitsStored)
    lowest = -levels // 2 if header.PixelRepresentation else 0
    return np.float32(2 * lowest + levels - 1) - stored


def _colours(slices: list[SliceFile], order: list[int]) -> AnyArray:
    """Colour slices, shape (3, I, J, K), uint8."""
    stack = [stored_values(slices[index].path) for index in order]
    if stack[0].ndim != 3 or stack[0].dtype != np.uint8:
        raise VolumeError(
            "The DICOM image's colours are not red, green and blue of 8 bits; convert it to PNG."
        )
    return np.ascontiguousarray(np.stack(stack, axis=-1).transpose(2, 1, 0, 3))


def _modality(header: pydicom.Dataset) -> Modality:
    """From the Modality tag; radiographs, ultrasound and photographs are display values if of 8 bits."""
    known = _MODALITIES.get(str(header.get("Modality")))
    if known is not None:
        return known
    return Modality.DISPLAY if int(header.get("BitsStored") or 16) <= 8 else Modality.MR
