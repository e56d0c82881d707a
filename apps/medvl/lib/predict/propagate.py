"""From the key slice outwards, both ways, until the object ends.

Two ways to carry an object to the next slice: `reprompt` gives the network the mask before and its box, a
little larger (the box alone if the weights do not follow masks); `memory` lets SAM2's memory attention find
the object again, for weights trained for it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from scipy import ndimage

from lib.model.config import TrainedPrompt
from lib.model.volume_segmenter import SliceMemory
from lib.predict.plan import FrameBox, ObjectPlan, bounding_box
from lib.predict.scan import EmbeddedScan
from lib.shapes import SliceLogits, SliceMask

MARGIN_MM = 3.2
"""The box of the mask before grows by this much, so that an object may grow from slice to slice."""
SMALLEST_MARGIN_VOXELS = 2
SMALLEST_SHARE = 0.1
"""Parts of a slice's mask below this share of its largest part are not followed by a box of their own."""
MIN_IOU = 0.75
"""Predicted overlap below which a slice no longer shows the object. On the training cases 1 % of the slices
that show it, and 70 % of those beyond its ends, are below."""
MIN_IOU_WITH_SCORE = 0.55
MIN_OBJECT_LOGIT = 1.0
"""The same for weights that say whether the object is there, whose predicted overlap is calibrated. On the
training cases 1 % of the slices that show an object, and 57 % of those beyond its ends, are below either."""
MIN_OVERLAP = 0.25
"""Where consecutive masks overlap less than this (IoU), the network has jumped to something else."""
MASK_LOGIT = 10.0
"""A mask is given to the network as this much inside and minus as much outside."""
MAX_GROWTH = 2.5
"""A mask that becomes larger by more than this factor from one slice to the next has leaked."""


class Propagation(StrEnum):
    """How an object is carried from the prompted slices to the others."""

    REPROMPT = "reprompt"
    """By the box of the mask before."""
    MEMORY = "memory"
    """By SAM2's memory."""
    NONE = "none"
    """Not at all: only prompted slices are segmented."""


@dataclass(eq=False)
class Track:
    """One object on the slices done so far.

    Attributes:
        masks: slice to mask (H, W).
        ious: slice to predicted overlap with the truth, where the network said.
        stability: of the prompted slices' masks, the least; 0 to 1.
    """

    masks: dict[int, SliceMask] = field(default_factory=dict)
    ious: dict[int, float] = field(default_factory=dict)
    stability: float = 1.0

    @property
    def confidence(self) -> float:
        """Mean predicted overlap times stability, 0 to 1; nan where the network said nothing."""
        return (
            float(np.clip(np.mean(list(self.ious.values())), 0, 1) * self.stability) if self.ious else np.nan
        )

    def add(self, index: int, mask: SliceMask, iou: float) -> None:
        """Keep one slice."""
        self.masks[index] = mask
        if np.isfinite(iou):
            self.ious[index] = iou


def propagate(scan: EmbeddedScan, plan: ObjectPlan, track: Track, how: Propagation) -> None:
    """Carry the object from the slices in the track to all others it reaches.

    Slices between two finished ones are filled from both sides, each from the nearer one.

    Args:
        scan: the scan.
        plan: how far the object may reach.
        track: prompted slices; gains the others.
        how: by box, by memory, or not at all.
    """
    seeds = sorted(index for index, mask in track.masks.items() if mask.any())
    if how is Propagation.NONE:
        return
    carry = _by_memory if how is Propagation.MEMORY else _by_box
    for position, seed in enumerate(seeds):
        before = seeds[position - 1] if position else None
        after = seeds[position + 1] if position + 1 < len(seeds) else None
        upper = plan.last if after is None else (seed + after) // 2
        lower = plan.first if before is None else (before + seed) // 2 + 1
        carry(scan, plan, track, seed, range(seed + 1, upper + 1))
        carry(scan, plan, track, seed, range(seed - 1, lower - 1, -1))


def _by_box(scan: EmbeddedScan, plan: ObjectPlan, track: Track, seed: int, indices: Iterable[int]) -> None:
    before = track.masks[seed]
    for index in indices:
        mask, iou = next_slice(scan, plan, before, index)
        if not mask.any() or not (plan.is_bounded or continues(scan, mask, iou, before)):
            return
        track.add(index, mask, iou)
        before = mask


