"""From masks to what can be said of them: each structure and lesion with its measurements, side and size."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lib.geometry import voxel_to_world
from lib.predict.atlas import body_frame
from lib.predict.cropped import CroppedMask
from lib.predict.measure import (
    Diameters,
    Measurement,
    axial_diameters,
    length_mm,
    measure,
    place_within,
    side_of,
)
from lib.predict.ranges import KIDNEY_DIFFERENCE_MM, is_scrap, judge_size
from lib.text import Size
from lib.vocabulary import Side, Structure, StructureKind, load_vocabulary
from lib.volume import Volume

SPOKEN_FROM = 0.3
"""Confidence below which nothing is said of an organ, not even hedged."""
SURE_FROM = 0.5
"""Confidence below which the size of an organ is not judged."""
LEAST_HEIGHT_MM = 140.0
"""Of the scan; in a lower one no organ whose size is judged would fit, so none is whole."""
MOST_LESIONS = 20
_LEAST_LESION_VOXELS = 4
_LEAST_SHARE_WITHIN = 0.3
_NOT_SAID = frozenset({"body", "bone", "airway"})
"""Found by rule and no structure of a report."""
_ORDER = (
    "liver",
    "gallbladder",
    "spleen",
    "pancreas",
    "kidney_right",
    "kidney_left",
    "adrenal_gland_right",
    "adrenal_gland_left",
    "stomach",
    "duodenum",
    "small_bowel",
    "colon",
    "urinary_bladder",
    "prostate",
    "aorta",
    "inferior_vena_cava",
    "portal_vein_and_splenic_vein",
    "lung_right",
    "lung_left",
    "heart",
)
"""In which organs are spoken of; others follow."""
_KIDNEYS = ("kidney_left", "kidney_right")


@dataclass(frozen=True, eq=False)
class Seen:
    """A structure that is in the scan.

    Attributes:
        mask: not empty.
        confidence: 0 to 1.
    """

    mask: CroppedMask
    confidence: float


@dataclass(frozen=True, eq=False)
class Evidence:
    """One structure, or one lesion of several, and what was measured of it.

    Attributes:
        label: of its mask; lesions of one kind are numbered.
        structure: what it is.
        mask: not empty.
        confidence: 0 to 1.
        measured: of the mask.
        side: of the patient, by position.
        size: None where it cannot be judged.
        length_mm: from pole to pole, of kidneys.
        diameters: of lesions.
        within: the structure that a lesion lies in, if any.
        place: in which part of it.
        shorter_by_mm: than the other kidney.
    """

    label: str
    structure: Structure
    mask: CroppedMask
    confidence: float
    measured: Measurement
    side: Side | None
    size: Size | None = None
    length_mm: float | None = None
    diameters: Diameters | None = None
    within: Structure | None = None
    place: str = ""
    shorter_by_mm: float = 0.0


def gather(seen: Mapping[str, Seen], volume: Volume) -> tuple[Evidence, ...]:
    """Measures all that is seen; structures first, then lesions, the largest first.

    A structure of one side whose mask lies clearly on the other is left out: its mask is wrong, and so would
    be every number. So are scraps of organs, and what is hardly believed.

    Args:
        seen: by the vocabulary's name; unknown names are left out.
        volume: the scan.
    """
    middle_mm = middle_x_mm(seen, volume)
    known = {name: one for name, one in seen.items() if name not in _NOT_SAID and one.mask.count}
    organs = [
        evidence
        for name, one in known.items()
        if (structure := _structure(name)) is not None and structure.kind is not StructureKind.LESION
        if _agrees(evidence := organ_evidence(structure, name, one, volume, middle_mm), structure)
        and one.confidence >= SPOKEN_FROM
        and not is_scrap(name, evidence.measured.volume_ml, is_partial=evidence.measured.is_partial)
    ]
    organs = _with_asymmetry(sorted(organs, key=_place_in_report))
    lesions = [
        evidence
        for name, one in known.items()
        if (structure := _structure(name)) is not None and structure.kind is StructureKind.LESION
        for evidence in _lesions(structure, name, one, volume, organs, middle_mm)
    ]
    return (*organs, *lesions)


def middle_x_mm(seen: Mapping[str, Seen], volume: Volume) -> float:
    """Where the patient's middle is, RAS+: at the spine if it is seen, else halfway through the body."""
    for name in ("vertebrae", "spinal_cord", "sacrum"):
        if name in seen and seen[name].mask.count:
            centre = seen[name].mask.centre_ijk()
            return float(voxel_to_world(centre.reshape(1, 3), volume.affine)[0, 0])
    frame = body_frame(volume)
    return (frame.low_mm[0] + frame.high_mm[0]) / 2


