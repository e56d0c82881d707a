"""What a segment of a DICOM SEG is, in codes and in colour (PS3.3 C.8.20.2, PS3.16 CID 7150 and 7151)."""

import colorsys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lib.errors import ConfigError
from lib.labels import LABELS_DIR, load_labels

SCT = "SCT"
_GOLDEN_RATIO = 0.618034


@dataclass(frozen=True)
class Code:
    """A coded concept.

    Attributes:
        value: such as 10200004.
        meaning: such as Liver.
        scheme: SCT is SNOMED CT.
    """

    value: str
    meaning: str
    scheme: str = SCT


ANATOMY = Code("123037004", "Anatomical Structure")
ABNORMALITY = Code("49755003", "Morphologically Abnormal Structure")
TISSUE = Code("85756007", "Tissue")
RIGHT = Code("24028007", "Right")
LEFT = Code("7771000", "Left")
_CATEGORIES = {"anatomy": ANATOMY, "abnormality": ABNORMALITY}
_SIDES = {"right": RIGHT, "left": LEFT}


@dataclass(frozen=True)
class StructureCode:
    """The coded meaning of a structure's name.

    Attributes:
        category: what kind of thing it is, such as an anatomical structure.
        type: what it is.
        modifier: its side, where the type does not say it.
        region: where an abnormality is.
        region_modifier: the region's side.
        rgb: colour to show it in, 0 to 255; None: no particular one.
    """

    category: Code = ANATOMY
    type: Code = TISSUE
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None
    rgb: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class SegmentDescription:
    """One segment.

    Attributes:
        name: as users read it.
        number: from 1, without gaps; the value in a label map.
        code: what it means.
        rgb: colour to show it in, 0 to 255.
    """

    name: str
    number: int
    code: StructureCode
    rgb: tuple[int, int, int]


def load_structure_codes(folder: Path = LABELS_DIR) -> dict[str, StructureCode]:
    """Names and synonyms that have a code, in the form of `structure_key`.

    Raises:
        ConfigError: the table is missing, or an entry is not understood.
    """
    path = folder / "snomed.yaml"
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["structures"]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ConfigError(f"The code table {path.name} is missing or has no 'structures'.") from error
    labels = {label.name: label for label in load_labels("interactive", folder)}
    codes = {}
    for name, entry in entries.items():
        label = labels.get(name)
        code = _structure(name, entry, label.colour if label else None)
        for synonym in (name, *(label.synonyms if label else ())):
            codes[structure_key(synonym)] = code
    return codes


def structure_key(name: str) -> str:
    """A name as the code table has it: `Right Kidney ` and `right-kidney` are `right_kidney`."""
    return "_".join(name.lower().replace("-", " ").replace("_", " ").split())


def describe_segments(
    names: Iterable[str], codes: Mapping[str, StructureCode]
) -> tuple[SegmentDescription, ...]:
    """Descriptions of segments numbered in this order; names without a code are tissue of some kind.

    Args:
        names: in the order of their values.
        codes: of `load_structure_codes`.
    """
    return tuple(
        _described(name, number, codes.get(structure_key(name), StructureCode()))
        for number, name in enumerate(names, start=1)
    )


def names_without_code(names: Iterable[str], codes: Mapping[str, StructureCode]) -> list[str]:
    """Those that are said to be tissue for want of a code."""
    return [name for name in names if structure_key(name) not in codes]


def cielab_from_rgb(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """A screen colour (sRGB, IEC 61966-2-1) as DICOM's CIELab of 16 bits (PS3.3 C.10.7.1.1, white D50)."""
    part = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    ratios = _XYZ_D50_FROM_SRGB @ linear / _WHITE_D50
    cubic = np.where(ratios > (6 / 29) ** 3, np.cbrt(ratios), ratios / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness = 116 * cubic[1] - 16
    a, b = 500 * (cubic[0] - cubic[1]), 200 * (cubic[1] - cubic[2])
    scaled = np.array([lightness / 100, (a + 128) / 255, (b + 128) / 255]) * 0xFFFF
    first, second, third = np.clip(np.rint(scaled), 0, 0xFFFF).astype(int).tolist()
    return (first, second, third)


_XYZ_D50_FROM_SRGB = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
"""Bradford-adapted from D65, as in the ICC profile of sRGB."""
_WHITE_D50 = np.array([0.96422, 1.0, 0.82521])


def _described(name: str, number: int, code: StructureCode) -> SegmentDescription:
    return SegmentDescription(name, number, code, code.rgb or _spread_colour(number))


def _spread_colour(number: int) -> tuple[int, int, int]:
    """Colours that step round the hue circle by the golden ratio, so that neighbours differ."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN_RATIO % 1.0, 0.6, 0.9)
    return (round(red * 255), round(green * 255), round(blue * 255))


def _structure(name: str, entry: Any, rgb: tuple[int, int, int] | None) -> StructureCode:
    try:
        unknown = set(entry) - {"category", "type", "region", "side"}
        side = _SIDES[entry["side"]] if "side" in entry else None
        region = _code(entry["region"]) if "region" in entry else None
        code = StructureCode(
            category=_CATEGORIES[entry.get("category", "anatomy")],
            type=_code(entry["type"]),
            modifier=side if region is None else None,
            region=region,
            region_modifier=None if region is None else side,
            rgb=rgb,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"The codes of {name!r} are not understood: {entry!r}.") from error
    if unknown:
        raise ConfigError(f"The codes of {name!r} have unknown keys {sorted(unknown)}.")
    return code


def _code(pair: Any) -> Code:
    value, meaning = pair
    return Code(str(value), str(meaning))
