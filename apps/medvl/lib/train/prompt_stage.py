"""One training step of the stage `prompt`: a simulated user prompts, the network draws, the last is scored.

Earlier masks and neighbouring slices' masks are given to the network thresholded, as they are when it
serves. Corrections are found without gradients; only the last drawing is learnt from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lib.model.decoder import PIXELS_PER_CELL, DecodedBatch, PromptTensors, decode_batch
from lib.shapes import CanvasLogits, FeatureMap, SliceMask
from lib.train.losses import dice_loss, focal_loss, mask_iou, mean_where
from lib.train.slice_prompts import box_of, click_in, correction, loosened, scribble_in, worn
from lib.train.tasks import CANVAS_CELLS, Batch, Recipe

MASK_LOGIT = 10.0
"""A mask is given as this much inside and minus as much outside."""
NEIGHBOUR_MARGIN_PX = 4.0
"""The box of the mask before is enlarged by at most so much on each side."""
SCRIBBLE_POINTS = 8
CANVAS_PX = (PIXELS_PER_CELL * CANVAS_CELLS) ** 2
_PIXEL_CENTRE = 0.5
_WORN = 0.3
"""How often the first mask of a chain is imperfect."""
_EMPTY_BOX = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class LossWeights:
    """Of the parts of the loss; SAM2's by default.

    Attributes:
        focal: of the mask's pixels.
        dice: of the mask's overlap.
        iou: of the predicted overlap.
        presence: of whether the object is on the slice.
    """

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    presence: float = 1.0


@dataclass(frozen=True, eq=False)
class _Asked:
    """Prompts of a batch that grow from round to round; coordinates in canvas pixels."""

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    masks: CanvasLogits | None = None

    def with_points(self, points: np.ndarray, labels: np.ndarray) -> "_Asked":
        new_points = torch.from_numpy(points).float() - _PIXEL_CENTRE
        new_labels = torch.from_numpy(labels).int()
        if self.points is not None and self.labels is not None:
            new_points = torch.cat([self.points, new_points], dim=1)
            new_labels = torch.cat([self.labels, new_labels], dim=1)
        return replace(self, points=new_points, labels=new_labels)

    def with_boxes(self, boxes: list[np.ndarray]) -> "_Asked":
        corners = torch.from_numpy(np.stack(boxes)).float().reshape(-1, 2, 2)
        return replace(self, boxes=corners - _PIXEL_CENTRE)

    def tensors(self, corner: tuple[int, int], device: torch.device) -> PromptTensors:
        """On the device, in coordinates of the whole canvas."""
        row, col = corner
        offset = torch.tensor([col, row], dtype=torch.float32, device=device) * PIXELS_PER_CELL
        points = None
        if self.points is not None and self.labels is not None:
            points = (self.points.to(device) + offset, self.labels.to(device))
        boxes = None if self.boxes is None else self.boxes.to(device) + offset
        return PromptTensors(points, boxes, None if self.masks is None else self.masks.to(device))


def batch_loss(sam2: SAM2Base, batch: Batch, weights: LossWeights) -> dict[str, Tensor]:
    """The loss of one batch and its parts, as scalars with gradients.

    Args:
        sam2: the network; embeddings and prompts are moved to its device.
        batch: from `TaskSampler`.
        weights: of the parts.

    Returns:
        `loss`, and unweighted `focal`, `dice`, `iou`, `presence`, `mean_iou`.
    """
    device = sam2.no_mem_embed.device
    truths = [task.truths[-1] for task in batch.tasks]
    image = _images(batch, -1, device)
    asked = _first_prompts(sam2, batch, device)
    for _ in range(batch.rounds):
        drawn = _masks(_draw_without_gradient(sam2, image, asked, batch.corner))
        asked = _corrected(asked, truths, drawn, batch.rng)
    drawn_last = decode_batch(sam2, (image,), asked.tensors(batch.corner, device), corner=batch.corner)
    return drawn_losses(drawn_last, truths, weights)


def drawn_losses(drawn: DecodedBatch, truths: Sequence[SliceMask], weights: LossWeights) -> dict[str, Tensor]:
    """The loss of what was drawn on slices, and its parts, as `batch_loss` gives them."""
    target = torch.from_numpy(np.stack(truths)[:, None]).to(drawn.mask_logits)
    is_there = target.flatten(1).any(dim=1)
    overlap = mask_iou(drawn.mask_logits, target)
    parts = {
        # over the whole canvas, also where only a part of it is seen: the rest is easy background
        "focal": mean_where(focal_loss(drawn.mask_logits, target), is_there) * target[0].numel() / CANVAS_PX,
        "dice": mean_where(dice_loss(drawn.mask_logits, target), is_there),
        "iou": mean_where((drawn.iou[:, 0] - overlap).abs(), is_there),
        "presence": binary_cross_entropy_with_logits(drawn.object_logit, is_there.to(drawn.object_logit)),
    }
    loss = (
        weights.focal * parts["focal"]
        + weights.dice * parts["dice"]
        + weights.iou * parts["iou"]
        + weights.presence * parts["presence"]
    )
    return {"loss": loss, **parts, "mean_iou": mean_where(overlap, is_there)}


def _images(batch: Batch, position: int, device: torch.device) -> FeatureMap:
    return torch.stack([task.embeddings[position] for task in batch.tasks]).to(device)


def _first_prompts(sam2: SAM2Base, batch: Batch, device: torch.device) -> _Asked:
    truths = [task.truths[-1] for task in batch.tasks]
    side, rng = truths[0].shape[0], batch.rng
    if batch.recipe.start == "neighbour":
        return _from_neighbours(sam2, batch, device)
    if batch.recipe.start == "box":
        return _Asked().with_boxes([loosened(box_of(truth), rng, side) for truth in truths])
    count = 1 if batch.recipe.start == "click" else SCRIBBLE_POINTS
    points = [click_in(t, rng) if count == 1 else scribble_in(t, count, rng) for t in truths]
    return _Asked().with_points(np.stack(points), np.ones((len(truths), count), dtype=np.int64))


def _from_neighbours(sam2: SAM2Base, batch: Batch, device: torch.device) -> _Asked:
    """Follow each object to the last slice but one, each time from the mask drawn before."""
    masks = [_perhaps_worn(task.truths[0], batch.rng) for task in batch.tasks]
    for position in range(1, len(batch.tasks[0].truths) - 1):
        asked = _neighbour_prompts(masks, batch.recipe, batch.rng)
        drawn = _masks(_draw_without_gradient(sam2, _images(batch, position, device), asked, batch.corner))
        # an object that was lost on the way gives no lesson about the next slice
        masks = [
            mask if mask.any() else task.truths[position]
            for mask, task in zip(drawn, batch.tasks, strict=True)
        ]
    return _neighbour_prompts(masks, batch.recipe, batch.rng)


def _neighbour_prompts(masks: list[SliceMask], recipe: Recipe, rng: np.random.Generator) -> _Asked:
    asked = _Asked(masks=_as_prompt(masks))
    if not recipe.with_box:
        return asked
    side = masks[0].shape[0]
    return asked.with_boxes([loosened(box_of(mask), rng, side, NEIGHBOUR_MARGIN_PX) for mask in masks])


def _perhaps_worn(mask: SliceMask, rng: np.random.Generator) -> SliceMask:
    return worn(mask, rng) if rng.random() < _WORN else mask


def _corrected(
    asked: _Asked, truths: list[SliceMask], drawn: list[SliceMask], rng: np.random.Generator
) -> _Asked:
    """One more click on each slice, and the masks drawn so far."""
    points, labels = [], []
    for truth, mask in zip(truths, drawn, strict=True):
        # where nothing is wrong, a click that agrees keeps the batch in step
        point, positive = correction(truth, mask, rng) or (click_in(truth, rng), True)
        points.append(point)
        labels.append([int(positive)])
    clicked = asked.with_points(np.stack(points), np.array(labels, dtype=np.int64))
    return replace(clicked, masks=_as_prompt(drawn))


def _as_prompt(masks: list[SliceMask]) -> CanvasLogits:
    inside = torch.from_numpy(np.stack(masks)[:, None])
    return torch.where(inside, MASK_LOGIT, -MASK_LOGIT)


@torch.no_grad()
def _draw_without_gradient(
    sam2: SAM2Base, image: FeatureMap, asked: _Asked, corner: tuple[int, int]
) -> DecodedBatch:
    return decode_batch(sam2, (image,), asked.tensors(corner, image.device), corner=corner)


def _masks(drawn: DecodedBatch) -> list[SliceMask]:
    return list((drawn.mask_logits[:, 0] > 0).cpu().numpy())
