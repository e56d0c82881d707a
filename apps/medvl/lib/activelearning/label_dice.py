"""Dice of two label maps, label by label, where each has its own numbers for the same structures."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lib.shapes import AnyArray
from lib.train.metrics import dice

_VALUE_KEYS = ("idx", "id", "labelID", "label")
"""Where clients put a label's value."""


def dice_by_label(
    reference: AnyArray,
    prediction: AnyArray,
    reference_names: Mapping[int, str],
    prediction_names: Mapping[int, str],
) -> dict[str, float]:
    """Dice of each structure that either map holds, by name, 0 to 1.

    Args:
        reference: label map, shape (I, J, K).
        prediction: label map on the same grid.
        reference_names: what its values mean; empty: as in the other map.
        prediction_names: what its values mean; empty: as in the other map.
    """
    first = _values_by_name(reference, reference_names or prediction_names)
    second = _values_by_name(prediction, prediction_names or reference_names)
    return {
        name: round(
            dice(np.isin(reference, first.get(name, [])), np.isin(prediction, second.get(name, []))), 4
        )
        for name in sorted(first.keys() | second.keys())
    }


def names_by_value(info: Mapping[str, Any]) -> dict[int, str]:
    """Value to name, from what is noted about a label; empty if nothing is.

    Args:
        info: `label_info` as viewers send it with a label, or `params.label_names` as inference leaves it.
    """
    entries = info.get("label_info")
    if isinstance(entries, list):
        named = [
            _named(entry, place) for place, entry in enumerate(entries, start=1) if isinstance(entry, dict)
        ]
        return dict(named)
    params = info.get("params")
    names = params.get("label_names") if isinstance(params, dict) else None
    if not isinstance(names, dict):
        return {}
    return {value: str(name) for name, value in names.items() if isinstance(value, int)}


def _named(entry: Mapping[str, Any], place: int) -> tuple[int, str]:
    value = next((entry[key] for key in _VALUE_KEYS if isinstance(entry.get(key), int)), place)
    return int(value), str(entry.get("name") or f"label {value}")


def _values_by_name(label_map: AnyArray, names: Mapping[int, str]) -> dict[str, list[int]]:
    """The values above 0 that occur, by the structure's name in lower case."""
    found: dict[str, list[int]] = {}
    for value in np.unique(label_map).tolist():
        if value:
            found.setdefault(names.get(int(value), f"label {value}").strip().lower(), []).append(int(value))
    return found
