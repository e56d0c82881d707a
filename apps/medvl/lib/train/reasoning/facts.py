"""What is true of an outlined object, measured on its mask: the only source of what a row may say."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lib.vocabulary import Side


class Density(StrEnum):
    """What an object is made of on CT, or how it differs from what is around it."""

    AIR = "air"
    FAT = "fat density"
    FLUID = "fluid density"
    SOFT_TISSUE = "soft-tissue density"
    DENSE = "higher than soft-tissue density"
    MIXED = "mixed density"
    DARKER = "darker than its surroundings"
    BRIGHTER = "brighter than its surroundings"
    SIMILAR = "about as bright as its surroundings"


class SizeClass(StrEnum):
    """Of an object, in words that a text may use."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


@dataclass(frozen=True)
class Facts:
    """Of one outlined object.

    Attributes:
        modality: as the manifest calls it: ct, xray and so on.
        target: what is outlined, in words.
        within: the organ that it lies in; None if that is not known, or it is an organ itself.
        places: "upper", "posterior" and the like; of the organ, the scan or the picture. None for the middle.
        side: where it is. Of the patient in volumes, of the picture in pictures; None in the middle or where
            the patient's middle is not known.
        is_bilateral: its two main parts lie on either side.
        parts: connected parts of more than a hundredth of it; at most `MOST_PARTS` are told apart.
        density: of all of it.
        size: None for what has no sizes to compare with, such as vessels.
        condition: the diagnosis; None if none is recorded.
        is_normal: it is recorded that there is no disease.
        is_paired: its label says the side, so that a question may.
        is_picture: there are no millimetres.
        is_partial: it reaches the scan's edge.
        volume_ml: in volumes.
        median_hu: on CT; the mean would mix in what lies at the outline, such as air around a nodule.
        long_axis_mm: longest axial diameter (RECIST 1.1), of the largest part of a lesion.
        short_axis_mm: the longest at right angles to it.
        area_percent: of the picture.
    """

    modality: str
    target: str
    within: str | None
    places: tuple[str, ...]
    side: Side | None
    is_bilateral: bool
    parts: int
    density: Density
    size: SizeClass | None
    condition: str | None
    is_normal: bool
    is_paired: bool
    is_picture: bool
    is_partial: bool
    volume_ml: float | None = None
    median_hu: float | None = None
    long_axis_mm: float | None = None
    short_axis_mm: float | None = None
    area_percent: float | None = None

    def as_json(self) -> dict[str, Any]:
        """As a row holds it; lengths and shares with the digits that a text may give."""
        document: dict[str, Any] = {
            "modality": self.modality,
            "target": self.target,
            "location": {
                "within": self.within,
                "places": list(self.places),
                "frame": "picture" if self.is_picture else "patient",
            },
            "side": "both" if self.is_bilateral else None if self.side is None else str(self.side),
            "parts": self.parts,
            "density": str(self.density),
            "size": None if self.size is None else str(self.size),
            "condition": self.condition,
            "normal": self.is_normal,
            "partly_in_image": self.is_partial,
        }
        measured = {
            "volume_ml": self.volume_ml,
            "median_hu": self.median_hu,
            "long_axis_mm": self.long_axis_mm,
            "short_axis_mm": self.short_axis_mm,
            "area_percent": self.area_percent,
        }
        return document | {name: round(value, 3) for name, value in measured.items() if value is not None}


MOST_PARTS = 10
