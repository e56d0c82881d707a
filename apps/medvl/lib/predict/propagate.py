"""From the key slice outwards, both ways, until the object ends.

Two ways to carry an object to the next slice: `reprompt` gives the network the mask before and its box, a
little larger (the box alone if the weights do not follow masks); `memory` lets SAM2's memory attention find
the object again, alone (SAM2's own weights) or beside box and mask (weights with coarse memory).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from scipy import ndimage

from lib.model.config import TrainedPrompt
from lib.model.volume_segmenter import SliceMemory
from lib.predict.object_memory import ObjectMemory
from lib.predict.plan import FrameBox, ObjectPlan, bounding_box
from lib.predict.scan import EmbeddedScan
from lib.shapes import SliceLogits, SliceMask

MARGIN_MM = 3.2
"""The box of the mask before grows by this much, so that an object may grow from slice to slice."""
SMALLEST_MARGIN_VOXELS = 2
SMALLEST_SHARE = 0.1
"""Parts of a slice's mask below this share of its largest part are not followed by a box of their own."""
MIN_IOU = 0.75
"""Predicted overlap below which a slice no longer shows the object, for weights without a score of presence.
On the training cases 1 % of the slices that show it, and 70 % of those beyond its ends, are below."""
LEAST_IOU = 0.2
"""Predicted overlap that the first slice beside a prompted one needs, for weights that say whether an object
is there. This and the next five were chosen on procedural patients, whom the weights have not seen: of 126
structures followed both ways from their middle slice the mean Dice is .53, and .43 where every slice needs
SURE_IOU and SURE_LOGIT, which 28 % of the well-drawn slices lack."""
KEPT_IOU = 0.75
"""Later ones need this share of the median of the last slices,"""
FALLEN_LOGIT = 2.0
"""and a logit of presence that is not lower than theirs by more than this;"""
SURE_IOU = 0.55
SURE_LOGIT = 1.0
"""both are enough at these values always."""
RECENT = 5
"""So many are the last slices."""
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
    """By SAM2's memory, for weights that were trained for it."""
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


@dataclass(frozen=True, eq=False)
class NextSlice:
    """The object on the slice after one that is done.

    Attributes:
        mask: empty where nothing was drawn.
        iou: predicted overlap with the truth; nan where nothing was drawn.
        object_logit: above zero where the network sees the object; None if the weights do not say.
    """

    mask: SliceMask
    iou: float
    object_logit: float | None


@dataclass(eq=False)
class Course:
    """What the network has said of an object so far, one way from slice to slice, to tell where it ends.

    How sure the network is depends on the object: of a rib or the spinal cord it is never as sure as of a
    liver. An object has therefore ended where the network is much less sure than it was of the last slices,
    not where it is less sure than of most objects.

    Attributes:
        has_scores: whether the weights say that an object is there.
        is_strict: every slice needs what is always enough, as for corrections, which must not run on.
        is_bounded: the user has named the ends, so that it does not count whether the object is seen.
    """

    has_scores: bool
    is_strict: bool = False
    is_bounded: bool = False
    _ious: list[float] = field(default_factory=list)
    _logits: list[float] = field(default_factory=list)

    def goes_on(self, drawn: NextSlice, before: SliceMask) -> bool:
        """Whether a slice still shows the object of the slice before; what is said of it is kept if so."""
        overlap = np.count_nonzero(drawn.mask & before) / np.count_nonzero(drawn.mask | before)
        growth = np.count_nonzero(drawn.mask) / np.count_nonzero(before)
        if overlap < MIN_OVERLAP or growth > MAX_GROWTH or not self._is_sure(drawn):
            return False
        self._ious.append(drawn.iou)
        if drawn.object_logit is not None:
            self._logits.append(drawn.object_logit)
        return True

    def _is_sure(self, drawn: NextSlice) -> bool:
        if not self.has_scores or drawn.object_logit is None:
            return drawn.iou >= MIN_IOU
        is_seen = self.is_bounded or drawn.object_logit >= SURE_LOGIT
        if self.is_strict:
            return drawn.iou >= SURE_IOU and is_seen
        if not self._ious:
            return drawn.iou >= LEAST_IOU
        least_iou = min(SURE_IOU, KEPT_IOU * float(np.median(self._ious[-RECENT:])))
        least_logit = float(np.median(self._logits[-RECENT:])) - FALLEN_LOGIT
        return drawn.iou >= least_iou and (is_seen or drawn.object_logit >= least_logit)


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
    carry = _by_box if goes_by_prompts(scan, how) else _by_memory
    for position, seed in enumerate(seeds):
        before = seeds[position - 1] if position else None
        after = seeds[position + 1] if position + 1 < len(seeds) else None
        upper = plan.last if after is None else (seed + after) // 2
        lower = plan.first if before is None else (before + seed) // 2 + 1
        for indices in (range(seed + 1, upper + 1), range(seed - 1, lower - 1, -1)):
            carry(scan, plan, track, (seed, new_memory(scan, how)), indices)


