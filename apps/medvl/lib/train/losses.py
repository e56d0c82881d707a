"""Losses of promptable segmentation, those of SAM2 (Kirillov et al. 2023; Ravi et al. 2024)."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lib.shapes import CanvasLogits, Scores

FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0
_SMOOTH_PX = 1.0
"""Keeps the Dice of an empty mask finite."""


def focal_loss(mask_logits: CanvasLogits, target: CanvasLogits) -> Scores:
    """Binary cross entropy with easy pixels weighted down, mean over a mask's pixels, one value a mask.

    alpha_t (1 - p_t)^gamma * (-log p_t), alpha .25, gamma 2 (Lin et al. 2017).

    Args:
        mask_logits: before the sigmoid, shape (B, 1, side, side).
        target: 0 or 1, the same shape.
    """
    cross_entropy = binary_cross_entropy_with_logits(mask_logits, target, reduction="none")
    prob = mask_logits.sigmoid()
    prob_of_truth = prob * target + (1 - prob) * (1 - target)
    alpha = FOCAL_ALPHA * target + (1 - FOCAL_ALPHA) * (1 - target)
    return (alpha * (1 - prob_of_truth) ** FOCAL_GAMMA * cross_entropy).flatten(1).mean(dim=1)


def dice_loss(mask_logits: CanvasLogits, target: CanvasLogits) -> Scores:
    """1 - (2 <p, t> + s) / (|p|_1 + |t|_1 + s), p = sigmoid(logits), for each mask (Milletari et al. 2016).

    Args:
        mask_logits: before the sigmoid, shape (B, 1, side, side).
        target: 0 or 1, the same shape.
    """
    prob, truth = mask_logits.sigmoid().flatten(1), target.flatten(1)
    together = 2 * (prob * truth).sum(dim=1) + _SMOOTH_PX
    return 1 - together / (prob.sum(dim=1) + truth.sum(dim=1) + _SMOOTH_PX)


@torch.no_grad()
def mask_iou(mask_logits: CanvasLogits, target: CanvasLogits) -> Scores:
    """Intersection over union of the thresholded mask with the truth, for each; 1 where both are empty."""
    drawn, truth = (mask_logits > 0).flatten(1), (target > 0.5).flatten(1)
    union = (drawn | truth).sum(dim=1)
    overlap = (drawn & truth).sum(dim=1) / union.clamp(min=1)
    return torch.where(union > 0, overlap, torch.ones_like(overlap))


def mean_where(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of the values that count; 0, with a gradient of 0, where none does."""
    weights = counted.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1)
