"""How well a mask agrees with its reference, and how fast it comes to agree.

Conventions: two empty masks agree (Dice and surface Dice 1); one empty mask gives 0. Surface Dice is 0
where Dice is at most 0.2, as the CVPR 2025 challenge has it (github.com/JunMa11/CVPR-MedSegFMCompetition,
`CVPR25_iter_eval.py`). An array with an axis of one voxel is compared as a picture: its two flat sides
are no surface.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lib.shapes import BinaryMask
from lib.train.extent import extent

TOLERANCE_MM = 2.0
"""The challenge's tolerance between surfaces."""
TOLERANCE_PX = 2.0
"""For pictures, whose pixel size is unknown."""
DICE_WITHOUT_SURFACE = 0.2
"""Up to this Dice the surfaces are not compared, and surface Dice is 0."""


@dataclass(frozen=True)
class Overlap:
    """Agreement of one mask with its reference, each 0 to 1: Dice, and surface Dice at a tolerance."""

    dice: float
    nsd: float


def dice(reference: BinaryMask, prediction: BinaryMask) -> float:
    """Dice similarity coefficient, 2 |A and B| / (|A| + |B|), 0 to 1 (Dice 1945)."""
    total = int(np.count_nonzero(reference)) + int(np.count_nonzero(prediction))
    return 1.0 if total == 0 else 2 * int(np.count_nonzero(reference & prediction)) / total


def surface_dice(
    reference: BinaryMask, prediction: BinaryMask, spacing: tuple[float, float, float], tolerance: float
) -> float:
    """Normalised surface Dice: the share of both surfaces that lies within a tolerance of the other, 0 to 1.

    Nikolov et al. 2018 (arXiv:1809.04430), with surface elements weighted by their area as in DeepMind's
    `surface-distance` (MONAI's sub-voxel variant).

    Args:
        reference: shape (I, J, K).
        prediction: shape (I, J, K).
        spacing: voxel spacing along i, j, k, in the tolerance's unit.
        tolerance: in millimetres, or pixels for pictures.
    """
    if not reference.any() or not prediction.any():
        return 1.0 if reference.any() == prediction.any() else 0.0
    # Distances between the surfaces need no more than the box around both.
    window = extent(reference | prediction)
    flat = _flat_axis(reference.shape)
    masks = [mask[window] if flat is None else mask[window].squeeze(flat) for mask in (reference, prediction)]
    steps = [float(step) for axis, step in enumerate(spacing) if axis != flat]
    first, second = (torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in masks)
    return _monai_surface_dice(first, second, tolerance, steps)


def overlap(
    reference: BinaryMask, prediction: BinaryMask, spacing: tuple[float, float, float], tolerance: float
) -> Overlap:
    """Dice and surface Dice, the latter 0 where Dice is at most 0.2; arguments as of `surface_dice`."""
    volume_dice = dice(reference, prediction)
    if volume_dice <= DICE_WITHOUT_SURFACE:
        return Overlap(volume_dice, 0.0)
    return Overlap(volume_dice, surface_dice(reference, prediction, spacing, tolerance))


def area_under_clicks(scores: Sequence[float]) -> float:
    """Area under the scores after click 1, 2 ... by the trapezoid rule: 4.0 at most for five clicks.

    The score after the box alone does not count, because the box is optional in the challenge.
    """
    return float(sum(scores) - (scores[0] + scores[-1]) / 2)


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of what was measured; None if nothing was."""
    measured = [value for value in values if value is not None and math.isfinite(value)]
    return sum(measured) / len(measured) if measured else None


def _monai_surface_dice(
    first: torch.Tensor, second: torch.Tensor, tolerance: float, spacing: list[float]
) -> float:
    with warnings.catch_warnings():
        # Of MONAI's own making: nothing that a user who reads scores could act on.
        warnings.filterwarnings("ignore", message="(?s).*(always_return_as_numpy|pkg_resources)")
        from monai.metrics import compute_surface_dice  # noqa: PLC0415 - MONAI takes seconds; Dice needs none

        value = compute_surface_dice(
            first, second, [tolerance], include_background=True, spacing=spacing, use_subvoxels=True
        )
    return float(value)


def _flat_axis(shape: tuple[int, ...]) -> int | None:
    """The last axis of one voxel, if there is any."""
    return next((axis for axis in (2, 1, 0) if shape[axis] == 1), None)
