"""DICOM Segmentation objects back to masks on the slices of a series, voxel by voxel, nothing resampled.

Read are binary and fractional objects of any program whose frames lie on slices of the series.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from lib.errors import VolumeError
from lib.formats.array import readable
from lib.formats.dicom_seg_codes import SCT, Code, StructureCode
from lib.formats.dicom_series import DicomSeries
from lib.mask import MAX_LABELS, Mask
from lib.shapes import AnyArray, BinaryMask

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
_POSITION_TOLERANCE_MM = 0.05
_ANGLE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class SegmentInfo:
    """What a SEG says about one segment.

    Attributes:
        name: its label.
        number: as in the file.
        code: what it is; the colour is not read.
        tracking_uid: what makes it the same thing in other objects; may be empty.
    """

    name: str
    number: int
    code: StructureCode
    tracking_uid: str


@dataclass(frozen=True, eq=False)
class DicomSeg:
    """A SEG whose header has been read and whose frames have been found on the series.

    Attributes:
        segments: in the order of the file.
        dataset: the file.
        series: that its frames lie on.
        frames: segment number to pairs of frame and slice index, from 0.
    """

    segments: tuple[SegmentInfo, ...]
    dataset: pydicom.Dataset
    series: DicomSeries
    frames: dict[int, tuple[tuple[int, int], ...]]

    def mask_of(self, segment: SegmentInfo) -> BinaryMask:
        """The voxels of one segment, shape (columns, rows, slices) of the series."""
        mask = np.zeros(self.series.shape, dtype=bool, order="F")
        with readable("DICOM SEG"):
            for frame, k in self.frames.get(segment.number, ()):
                mask[:, :, k] |= _frame(self.dataset, frame).T
        return mask


def referenced_series(path: Path) -> str:
    """SeriesInstanceUID of the images that a SEG is about; empty if it does not say."""
    with readable("DICOM SEG"):
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["ReferencedSeriesSequence"])
        references = dataset.get("ReferencedSeriesSequence") or [pydicom.Dataset()]
        return str(references[0].get("SeriesInstanceUID") or "")


def open_dicom_seg(path: Path, series: DicomSeries) -> DicomSeg:
    """Read a SEG's header and find its frames on the slices of a series.

    Raises:
        VolumeError: it is no SEG, is damaged or compressed, or lies on other slices.
    """
    with readable("DICOM SEG"):
        dataset = pydicom.dcmread(path)
        _check_kind(dataset, series)
        segments = tuple(_info(item) for item in dataset.SegmentSequence)
        return DicomSeg(segments, dataset, series, _located_frames(dataset, series))


def read_dicom_seg(path: Path, series: DicomSeries) -> Mask:
    """A SEG as one label map; where segments overlap, the later one wins.

    Returns:
        Labels 1 to N in the order of the file, on the grid of the series. Segments of one name are told
        apart by a number.

    Raises:
        VolumeError: as `open_dicom_seg`, or more than 255 segments.
    """
    seg = open_dicom_seg(path, series)
    if len(seg.segments) > MAX_LABELS:
        raise VolumeError(f"The SEG holds {len(seg.segments)} segments; at most {MAX_LABELS} are read.")
    label_map = np.zeros(series.shape, dtype=np.uint8, order="F")
    labels: dict[str, int] = {}
    for value, segment in enumerate(seg.segments, start=1):
        with readable("DICOM SEG"):
            for frame, k in seg.frames.get(segment.number, ()):
                label_map[:, :, k][_frame(seg.dataset, frame).T] = value
        labels[_unused(segment.name, labels)] = value
    return Mask(label_map, series.affine, labels)


def _unused(name: str, taken: dict[str, int]) -> str:
    if name not in taken:
        return name
    return next(other for number in range(2, 1000) if (other := f"{name} ({number})") not in taken)


def _check_kind(dataset: pydicom.Dataset, series: DicomSeries) -> None:
    if dataset.get("SOPClassUID") != SEGMENTATION_STORAGE:
        raise VolumeError("The DICOM file is not a Segmentation object; give a SEG of the series.")
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        raise VolumeError("The DICOM SEG is compressed; store it uncompressed (explicit VR little endian).")
    columns, rows, _ = series.shape
    if (dataset.Columns, dataset.Rows) != (columns, rows):
        raise VolumeError(
            f"The DICOM SEG has frames of {dataset.Columns} x {dataset.Rows} voxels, the series slices of "
            f"{columns} x {rows}; give the series that it was drawn on."
        )


def _info(item: pydicom.Dataset) -> SegmentInfo:
    kind = item.SegmentedPropertyTypeCodeSequence[0]
    regions = item.get("AnatomicRegionSequence") or [None]
    region = regions[0]
    code = StructureCode(
        category=_code(item.SegmentedPropertyCategoryCodeSequence[0]),
        type=_code(kind),
        modifier=_first_code(kind, "SegmentedPropertyTypeModifierCodeSequence"),
        region=_code(region) if region is not None else None,
        region_modifier=_first_code(region, "AnatomicRegionModifierSequence"),
    )
    return SegmentInfo(
        str(item.SegmentLabel), int(item.SegmentNumber), code, str(item.get("TrackingUID") or "")
    )


def _first_code(item: pydicom.Dataset | None, keyword: str) -> Code | None:
    codes = (item.get(keyword) if item is not None else None) or [None]
    return _code(codes[0]) if codes[0] is not None else None


def _code(item: pydicom.Dataset) -> Code:
    return Code(
        str(item.get("CodeValue") or item.get("LongCodeValue") or ""),
        str(item.get("CodeMeaning") or ""),
        str(item.get("CodingSchemeDesignator") or SCT),
    )


def _located_frames(dataset: pydicom.Dataset, series: DicomSeries) -> dict[int, tuple[tuple[int, int], ...]]:
    """Segment number to pairs of frame and slice index."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    slices = {str(header.SOPInstanceUID): k for k, header in enumerate(series.headers)}
    frames: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for frame, own in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        groups = (own, shared)
        number = int(_group(groups, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        frames[number].append((frame, _slice_of(groups, series, slices)))
    return {number: tuple(pairs) for number, pairs in frames.items()}


def _group(groups: tuple[pydicom.Dataset, ...], keyword: str) -> Any:
    """The functional group of a frame, its own or the shared one; None if there is neither."""
    return next((group.get(keyword)[0] for group in groups if group.get(keyword)), None)


def _slice_of(groups: tuple[pydicom.Dataset, ...], series: DicomSeries, slices: dict[str, int]) -> int:
    """Which slice a frame lies on: by its place, or by the image that it was derived from.

    Raises:
        VolumeError: on none.
    """
    place = _group(groups, "PlanePositionSequence")
    if place is not None and place.get("ImagePositionPatient"):
        _check_parallel(_group(groups, "PlaneOrientationSequence"), series)
        position = np.array([float(part) for part in place.ImagePositionPatient])
        distances_mm = np.linalg.norm(series.positions_mm - position, axis=1)
        k = int(distances_mm.argmin())
        if distances_mm[k] > _POSITION_TOLERANCE_MM:
            raise VolumeError(
                f"A frame of the DICOM SEG lies {distances_mm[k]:.2f} mm off the nearest slice of the "
                "series; give the series that it was drawn on."
            )
        return k
    derivation = _group(groups, "DerivationImageSequence")
    sources = derivation.get("SourceImageSequence") or [] if derivation is not None else []
    found = {slices.get(str(source.ReferencedSOPInstanceUID)) for source in sources}
    if len(found) != 1 or (k_found := found.pop()) is None:
        raise VolumeError("A frame of the DICOM SEG does not say which slice of the series it lies on.")
    return k_found


def _check_parallel(orientation: Any, series: DicomSeries) -> None:
    if orientation is None or not orientation.get("ImageOrientationPatient"):
        return
    axes = np.array([float(part) for part in orientation.ImageOrientationPatient]).reshape(2, 3)
    if np.abs(axes - series.axes).max() > _ANGLE_TOLERANCE:
        raise VolumeError(
            "The DICOM SEG has rows and columns of another direction than the series; give the series that "
            "it was drawn on."
        )


def _frame(dataset: pydicom.Dataset, index: int) -> AnyArray:
    """One frame, shape (rows, columns), bool; of fractional ones what is at least half."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    size = rows * columns
    if int(dataset.BitsAllocated) != 1:
        values = np.frombuffer(dataset.PixelData, dtype=np.uint8, count=size, offset=index * size)
        return values.reshape(rows, columns) >= int(dataset.MaximumFractionalValue) / 2
    first, last = index * size, (index + 1) * size
    packed = np.frombuffer(dataset.PixelData, dtype=np.uint8)[first // 8 : -(-last // 8)]
    bits = np.unpackbits(packed, bitorder="little")[first % 8 :][:size]
    return bits.reshape(rows, columns).astype(bool)