def _place_in_report(one: Evidence) -> int:
    return _ORDER.index(one.label) if one.label in _ORDER else len(_ORDER)


def _structure(name: str) -> Structure | None:
    vocabulary = load_vocabulary()
    structure = vocabulary.structure(name)
    if structure is None:
        group = next((one for one in vocabulary.concepts if one.group and one.name == name), None)
        member = group.structures[0] if group else None
        # members of one group lie in several regions
        return Structure(name, member.kind, member.code, None, "trunk") if member else None
    return structure


def _agrees(evidence: Evidence, structure: Structure) -> bool:
    return structure.side is None or evidence.side is None or evidence.side is structure.side


def organ_evidence(structure: Structure, name: str, one: Seen, volume: Volume, middle_mm: float) -> Evidence:
    """One structure, measured.

    Args:
        structure: what it is.
        name: of its mask.
        one: not empty.
        volume: the scan.
        middle_mm: of the patient, RAS+.
    """
    measured = measure(one.mask, volume)
    length = length_mm(one.mask, volume.affine) if name in _KIDNEYS else None
    height_mm = float(np.abs(volume.affine[2, :3]) @ np.array(volume.shape))
    is_room = height_mm >= LEAST_HEIGHT_MM
    can_judge = is_room and not measured.is_partial and one.confidence >= SURE_FROM
    return Evidence(
        label=name,
        structure=structure,
        mask=one.mask,
        confidence=one.confidence,
        measured=measured,
        side=side_of(measured.centre_ras_mm, middle_mm) or structure.side,
        size=judge_size(name, measured.volume_ml, measured.extent_mm, length) if can_judge else None,
        length_mm=length,
    )


def _with_asymmetry(organs: list[Evidence]) -> list[Evidence]:
    """The shorter of two whole kidneys that differ much knows by how much."""
    kidneys = {one.label: one for one in organs if one.label in _KIDNEYS and one.size is not None}
    if len(kidneys) < len(_KIDNEYS):
        return organs
    shorter, longer = sorted(kidneys.values(), key=lambda one: one.length_mm or 0.0)
    difference_mm = (longer.length_mm or 0.0) - (shorter.length_mm or 0.0)
    if difference_mm <= KIDNEY_DIFFERENCE_MM:
        return organs
    return [replace(one, shorter_by_mm=difference_mm) if one is shorter else one for one in organs]


def _lesions(
    structure: Structure, name: str, one: Seen, volume: Volume, organs: list[Evidence], middle_mm: float
) -> Iterator[Evidence]:
    parts = [part for part in one.mask.components() if part.count >= _LEAST_LESION_VOXELS][:MOST_LESIONS]
    for number, part in enumerate(parts, start=1):
        measured = measure(part, volume)
        organ = _holder(part, organs)
        side = side_of(measured.centre_ras_mm, middle_mm)
        yield Evidence(
            label=name if len(parts) == 1 else f"{name}_{number}",
            structure=structure,
            mask=part,
            confidence=one.confidence,
            measured=measured,
            side=(organ.structure.side if organ else None) or side,
            diameters=axial_diameters(part, volume.affine),
            within=organ.structure if organ else None,
            place=place_within(measured, organ.measured) if organ and not organ.measured.is_partial else "",
        )


def _holder(part: CroppedMask, organs: list[Evidence]) -> Evidence | None:
    """The organ that holds most of a lesion, the smallest of several."""
    shares = [(part.within(organ.mask).count / part.count, organ) for organ in organs]
    holding = [(share, organ) for share, organ in shares if share >= _LEAST_SHARE_WITHIN]
    return max(holding, key=lambda pair: (round(pair[0], 1), -pair[1].mask.count))[1] if holding else None
