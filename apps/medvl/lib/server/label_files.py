"""Label files that clients upload, with what they say the values mean."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.errors import InputError
from lib.formats import read_mask
from lib.formats.dicom_seg_codes import StructureCode, structure_key
from lib.formats.dicom_series import DicomSeries
from lib.mask import MAX_LABELS, Mask

_VALUE_KEYS = ("idx", "id", "labelID", "label")
"""Where clients put a label's value: Slicer, our scribbles, MONAI Label's own code."""


def read_label_file(path: Path, series: DicomSeries, info: Mapping[str, Any]) -> Mask:
    """A label file on a series, its values made 1 to N without gaps.

    Args:
        path: NIfTI or NRRD.
        series: that it was drawn on.
        info: what the client sent with it; `label_info` names the values, others become 'label N'.

    Raises:
        VolumeError: it cannot be read, or lies on another grid.
        InputError: more than 255 values, or an unusable `label_info`.
    """
    values = read_mask(path, series)
    names = names_of_values(info)
    found = [int(value) for value in np.unique(values) if value]
    if len(found) > MAX_LABELS:
        raise InputError(f"A label holds at most {MAX_LABELS} structures; got {len(found)}.")
    label_map = np.searchsorted([0, *found], values).astype(np.uint8)
    labels: dict[str, int] = {}
    for number, value in enumerate(found, start=1):
        name = names.get(value, f"label {value}")
        labels[name if name not in labels else f"{name} ({value})"] = number
    return Mask(label_map, series.affine, labels)


def names_of_values(info: Mapping[str, Any]) -> dict[int, str]:
    """Value to name, as `label_info` says.

    Raises:
        InputError: it is no list of entries with a name and a value.
    """
    entries = info.get("label_info") or []
    if not isinstance(entries, list) or any(not isinstance(entry, Mapping) for entry in entries):
        raise InputError("label_info must be a list of {name, idx}.")
    names = {}
    for position, entry in enumerate(entries, start=1):
        value = next((entry[key] for key in _VALUE_KEYS if isinstance(entry.get(key), int)), position)
        names[int(value)] = str(entry.get("name") or f"label {value}")
    return names


def label_info_of(mask: Mask) -> list[dict[str, Any]]:
    """The names of a mask's values, as clients send and read them."""
    return [{"name": name, "idx": value} for name, value in mask.labels.items()]


def colours_of(info: Mapping[str, Any], codes: Mapping[str, StructureCode]) -> dict[str, StructureCode]:
    """The codes, with the colours that a client has chosen for its labels."""
    chosen = dict(codes)
    for entry in info.get("label_info") or []:
        colour = entry.get("color")
        is_colour = isinstance(colour, list) and len(colour) >= 3
        if is_colour and all(isinstance(part, int) and 0 <= part <= 255 for part in colour[:3]):
            key = structure_key(str(entry.get("name")))
            red, green, blue = colour[:3]
            chosen[key] = replace(codes.get(key, StructureCode()), rgb=(red, green, blue))
    return chosen
