"""Masks as DICOM Segmentation objects (PS3.3 A.51), on the very slices they were drawn on.

One segment a label, one bit a voxel, no frame without a voxel. Each frame states the place of its own source
slice, so that tilted, oblique and unevenly spaced series need no resampling.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import generate_uid

from lib.errors import InputError, VolumeError
from lib.formats.atomic import write_atomically
from lib.formats.dicom_seg_codes import (
    Code,
    SegmentDescription,
    StructureCode,
    cielab_from_rgb,
    describe_segments,
)
from lib.formats.dicom_seg_frames import DrawnFrames, frames_of_labels, frames_of_masks, packed_bits
from lib.formats.dicom_series import DicomSeries
from lib.mask import Mask
from lib.shapes import BinaryMask

MANUFACTURER = "MedVL"
NOTICE = "research use only"
_AI_FAMILY = DicomCode("123109", "DCM", "Artificial Intelligence")
_EMPTY_WHERE_MISSING = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
"""Attributes that a SEG must have and may leave empty (type 2)."""
_MAX_NAME = 64
"""Of DICOM's long string (LO)."""
_MAX_TRACKING = 1024
_FIRST_SERIES_NUMBER = 9000


class Drawn(StrEnum):
    """By whom (PS3.3 C.8.20.2.2)."""

    AUTOMATICALLY = "AUTOMATIC"
    BY_BOTH = "SEMIAUTOMATIC"
    BY_HAND = "MANUAL"


@dataclass(frozen=True)
class Algorithm:
    """What drew the mask.

    Attributes:
        name: of the model.
        version: of the program.
        weights_sha256: hash of the weights; empty if it is not known.
        drawn: alone, or with a user.
    """

    name: str
    version: str
    weights_sha256: str = ""
    drawn: Drawn = Drawn.BY_BOTH


@dataclass(frozen=True)
class SegHeader:
    """What a SEG says about itself.

    Attributes:
        algorithm: what drew it; None: a person.
        version: of this program, which writes the file.
        series_description: as a viewer lists it; at most 64 characters.
        series_number: of the new series.
    """

    algorithm: Algorithm | None
    version: str
    series_description: str = "MedVL segmentation"
    series_number: int = _FIRST_SERIES_NUMBER


def write_dicom_seg(
    mask: Mask, series: DicomSeries, path: Path, codes: Mapping[str, StructureCode], header: SegHeader
) -> tuple[SegmentDescription, ...]:
    """Write a mask as a SEG; labels without a voxel become no segment.

    Args:
        mask: on the grid of the series: columns, rows, and slices in spatial order.
        series: that it was drawn on.
        path: of the new file, which is there whole or not at all.
        codes: what names mean.
        header: what the file says about itself.

    Returns:
        The segments, numbered from 1 in the order of the mask's values.

    Raises:
        InputError: the mask is empty.
        VolumeError: it is on another grid, or the series lacks what a SEG must state.
    """
    values = np.unique(mask.label_map)
    present = [name for name, value in sorted(mask.labels.items(), key=_by_value) if value in values]
    if not present:
        raise InputError(_EMPTY)
    number_of = np.zeros(256, dtype=np.uint8)
    for number, name in enumerate(present, start=1):
        number_of[mask.labels[name]] = number
    segments = describe_segments(present, codes)
    drawn = frames_of_labels(number_of[mask.label_map], len(segments))
    _write(drawn, segments, series, path, header)
    return segments


def write_overlapping_seg(
    masks: Mapping[str, BinaryMask],
    series: DicomSeries,
    path: Path,
    codes: Mapping[str, StructureCode],
    header: SegHeader,
) -> tuple[SegmentDescription, ...]:
    """As `write_dicom_seg`, for masks that may share voxels.

    Args:
        masks: by name, in the order of their numbers, each shape (columns, rows, slices) of the series.
        series: that they were drawn on.
        path: of the new file.
        codes: what names mean.
        header: what the file says about itself.
    """
    present = {name: mask for name, mask in masks.items() if mask.any()}
    if not present:
        raise InputError(_EMPTY)
    segments = describe_segments(present, codes)
    _write(frames_of_masks(list(present.values())), segments, series, path, header)
    return segments


