"""How well a mask that was asked for by name agrees with its reference.

A structure that the reference does not have is scored by what was drawn all the same: in gIoU an empty union
counts 1, as in GRES (Liu et al., CVPR 2023); cIoU is the sum of the intersections over the sum of the unions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.geometry import voxel_to_world
from lib.shapes import Affine, BinaryMask
from lib.train.extent import extent
from lib.train.metrics import TOLERANCE_MM, mean_of, overlap
from lib.vocabulary import Side
from lib.volume import Volume

_CLEAR_OF_MIDDLE_MM = 10.0
"""What lies nearer to the body's middle is on neither side."""
MEANS = ("dice", "nsd", "giou", "localisation_mm", "left_right_errors", "false_positive_ml")


@dataclass(frozen=True)
class TextScores:
    """Of one structure of one scan; None where a metric does not apply.

    Attributes:
        giou: overlap (IoU), 0 to 1; 1 if both masks are empty.
        ciou: the same; over several structures it is their cumulated overlap.
        intersection_ml: of mask and reference.
        union_ml: of mask and reference.
        dice: of a structure that the reference has.
        nsd: surface Dice at 2 mm, likewise.
        localisation_mm: between the centres of mask and reference, both not empty.
        left_right_errors: 1 if a structure of one side was drawn on the other.
        false_positive_ml: what was drawn of a structure that the reference says is absent.
    """

    giou: float
    ciou: float
    intersection_ml: float
    union_ml: float
    dice: float | None = None
    nsd: float | None = None
    localisation_mm: float | None = None
    left_right_errors: float | None = None
    false_positive_ml: float | None = None


def score(
    reference: BinaryMask, mask: BinaryMask, volume: Volume, side: Side | None, middle_x_mm: float
) -> TextScores:
    """The scores of one mask.

    Args:
        reference: shape (I, J, K); empty for a structure that is absent.
        mask: what was drawn.
        volume: the scan.
        side: of the structure, if it is one of a pair.
        middle_x_mm: of the body, RAS+.
    """
    voxel_ml = float(abs(np.linalg.det(volume.affine[:3, :3]))) / 1000
    both = int(np.count_nonzero(reference & mask))
    either = int(np.count_nonzero(reference)) + int(np.count_nonzero(mask)) - both
    iou = both / either if either else 1.0
    common = {
        "giou": iou,
        "ciou": iou,
        "intersection_ml": both * voxel_ml,
        "union_ml": either * voxel_ml,
    }
    if not reference.any():
        return TextScores(**common, false_positive_ml=either * voxel_ml)
    agreement = overlap(reference, mask, volume.spacing_mm, TOLERANCE_MM)
    centre, found = _centre_mm(reference, volume.affine), _centre_mm(mask, volume.affine)
    return TextScores(
        **common,
        dice=agreement.dice,
        nsd=agreement.nsd,
        localisation_mm=None if found is None or centre is None else float(np.linalg.norm(found - centre)),
        left_right_errors=_side_error(centre, found, side, middle_x_mm),
    )


def means(scores: Sequence[TextScores]) -> dict[str, float]:
    """The mean of each metric over what it was measured for; cIoU cumulated."""
    found = {metric: mean_of([getattr(one, metric) for one in scores]) for metric in MEANS}
    union_ml = sum(one.union_ml for one in scores)
    found["ciou"] = sum(one.intersection_ml for one in scores) / union_ml if union_ml else 1.0
    return {metric: value for metric, value in found.items() if value is not None}


def _centre_mm(mask: BinaryMask, affine: Affine) -> np.ndarray | None:
    if not mask.any():
        return None
    window = extent(mask)
    voxels = np.argwhere(mask[window]).mean(axis=0) + np.array([part.start for part in window])
    return voxel_to_world(voxels[np.newaxis], affine)[0]


def _side_error(
    centre: np.ndarray | None, found: np.ndarray | None, side: Side | None, middle_x_mm: float
) -> float | None:
    """1 if the mask lies clearly on the other side of the body's middle than its reference."""
    if side is None or centre is None or found is None:
        return None
    right, drawn = float(centre[0]) - middle_x_mm, float(found[0]) - middle_x_mm
    is_clear = min(abs(right), abs(drawn)) > _CLEAR_OF_MIDDLE_MM
    return float(is_clear and (right > 0) != (drawn > 0))
