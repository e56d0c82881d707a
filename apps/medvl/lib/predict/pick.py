"""Which of several, and which part of one: size and place of masks, in the patient's own directions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.geometry import spacing_mm, voxel_to_world
from lib.predict.cropped import CroppedMask
from lib.shapes import Affine
from lib.vocabulary import Pick, Relation

NEAR_MM = 20.0
"""What counts as near."""
_LEAST_INSIDE = 0.5
"""Share of an object that must lie in a structure to be in it."""
_TOWARDS = {
    Pick.RIGHTMOST: (0, 1.0),
    Pick.LEFTMOST: (0, -1.0),
    Pick.FRONTMOST: (1, 1.0),
    Pick.REARMOST: (1, -1.0),
    Pick.UPPERMOST: (2, 1.0),
    Pick.LOWERMOST: (2, -1.0),
}
"""World axis (right, front, top) and the end of it."""
_BESIDE = {
    Relation.RIGHT_OF: (0, 1.0),
    Relation.LEFT_OF: (0, -1.0),
    Relation.FRONT: (1, 1.0),
    Relation.BEHIND: (1, -1.0),
    Relation.ABOVE: (2, 1.0),
    Relation.BELOW: (2, -1.0),
}
_PART_WORDS = {
    (2, 1.0): ("upper", "superior", "top", "dome", "apex"),
    (2, -1.0): ("lower", "inferior", "bottom", "base"),
    (1, 1.0): ("anterior",),
    (1, -1.0): ("posterior",),
    (0, 1.0): ("right",),
    (0, -1.0): ("left",),
}
_PART_NOUNS = frozenset({"pole", "half", "third", "part", "of", "the"})


@dataclass(frozen=True)
class EndPart:
    """One end of an object, by position alone.

    Attributes:
        axis: world axis: 0 right, 1 front, 2 top.
        sign: which end of it.
        share: of the object's length along the axis.
    """

    axis: int
    sign: float
    share: float


def ranked(candidates: Sequence[CroppedMask], pick: Pick, affine: Affine) -> list[CroppedMask]:
    """Objects in the order of a measure, the one that is meant by "largest" or "leftmost" first."""
    if pick in (Pick.LARGEST, Pick.SMALLEST):
        return sorted(candidates, key=lambda mask: mask.count, reverse=pick is Pick.LARGEST)
    axis, sign = _TOWARDS[pick]
    return sorted(candidates, key=lambda mask: -sign * centre_mm(mask, affine)[axis])


def lies(mask: CroppedMask, relation: Relation, place: CroppedMask, affine: Affine) -> bool:
    """Whether an object lies so to a structure; both hold voxels."""
    if relation in (Relation.IN, Relation.OUTSIDE):
        inside = mask.within(place).count >= _LEAST_INSIDE * mask.count
        return inside is (relation is Relation.IN)
    if relation is Relation.NEAR:
        return _distance_mm(mask, place, affine) <= NEAR_MM
    axis, sign = _BESIDE[relation]
    return bool(sign * (centre_mm(mask, affine) - centre_mm(place, affine))[axis] > 0)


def end_part(words: str) -> EndPart | None:
    """What "upper pole" or "left half" means; None for parts that follow from more than position."""
    said = set(words.split()) - _PART_NOUNS
    share = 0.5 if "half" in words.split() else 1 / 3
    found = [end for end, names in _PART_WORDS.items() if said & set(names)]
    if len(found) != 1 or said - set(_PART_WORDS[found[0]]):
        return None
    axis, sign = found[0]
    return EndPart(axis, sign, share)


def cut(mask: CroppedMask, part: EndPart, affine: Affine) -> CroppedMask:
    """One end of an object."""
    if not mask.count:
        return mask
    voxels = np.argwhere(mask.voxels)
    positions = (voxels + np.array(mask.corner)).astype(np.float64)
    heights = part.sign * voxel_to_world(positions, affine)[:, part.axis]
    kept = heights >= heights.max() - part.share * (heights.max() - heights.min())
    inside = np.zeros_like(mask.voxels)
    inside[tuple(voxels[kept].T)] = True
    return CroppedMask.of(inside, mask.corner, mask.shape)


def centre_mm(mask: CroppedMask, affine: Affine) -> np.ndarray:
    """Mean position in RAS millimetres, shape (3,); nan for an empty mask."""
    return voxel_to_world(mask.centre_ijk()[np.newaxis], affine)[0]


def volume_ml(mask: CroppedMask, affine: Affine) -> float:
    """Of the voxels."""
    return float(mask.count * abs(np.linalg.det(affine[:3, :3])) / 1000)


def _distance_mm(mask: CroppedMask, place: CroppedMask, affine: Affine) -> float:
    """Between the nearest voxels, measured within a box that reaches as far as near does."""
    steps = spacing_mm(affine)
    pad = [int(np.ceil(NEAR_MM / step)) + 1 for step in steps]
    window = tuple(
        slice(max(0, part.start - width), part.stop + width)
        for part, width in zip(mask.window, pad, strict=True)
    )
    there = place.full()[window]
    if not there.any():
        return float("inf")
    distances = ndimage.distance_transform_edt(~there, sampling=steps)
    return float(distances[mask.full()[window]].min())