def derived_uid(*parts: str) -> str:
    """A UID that is always the same for the same texts (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(parts)).int}"


_EMPTY = (
    "The mask is empty, and a DICOM SEG needs a drawn voxel; ask for output image or json to see that "
    "nothing was found."
)


def _by_value(item: tuple[str, int]) -> int:
    return item[1]


def _write(
    drawn: DrawnFrames,
    segments: Sequence[SegmentDescription],
    series: DicomSeries,
    path: Path,
    header: SegHeader,
) -> None:
    _check_fits(drawn, series)
    dataset = _segmentation(drawn, segments, series, header)
    _fill(dataset, drawn, series)
    buffer = BytesIO()
    dataset.save_as(buffer, write_like_original=False)
    write_atomically(path, buffer.getvalue())


def _fill(dataset: highdicom.seg.Segmentation, drawn: DrawnFrames, series: DicomSeries) -> None:
    """Put the voxels of each frame in place of the stand-ins that `_segmentation` gave.

    highdicom holds all frames in memory at a byte a voxel, twice: gigabytes for a whole body.
    """
    dataset.Columns, dataset.Rows, _ = drawn.shape
    dataset.SegmentsOverlap = "YES" if drawn.is_overlapping else "NO"
    slice_of = {str(source.SOPInstanceUID): k for k, source in enumerate(series.headers)}
    places = []
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        number = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        places.append((number, slice_of[str(source.ReferencedSOPInstanceUID)]))
    dataset.PixelData = packed_bits(drawn.frame(number, k) for number, k in places)


def _segmentation(
    drawn: DrawnFrames, segments: Sequence[SegmentDescription], series: DicomSeries, header: SegHeader
) -> highdicom.seg.Segmentation:
    """The SEG with every frame that is needed, each of one voxel."""
    weights = header.algorithm.weights_sha256 if header.algorithm else ""
    return highdicom.seg.Segmentation(
        source_images=[_completed(source) for source in series.headers],
        pixel_array=drawn.occupied,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_described(segment, series, header.algorithm) for segment in segments],
        series_instance_uid=generate_uid(prefix=None),
        series_number=header.series_number,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=header.version,
        device_serial_number=weights[:16] or header.version,
        content_label="SEGMENTATION",
        content_description=NOTICE,
        series_description=header.series_description[:_MAX_NAME],
        omit_empty_frames=True,
    )


def _check_fits(drawn: DrawnFrames, series: DicomSeries) -> None:
    """The mask must have the grid of the series, and the series what a SEG must state.

    Raises:
        VolumeError: it has not.
    """
    if drawn.shape != series.shape:
        raise VolumeError(
            f"The mask has {_size(drawn.shape)}; the DICOM series has {_size(series.shape)}: draw it on the "
            "series."
        )
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if len({str(source.get(keyword) or "") for source in series.headers} - {""}) != 1:
            raise VolumeError(
                f"The DICOM series cannot have a SEG: its slices need one {keyword}, the same for all."
            )
    if any(not source.get("PixelSpacing") for source in series.headers):
        raise VolumeError("The DICOM series cannot have a SEG: its slices need PixelSpacing.")


def _size(shape: tuple[int, int, int]) -> str:
    columns, rows, slices = shape
    return f"{columns} columns, {rows} rows and {slices} slices"


def _completed(header: pydicom.Dataset) -> pydicom.Dataset:
    """A slice's header with what a SEG copies from it; scanners and anonymizers leave some of it out."""
    completed = pydicom.Dataset()
    completed.update(header)
    # Elements are shared with the header, so they are replaced and never set
    completed.add_new("Rows", "US", 1)  # of the stand-ins for frames
    completed.add_new("Columns", "US", 1)
    for keyword in _EMPTY_WHERE_MISSING:
        if keyword not in completed:
            setattr(completed, keyword, None)
    if not completed.get("SliceThickness"):
        completed.add_new("SliceThickness", "DS", completed.get("SpacingBetweenSlices") or "1")
    return completed


def _described(
    segment: SegmentDescription, series: DicomSeries, algorithm: Algorithm | None
) -> highdicom.seg.SegmentDescription:
    code = segment.code
    description = highdicom.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=_plain(segment.name)[:_MAX_NAME],
        segmented_property_category=_coded(code.category),
        segmented_property_type=_coded(code.type),
        algorithm_type=SegmentAlgorithmTypeValues(algorithm.drawn if algorithm else Drawn.BY_HAND),
        algorithm_identification=_identified(algorithm) if algorithm else None,
        # The same structure of the same series is the same thing in every SEG that shows it
        tracking_uid=derived_uid(series.uid, segment.name),
        tracking_id=_plain(segment.name)[:_MAX_TRACKING],
        anatomic_regions=[_coded(code.region)] if code.region else None,
    )
    if code.modifier:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [_coded_item(code.modifier)]
    if code.region_modifier:
        region = description.AnatomicRegionSequence[0]
        region.AnatomicRegionModifierSequence = [_coded_item(code.region_modifier)]
    description.RecommendedDisplayCIELabValue = list(cielab_from_rgb(segment.rgb))
    return description


def _plain(name: str) -> str:
    """A name as DICOM text: a backslash would part it into several values (PS3.5 section 6.2)."""
    return (
        "".join(letter if letter.isprintable() else " " for letter in name.replace("\\", "/")).strip() or "?"
    )


def _identified(algorithm: Algorithm) -> Any:
    return highdicom.AlgorithmIdentificationSequence(
        name=algorithm.name[:_MAX_NAME],
        family=_AI_FAMILY,
        version=algorithm.version,
        source=MANUFACTURER,
        parameters={"weights_sha256": algorithm.weights_sha256} if algorithm.weights_sha256 else None,
    )


def _coded(code: Code) -> DicomCode:
    return DicomCode(code.value, code.scheme, code.meaning)


def _coded_item(code: Code) -> pydicom.Dataset:
    return highdicom.sr.CodedConcept.from_code(_coded(code))
