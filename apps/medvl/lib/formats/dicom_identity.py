"""Which study and series a scan belongs to, also where an anonymizer has emptied the identifiers."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydicom

from lib.errors import VolumeError
from lib.formats.dicom import is_dicom_folder
from lib.formats.dicom_seg import derived_uid
from lib.formats.dicom_series import DicomSeries, read_series

_SHARED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
"""The same for all slices of a series."""
_OWN = {"SOPClassUID": "MediaStorageSOPClassUID", "SOPInstanceUID": "MediaStorageSOPInstanceUID"}
"""What a slice is called, and where a file says it once more, before its data set (PS3.10 section 7.1)."""


def with_identity(series: DicomSeries) -> tuple[DicomSeries, tuple[str, ...]]:
    """The series with the identifiers that it lacks, and which these are; whole ones are left as they are.

    Slices are called as their files say. Study, series and frame of reference are made from that, so that the
    same slices always are of the same study.

    Raises:
        VolumeError: the files do not say either what the slices are called, or slices are of several studies.
    """
    said = {name: _said(series, name) for name in _SHARED}
    missing = tuple(
        name for name in (*_OWN, *_SHARED) if not all(header.get(name) for header in series.headers)
    )
    if not missing:
        return series, ()
    own = [own_identity(header) for header in series.headers]
    shared = derived_identity(one["SOPInstanceUID"] for one in own)
    shared |= {name: value for name, value in said.items() if value}
    headers = tuple(
        _filled(header, {**one, **shared}, missing) for header, one in zip(series.headers, own, strict=True)
    )
    return DicomSeries(headers, series.affine), missing


def _said(series: DicomSeries, name: str) -> str:
    """What the slices say of themselves together; empty where none says anything."""
    values = {str(header.get(name) or "") for header in series.headers} - {""}
    if len(values) > 1:
        raise VolumeError(f"The slices have {len(values)} different {name}; those of one series have one.")
    return values.pop() if values else ""


def derived_identity(sop_uids: Iterable[str]) -> dict[str, str]:
    """UIDs of a study, series and frame of reference, made from those of its slices."""
    first = min(sop_uids)
    return {name: derived_uid(name, first) for name in _SHARED}


def own_identity(header: pydicom.Dataset) -> dict[str, str]:
    """SOPClassUID and SOPInstanceUID of a slice.

    Args:
        header: as it was read from a file.

    Raises:
        VolumeError: it has none.
    """
    said = getattr(header, "file_meta", None) or pydicom.Dataset()
    identity = {name: str(header.get(name) or said.get(place) or "") for name, place in _OWN.items()}
    if not all(identity.values()):
        raise VolumeError("A slice of the DICOM series has no SOPInstanceUID, by which it could be named.")
    return identity


def study_uid_of(path: Path) -> str | None:
    """StudyInstanceUID of the DICOM series in a folder; None for any other image, or where it is empty."""
    if not is_dicom_folder(path):
        return None
    return str(read_series(path).headers[0].get("StudyInstanceUID") or "") or None


def _filled(header: pydicom.Dataset, identity: Mapping[str, Any], names: Iterable[str]) -> pydicom.Dataset:
    filled = pydicom.Dataset()
    filled.update(header)
    for name in names:  # elements are shared with the header, so they are replaced and never set
        filled.add_new(name, "UI", identity[name])
    return filled
