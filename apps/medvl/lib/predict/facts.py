"""What one sentence of a report is to say, as a line of facts: all that the language model is told in words.

The line is made here for training and for serving alike. Numbers stand in it as they are to be written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lib.predict.evidence import Evidence
from lib.text import Size
from lib.vocabulary import Structure, load_vocabulary

PLAIN_FROM, PROBABLE_FROM = 0.7, 0.5
"""Confidence from which a sentence is not hedged, and from which it says "probably"."""
BONES = frozenset({"vertebrae", "ribs", "sacrum", "hip_left", "hip_right"})
"""Drawn where it is dense, mostly without marrow, so that neither volume nor density is that of the bone."""
HOLLOW = frozenset({"stomach", "duodenum", "small_bowel", "colon", "esophagus", "trachea"})
"""Filled with gas or food, so that their mean says nothing."""
MAY_HOLD_GAS = HOLLOW - {"trachea"}
"""Of these it is said whether they do."""
_ONE_DECIMAL_BELOW_ML = 10.0
_SPOKEN = {"autochthon": "deep back muscle", "iliopsoas": "iliopsoas muscle", "hip": "hip bone"}
_PLURALS = frozenset({"vertebrae", "ribs", "portal_vein_and_splenic_vein"})
_WITHOUT_DENSITY = BONES | HOLLOW
_WITHOUT_VOLUME = BONES | {
    "duodenum",
    "small_bowel",
    "colon",
    "esophagus",
    "trachea",
    "aorta",
    "inferior_vena_cava",
    "portal_vein_and_splenic_vein",
    "spinal_cord",
    "iliopsoas_left",
    "iliopsoas_right",
    "autochthon_left",
    "autochthon_right",
}
"""Tubes and chains that run through the scan: how much of them is in it says nothing."""
_KIDNEYS = ("right kidney", "left kidney")


class Certainty(StrEnum):
    """How a sentence is hedged."""

    SURE = ""
    PROBABLE = "probable"
    POSSIBLE = "possible"


class Topic(StrEnum):
    """What a sentence is about; the values begin the lines of the impression."""

    STRUCTURE = ""
    LESION = "finding"
    SOME_LESIONS = "impression: lesions"
    A_SIZE = "impression: size"
    SHORTER = "impression: shorter than the other kidney"
    NORMAL_SIZES = "impression: normal size"
    NONE_WHOLE = "impression: no organ whose size could be judged is wholly in the scan"
    NO_LESION = "impression: no lesion was found"
    NOT_SOUGHT = "impression: lesions were not looked for"


@dataclass(frozen=True)
class Facts:
    """Of one sentence.

    Attributes:
        topic: what it is about.
        name: of the structure, of the kind of lesion, or of several structures, as it is said.
        certainty: how it is hedged.
        size: None where it is not judged.
        is_partial: it reaches the edge of the scan.
        is_shorter: than its partner.
        is_plural: "the ribs are".
        numbers: quantity ("length", "height", "volume", "mean") and value with unit, in the order of saying.
        axes: of a lesion, such as "32 x 24 mm".
        place: of a lesion, such as "in the liver".
        count: of lesions.
    """

    topic: Topic
    name: str = ""
    certainty: Certainty = Certainty.SURE
    size: Size | None = None
    is_partial: bool = False
    is_shorter: bool = False
    is_plural: bool = False
    numbers: tuple[tuple[str, str], ...] = ()
    axes: str = ""
    place: str = ""
    count: int = 0

    @property
    def line(self) -> str:
        """The facts as the language model reads them."""
        parts = [
            self.topic.value,
            f"{self.count} lesions, the largest" if self.count > 1 else "",
            self.name,
            self.certainty.value,
            self._state,
            "shorter than its partner" if self.is_shorter else "",
            self.axes,
            self.place,
            *(f"{quantity} {value}" for quantity, value in self.numbers),
        ]
        return "; ".join(part for part in parts if part)

    @property
    def _state(self) -> str:
        if self.is_partial:
            return "partly in the scan" if self.topic is Topic.STRUCTURE else "reaches the edge of the scan"
        if self.size is not None:
            return "normal size" if self.size is Size.NORMAL else str(self.size)
        return "seen" if self.topic is Topic.STRUCTURE else ""


def facts_of(one: Evidence) -> Facts:
    """What is to be said of a structure or lesion."""
    certainty = certainty_of(one.confidence)
    if one.diameters is not None:
        return Facts(
            Topic.LESION,
            spoken(one.structure, with_side=False),
            certainty,
            is_partial=one.measured.is_partial,
            numbers=(("volume", in_ml(one.measured.volume_ml)), ("mean", f"{one.measured.mean_hu:.0f} HU")),
            axes=axes_of(one),
            place=where(one),
        )
    return Facts(
        Topic.STRUCTURE,
        spoken(one.structure),
        certainty,
        one.size if not one.measured.is_partial else None,
        is_partial=one.measured.is_partial,
        is_shorter=bool(one.shorter_by_mm) and not one.measured.is_partial,
        is_plural=one.structure.name in _PLURALS,
        numbers=tuple(_numbers(one)),
    )


def certainty_of(confidence: float) -> Certainty:
    """How what is believed so much is hedged."""
    if confidence >= PLAIN_FROM:
        return Certainty.SURE
    return Certainty.PROBABLE if confidence >= PROBABLE_FROM else Certainty.POSSIBLE


def impression_facts(evidence: Sequence[Evidence], *, lesions_sought: bool) -> list[Facts]:
    """What the impression is to say, the most important first.

    Args:
        evidence: what the findings rest on.
        lesions_sought: whether lesions would have been seen.
    """
    lesions = [one for one in evidence if one.diameters]
    said = [_of_lesions(lesions)] if lesions else []
    for one in evidence:
        if one.size in (Size.ENLARGED, Size.SMALL):
            said.append(Facts(Topic.A_SIZE, spoken(one.structure), size=one.size))
        if one.shorter_by_mm:
            said.append(Facts(Topic.SHORTER, spoken(one.structure)))
    judged = [one for one in evidence if one.size is not None]
    if judged and not any(one.size is not Size.NORMAL for one in judged):
        names = [spoken(one.structure) for one in judged]
        if set(_KIDNEYS) <= set(names):
            names = [*(name for name in names if name not in _KIDNEYS), "kidneys"]
        said.append(Facts(Topic.NORMAL_SIZES, listed(names)))
    if not judged:
        said.append(Facts(Topic.NONE_WHOLE))
    if not lesions:
        said.append(Facts(Topic.NO_LESION if lesions_sought else Topic.NOT_SOUGHT))
    return said


def spoken(structure: Structure, *, with_side: bool = True) -> str:
    """A structure's name in a sentence: "right kidney"."""
    side = str(structure.side) if structure.side else ""
    plain = "_".join(part for part in structure.name.split("_") if part != side)
    if plain.startswith("vertebrae_"):
        return f"{plain.removeprefix('vertebrae_')} vertebra"
    name = _SPOKEN.get(plain) or _first_word(structure) or plain.replace("_", " ")
    return f"{side} {name}" if side and with_side and side not in name.split() else name