def next_slice(
    scan: EmbeddedScan, plan: ObjectPlan, before: SliceMask, index: int
) -> tuple[SliceMask, float]:
    """The object on the slice beside one that is done, and its predicted overlap with the truth.

    Args:
        scan: the scan.
        plan: bounds of the object.
        before: the mask of the slice beside, not empty.
        index: the slice.

    Returns:
        The mask, empty where the object has ended, and the overlap; nan with an empty mask.
    """
    if scan.segmenter.config.knows(TrainedPrompt.MASK):
        return _next_by_mask(scan, plan, before, index)
    return _next_by_box(scan, plan, before, index)


def _next_by_mask(
    scan: EmbeddedScan, plan: ObjectPlan, before: SliceMask, index: int
) -> tuple[SliceMask, float]:
    """For weights that were taught to find an object again by the mask of the slice before."""
    box = bounding_box(before)
    result = scan.decode(index, box=box, mask_logits=as_logits(before), is_tight=True)
    is_there = result.object_logit is None or result.object_logit >= MIN_OBJECT_LOGIT
    if not is_there and not plan.is_bounded:
        return np.zeros_like(before), np.nan
    return within(result.mask, plan.bounds), result.iou


def as_logits(mask: SliceMask) -> SliceLogits:
    """A mask as the network was taught to read it."""
    return np.where(mask, MASK_LOGIT, -MASK_LOGIT).astype(np.float32)


def _next_by_box(
    scan: EmbeddedScan, plan: ObjectPlan, before: SliceMask, index: int
) -> tuple[SliceMask, float]:
    """The object on the next slice and its predicted overlap: one box for each part of the mask before.

    One box around separate parts, as the lobes of a liver, makes the network fill what lies between them.
    """
    mask, weighted_iou, area = np.zeros_like(before), 0.0, 0
    for part in _parts(before):
        box = bounding_box(part).grown(_margin_voxels(plan), plan.bounds)
        if box.is_empty:
            continue
        result = scan.decode(index, box=box)
        drawn = within(result.mask, plan.bounds)
        mask |= drawn
        weighted_iou += result.iou * np.count_nonzero(drawn)
        area += np.count_nonzero(drawn)
    return mask, weighted_iou / area if area else np.nan


def _margin_voxels(plan: ObjectPlan) -> int:
    return max(SMALLEST_MARGIN_VOXELS, round(MARGIN_MM / min(plan.plane.pixel_mm)))


def _parts(mask: SliceMask) -> Iterator[SliceMask]:
    """The connected components that are not small beside the largest."""
    labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(labelled.ravel())[1:]
    for number in range(1, count + 1):
        if sizes[number - 1] >= SMALLEST_SHARE * sizes.max():
            yield labelled == number


def continues(scan: EmbeddedScan, mask: SliceMask, iou: float, before: SliceMask) -> bool:
    """Whether a slice still shows the object of the slice before."""
    least_iou = MIN_IOU_WITH_SCORE if scan.segmenter.config.object_scores else MIN_IOU
    overlap = np.count_nonzero(mask & before) / np.count_nonzero(mask | before)
    growth = np.count_nonzero(mask) / np.count_nonzero(before)
    return iou >= least_iou and overlap >= MIN_OVERLAP and growth <= MAX_GROWTH


def _by_memory(scan: EmbeddedScan, plan: ObjectPlan, track: Track, seed: int, indices: Iterable[int]) -> None:
    memory = SliceMemory()
    seed_logits = scan.canvas.paint_logits(np.where(track.masks[seed], 10.0, -10.0))[None, None]
    with scan.gate.turn():
        scan.segmenter.remember(memory, seed, scan.embedding(seed), seed_logits)
    for index in indices:
        embedding = scan.embedding(index)
        with scan.gate.turn():
            output = scan.segmenter.follow(memory, index, embedding, scan.plane.count, backwards=index < seed)
            result = scan.result(output)
        mask = within(result.mask, plan.bounds)
        if result.is_absent or not mask.any():
            return
        track.add(index, mask, result.iou)


def within(mask: SliceMask, bounds: FrameBox) -> SliceMask:
    """The mask inside of the bounds."""
    inside = np.zeros_like(mask)
    area = (slice(bounds.row0, bounds.row1 + 1), slice(bounds.col0, bounds.col1 + 1))
    inside[area] = mask[area]
    return inside


def stacked(track: Track, plan: ObjectPlan) -> np.ndarray:
    """All slices of an object as a volume of pictures (D, H, W), bool."""
    frames = np.zeros((plan.plane.count, *plan.plane.size), dtype=bool)
    for index, mask in track.masks.items():
        frames[index] = mask
    return frames
