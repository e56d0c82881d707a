"""Masks that the network already draws well, as further targets: self-distillation.

LiteMedSAM follows boxes and nothing else. Wherever it draws a certain and stable mask in a random box, that
mask becomes a target for prompts that it does not know yet, on structures that nobody has labelled.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sam2.modeling.sam2_base import SAM2Base
from scipy import ndimage

from lib.model.decoder import PromptTensors, decode_batch
from lib.shapes import AnyArray, SliceMask
from lib.train.features import StoredView

SMALLEST_BOX_PX = 10.0
LARGEST_BOX_PX = 110.0
BOXES_A_SLICE = 6
MIN_IOU = 0.85
"""Predicted overlap below which a mask is not believed."""
MIN_STABILITY = 0.9
"""SAM's stability score (logits shifted by one) below which a mask is not believed."""
SMALLEST_MASK_PX = 40
_PIXEL_CENTRE = 0.5


@dataclass(frozen=True, eq=False)
class PseudoMasks:
    """Believed masks of one view.

    Attributes:
        positions: the slice of each, in the view.
        bits: each mask, packed, shape (N, side * side / 8).
        side: of the canvas.
    """

    positions: AnyArray
    bits: AnyArray
    side: int

    @property
    def count(self) -> int:
        """How many."""
        return len(self.positions)

    def mask(self, number: int) -> tuple[int, SliceMask]:
        """One mask and its slice."""
        flat = np.unpackbits(self.bits[number], count=self.side**2)
        return int(self.positions[number]), flat.reshape(self.side, self.side).astype(bool)


def stored_pseudo_masks(sam2: SAM2Base, view: StoredView, positions: Sequence[int], seed: int) -> PseudoMasks:
    """The pseudo masks of a view, found once and kept beside its embeddings.

    Args:
        sam2: the network before training.
        view: stored embeddings.
        positions: the slices to look at.
        seed: of the boxes, together with the view.
    """
    path = view.folder / f"pseudo-{seed}-{len(positions)}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            return PseudoMasks(kept["positions"], kept["bits"], int(kept["side"]))
    digest = int.from_bytes(hashlib.sha256(view.folder.name.encode()).digest()[:8])
    found = find_pseudo_masks(sam2, view, positions, np.random.default_rng([seed, digest]))
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, positions=found.positions, bits=found.bits, side=found.side)
    partial.replace(path)
    return found


def find_pseudo_masks(
    sam2: SAM2Base, view: StoredView, positions: Sequence[int], rng: np.random.Generator
) -> PseudoMasks:
    """Draw random boxes on some slices of a view and keep the masks that are certain.

    Args:
        sam2: the network before training.
        view: stored embeddings.
        positions: the slices to look at.
        rng: places the boxes.
    """
    side = view.labels.shape[-1]
    found: list[tuple[int, SliceMask]] = []
    for position in positions:
        boxes = _random_boxes(view.record.inner, rng)
        masks = _believed(sam2, view.embedding(position), boxes)
        found.extend((position, mask) for mask in _different(masks))
    packed = [np.packbits(mask) for _, mask in found]
    bits = np.array(packed, dtype=np.uint8).reshape(len(found), -(-(side**2) // 8))
    return PseudoMasks(np.array([position for position, _ in found], dtype=np.int64), bits, side)


def _random_boxes(inner: Sequence[int], rng: np.random.Generator) -> torch.Tensor:
    """Corners (B, 2, 2) as (x, y), of any size and place on the picture."""
    height, width = inner
    centres = rng.uniform([0, 0], [width, height], size=(BOXES_A_SLICE, 2))
    longest = rng.uniform(np.log(SMALLEST_BOX_PX), np.log(LARGEST_BOX_PX), size=(BOXES_A_SLICE, 1))
    half = np.exp(longest) / 2 * rng.uniform(0.6, 1.0, size=(BOXES_A_SLICE, 2))
    corners = np.stack([centres - half, centres + half], axis=1).clip(0, [width, height])
    return torch.from_numpy(corners).float() - _PIXEL_CENTRE


@torch.inference_mode()
def _believed(sam2: SAM2Base, embedding: torch.Tensor, boxes: torch.Tensor) -> list[SliceMask]:
    image = embedding[None].expand(len(boxes), -1, -1, -1)
    drawn = decode_batch(sam2, (image,), PromptTensors(boxes=boxes))
    logits = drawn.mask_logits[:, 0]
    certain, possible = (logits > 1).sum(dim=(1, 2)), (logits > -1).sum(dim=(1, 2)).clamp(min=1)
    good = (drawn.iou[:, 0] >= MIN_IOU) & (certain / possible >= MIN_STABILITY)
    masks = [_largest_part(mask.numpy()) for mask in (logits > 0)[good]]
    return [mask for mask in masks if mask.sum() >= SMALLEST_MASK_PX]


def _largest_part(mask: SliceMask) -> SliceMask:
    labelled, _ = ndimage.label(mask)
    sizes = np.bincount(labelled.ravel())
    sizes[0] = 0
    return labelled == sizes.argmax() if sizes.any() else mask


def _different(masks: list[SliceMask]) -> list[SliceMask]:
    """Without those that overlap an earlier one by more than half (IoU)."""
    kept: list[SliceMask] = []
    for mask in masks:
        overlaps = [np.count_nonzero(mask & other) / np.count_nonzero(mask | other) for other in kept]
        if all(overlap <= 0.5 for overlap in overlaps):
            kept.append(mask)
    return kept