def in_ml(volume_ml: float) -> str:
    """A volume with a decimal where it is small."""
    return f"{volume_ml:.1f} ml" if volume_ml < _ONE_DECIMAL_BELOW_ML else f"{volume_ml:.0f} ml"


def axes_of(one: Evidence) -> str:
    """Both diameters of a lesion, "" for what is none."""
    return f"{one.diameters.long_mm:.0f} x {one.diameters.short_mm:.0f} mm" if one.diameters else ""


def where(one: Evidence) -> str:
    """Where a lesion lies: "in the upper part of the liver"."""
    if one.within is None:
        return f"on the {one.side}" if one.side else "in the middle of the body"
    part = f"{one.place} part of the " if one.place else ""
    return f"in the {part}{spoken(one.within)}"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def _of_lesions(lesions: Sequence[Evidence]) -> Facts:
    largest = max(lesions, key=lambda one: one.diameters.long_mm if one.diameters else 0.0)
    return Facts(
        Topic.SOME_LESIONS,
        spoken(largest.structure, with_side=False) if len(lesions) == 1 else "",
        axes=axes_of(largest),
        place=where(largest),
        count=len(lesions),
    )


def _numbers(one: Evidence) -> list[tuple[str, str]]:
    """What of the measurements says anything about such a structure."""
    measured = one.measured
    parts: list[tuple[str, str]] = []
    if not measured.is_partial and one.length_mm is not None:
        parts.append(("length", f"{one.length_mm:.0f} mm"))
    if not measured.is_partial and one.label == "liver":
        parts.append(("height", f"{measured.extent_mm[2]:.0f} mm"))
    if one.label not in _WITHOUT_VOLUME:
        parts.append(("volume", in_ml(measured.volume_ml)))
    if one.label not in _WITHOUT_DENSITY:
        parts.append(("mean", f"{measured.mean_hu:.0f} HU"))
    return parts


def _first_word(structure: Structure) -> str:
    concepts = load_vocabulary().concepts
    found = next(
        (
            one
            for one in concepts
            if structure.name in [part.name for part in one.structures] and not one.group
        ),
        None,
    )
    return found.words[0] if found else ""
