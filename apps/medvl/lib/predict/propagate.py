"""From the key slice outwards, both ways, until the object ends.

Two ways to carry an object to the next slice: `reprompt` gives the network the box of the mask before, a
little larger; `memory` lets SAM2's memory attention find the object again, for weights trained for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from lib.model.volume_segmenter import SliceMemory
from lib.predict.plan import FrameBox, ObjectPlan, bounding_box
from lib.predict.scan import EmbeddedScan, SliceResult
from lib.shapes import SliceMask

MARGIN_VOXELS = 2
"""The box of the mask before grows by this much, so that an object may grow from slice to slice."""
MIN_OVERLAP = 0.25
"""Where consecutive masks overlap less than this (IoU), the network has jumped to something else."""
MIN_IOU = 0.45
"""Predicted overlap below which a slice no longer shows the object."""
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
    """

    masks: dict[int, SliceMask] = field(default_factory=dict)
    ious: dict[int, float] = field(default_factory=dict)

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
        box = bounding_box(before).grown(MARGIN_VOXELS, plan.bounds)
        if box.is_empty:
            return
        result = scan.decode(index, box=box)
        mask = within(result.mask, plan.bounds)
        if not _continues(result, mask, before):
            return
        track.add(index, mask, result.iou)
        before = mask


def _continues(result: SliceResult, mask: SliceMask, before: SliceMask) -> bool:
    """Whether a slice still shows the object of the slice before."""
    if not mask.any() or result.iou < MIN_IOU:
        return False
    overlap = np.count_nonzero(mask & before) / np.count_nonzero(mask | before)
    return overlap >= MIN_OVERLAP and np.count_nonzero(mask) <= MAX_GROWTH * np.count_nonzero(before)


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
        if not mask.any():
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