def goes_by_prompts(scan: EmbeddedScan, how: Propagation) -> bool:
    """Whether the slice before prompts the next one, with or without memory beside."""
    return how is Propagation.REPROMPT or (
        how is Propagation.MEMORY and scan.segmenter.config.memory.is_coarse
    )


def new_memory(scan: EmbeddedScan, how: Propagation) -> ObjectMemory:
    """For one object on its way; it remembers nothing where the slice before is all that is given."""
    return ObjectMemory(scan, is_used=how is Propagation.MEMORY and goes_by_prompts(scan, how))


def _by_box(
    scan: EmbeddedScan,
    plan: ObjectPlan,
    track: Track,
    begin: tuple[int, ObjectMemory],
    indices: Iterable[int],
) -> None:
    seed, memory = begin
    before, course = track.masks[seed], Course(scan.segmenter.config.object_scores)
    memory.add(seed, before, is_prompted=True)
    for index in indices:
        drawn = next_slice(scan, plan, before, index, memory)
        if not drawn.mask.any() or not (plan.is_bounded or course.goes_on(drawn, before)):
            return
        track.add(index, drawn.mask, drawn.iou)
        memory.add(index, drawn.mask)
        before = drawn.mask


def next_slice(
    scan: EmbeddedScan, plan: ObjectPlan, before: SliceMask, index: int, memory: ObjectMemory
) -> NextSlice:
    """The object on the slice beside one that is done.

    Args:
        scan: the scan.
        plan: bounds of the object.
        before: the mask of the slice beside, not empty.
        index: the slice.
        memory: of other slices that show the object, for weights that learned to follow masks.
    """
    if not scan.segmenter.config.knows(TrainedPrompt.MASK):
        return _next_by_box(scan, plan, before, index)
    # these weights were taught to find an object again by the mask of the slice before
    result = scan.decode(
        index,
        box=bounding_box(before),
        mask_logits=as_logits(before),
        is_tight=True,
        embedding=memory.embedding(index),
    )
    return NextSlice(within(result.mask, plan.bounds), result.iou, result.object_logit)


def as_logits(mask: SliceMask) -> SliceLogits:
    """A mask as the network was taught to read it."""
    return np.where(mask, MASK_LOGIT, -MASK_LOGIT).astype(np.float32)


def _next_by_box(scan: EmbeddedScan, plan: ObjectPlan, before: SliceMask, index: int) -> NextSlice:
    """The object on the next slice: one box for each part of the mask before.

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
    return NextSlice(mask, weighted_iou / area if area else np.nan, None)


def _margin_voxels(plan: ObjectPlan) -> int:
    return max(SMALLEST_MARGIN_VOXELS, round(MARGIN_MM / min(plan.plane.pixel_mm)))


def _parts(mask: SliceMask) -> Iterator[SliceMask]:
    """The connected components that are not small beside the largest."""
    labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(labelled.ravel())[1:]
    for number in range(1, count + 1):
        if sizes[number - 1] >= SMALLEST_SHARE * sizes.max():
            yield labelled == number


def _by_memory(
    scan: EmbeddedScan,
    plan: ObjectPlan,
    track: Track,
    begin: tuple[int, ObjectMemory],
    indices: Iterable[int],
) -> None:
    seed, memory = begin[0], SliceMemory()
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
