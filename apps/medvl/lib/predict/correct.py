"""Corrections: a click that the mask does not agree with changes the mask around it, and nothing else.

A positive click inside the mask and a negative one outside are already satisfied and change nothing, so that
a client may send all clicks every time. A correction is one connected component that holds its click (the
rule of VISTA3D, He et al. 2024).
"""

from collections.abc import Iterable, Iterator

import numpy as np
from scipy import ndimage

from lib.model.config import TrainedPrompt
from lib.predict.carve import carved
from lib.predict.clicks import component_at, occupied, thinned
from lib.predict.correct_by_search import corrected_by_search, disc
from lib.predict.edges import clear_share
from lib.predict.object_memory import ObjectMemory
from lib.predict.plan import FrameBox, FrameClick, ObjectPlan
from lib.predict.propagate import (
    Course,
    Propagation,
    as_logits,
    goes_by_prompts,
    new_memory,
    next_slice,
)
from lib.predict.scan import EmbeddedScan
from lib.predict.taper import ended, is_settled, radius_in_slices
from lib.shapes import BinaryMask, SliceMask

CORE = 0.7
"""Of the largest distance from a mask's edge."""
LARGEST_SHARE = 2.0
"""A click never changes more than this share of the object's area on its slice, so that it cannot leak."""
ADDED_REACH = 2.0
REMOVED_REACH = 1.5
"""A user clicks in the thick of what is wrong, which reaches not much further than the distance between click
and the mask's edge: so many times."""
REMOVED_SHARE = 4 / 3
"""A removal larger than its reach by this share is cut to it."""
MOST = 0.5
"""Of a slice's mask: a removal of more is not carried towards a slice where the user wants the object."""
SEEN_EDGE = 0.65
"""Where less of the edge is seen, a change is not followed as far as the network likes."""
UNSEEN_REACH = 2.0
"""It is followed so far then, in radii of its area on the clicked slice."""
DRIFT_MM = 3.0
"""A change moves at most so far from one slice to the next."""


def correct(
    scan: EmbeddedScan, plan: ObjectPlan, frames: BinaryMask, click: FrameClick, how: Propagation
) -> BinaryMask:
    """Change a mask so that it agrees with a click.

    Args:
        scan: the scan.
        plan: all that the user said; earlier clicks that the mask agrees with are respected.
        frames: the mask as slices (D, H, W).
        click: what it has to agree with.
        how: how the change is carried to neighbouring slices.

    Returns:
        A new mask; the same one if it agrees already.
    """
    if frames[click.index, click.row, click.col] == click.positive:
        return frames
    config = scan.segmenter.config
    follows = config.knows(TrainedPrompt.CLICK) and config.knows(TrainedPrompt.MASK)
    if follows and (how is Propagation.NONE or goes_by_prompts(scan, how)):
        return _corrected_with_object(scan, plan, frames, click, how)
    return corrected_by_search(scan, plan, frames, click, how)


def _corrected_with_object(
    scan: EmbeddedScan, plan: ObjectPlan, frames: BinaryMask, click: FrameClick, how: Propagation
) -> BinaryMask:
    """The corrected object is followed both ways from the click's slice until nothing changes any more.

    A denied foreign body goes as a whole. Where the object's edge is not seen a change is believed only near
    the click, and a click that denies all of its slice ends the object there.
    """
    without = None if click.positive else carved(scan, frames, click)
    if without is not None and _agrees(plan, without):
        return without
    is_seen = clear_share(scan, frames) >= SEEN_EDGE
    changed = np.zeros_like(frames)
    change = changed[click.index] = _change_on_slice(scan, plan, frames, click, is_seen=is_seen)
    follows = goes_by_prompts(scan, how)
    if not is_seen and follows and _ends_object(plan, frames, click, change):
        return ended(plan, frames, click)
    reach = len(frames) if is_seen else round(UNSEEN_REACH * radius_in_slices(plan.plane, change))
    if follows:
        outwards = (range(click.index + 1, plan.last + 1), range(click.index - 1, plan.first - 1, -1))
        for indices in outwards:
            changed |= _carried(scan, plan, frames, (click.index, change), indices, reach, how)
    return frames ^ component_at(changed, (click.index, click.row, click.col))


def _carried(
    scan: EmbeddedScan,
    plan: ObjectPlan,
    frames: BinaryMask,
    begin: tuple[int, SliceMask],
    indices: range,
    reach: int,
    how: Propagation,
) -> BinaryMask:
    """What changes on the slices that follow a changed one, until nothing changes any more.

    Args:
        scan: the scan.
        plan: all that the user said.
        frames: the mask before.
        begin: the changed slice and its change.
        indices: of the slices that follow.
        reach: at most so many slices are changed, but one always.
        how: with memory or without.
    """
    changed = np.zeros_like(frames)
    start, change_beside = begin
    beside = frames[start] ^ change_beside
    memory = new_memory(scan, how)
    memory.add(start, beside, is_prompted=True)
    course = Course(scan.segmenter.config.object_scores, is_strict=True, is_bounded=plan.is_bounded)
    leads_out = not any(_is_wanted(plan, index) for index in indices)
    for index in indices:
        if is_settled(plan, index) or abs(index - start) > max(1, reach):
            break
        if beside.any():
            here = _next_change(scan, plan, (beside, change_beside, frames[index]), index, (memory, course))
        else:  # the object ends before the changed slice
            here = _touching(frames[index], change_beside) if leads_out else np.zeros_like(beside)
        if not here.any() or (not leads_out and _takes_most(here, frames[index])):
            break
        changed[index] = change_beside = here
        beside = frames[index] ^ here
        memory.add(index, beside)
    return changed


def _agrees(plan: ObjectPlan, frames: BinaryMask) -> bool:
    """Whether every positive click is still inside."""
    return all(frames[click.index, click.row, click.col] for click in plan.clicks if click.positive)


def _ends_object(plan: ObjectPlan, frames: BinaryMask, click: FrameClick, change: SliceMask) -> bool:
    """Whether a click denies all of its slice, beyond the slices where the user wants the object."""
    is_empty = not (frames[click.index] ^ change).any()
    return is_empty and not click.positive and not _is_between_wanted(plan, click)


def _next_change(
    scan: EmbeddedScan,
    plan: ObjectPlan,
    masks: tuple[SliceMask, SliceMask, SliceMask],
    index: int,
    so_far: tuple[ObjectMemory, Course],
) -> SliceMask:
    """What changes on a slice because the one beside has changed, where the two changes touch.

    Args:
        scan: the scan.
        plan: bounds of the object.
        masks: the slice beside as corrected, its change, and this slice as it is.
        index: this slice.
        so_far: what is remembered of the corrected slices, and what the network said of them.
    """
    beside, change_beside, before = masks
    memory, course = so_far
    drawn = next_slice(scan, plan, beside, index, memory)
    if not drawn.mask.any() or not course.goes_on(drawn, beside):
        return np.zeros_like(before)
    steps = max(1, round(DRIFT_MM / min(plan.plane.pixel_mm)))
    nearby = ndimage.binary_dilation(change_beside, iterations=steps)
    return _touching((drawn.mask ^ before) & nearby, change_beside)


def _takes_most(change: SliceMask, before: SliceMask) -> bool:
    removed = np.count_nonzero(change & before)
    return removed > MOST * np.count_nonzero(before) and 2 * removed > np.count_nonzero(change)


def _touching(region: SliceMask, beside: SliceMask) -> SliceMask:
    """The connected parts of a region that lie over a region of the slice beside."""
    touching = np.zeros_like(region)
    if not (region & beside).any():
        return touching
    box = occupied(region)
    labelled, count = ndimage.label(region[box], structure=np.ones((3, 3)))
    chosen = np.zeros(count + 1, dtype=bool)
    chosen[labelled[beside[box]]] = True
    chosen[0] = False  # not of the region
    touching[box] = chosen[labelled]
    return touching


def _is_wanted(plan: ObjectPlan, index: int) -> bool:
    """Whether the user has said that the object is on this slice."""
    return index in plan.boxes or any(click.index == index and click.positive for click in plan.clicks)


def _is_between_wanted(plan: ObjectPlan, click: FrameClick) -> bool:
    """Whether the user has said, on both sides of a click's slice, that the object is there."""
    if plan.is_bounded:
        return True
    before, after = range(plan.first, click.index), range(click.index + 1, plan.last + 1)
    return all(any(_is_wanted(plan, index) for index in side) for side in (before, after))


def _change_on_slice(
    scan: EmbeddedScan, plan: ObjectPlan, frames: BinaryMask, click: FrameClick, *, is_seen: bool
) -> SliceMask:
    """What a click changes on its slice: the most likely that is not too much and contradicts no click."""
    before, position = frames[click.index], (click.row, click.col)
    agreeing = [
        other
        for other in plan.clicks
        if other.index == click.index and before[other.row, other.col] == other.positive
    ]
    area = np.count_nonzero(before)
    most = LARGEST_SHARE * (area or frames.sum(axis=(1, 2)).max())
    part = component_at(before, position)
    is_free = not any(part[other.row, other.col] for other in agreeing)
    if not is_seen and is_free and _denies_part(plan, before, click):
        return part
    reach, largest = _reach(plan, before, click)
    for drawn in _drawn(scan, plan, frames, click):
        change = component_at(drawn ^ before, position)
        if np.count_nonzero(change) > largest:
            change = component_at(change & reach, position)
        contradicts = any(change[other.row, other.col] for other in agreeing)
        if change.any() and np.count_nonzero(change) <= most and not contradicts:
            return change
    changeable = ~before if click.positive else before.copy()
    for other in agreeing:
        changeable[other.row, other.col] = False
    return disc(plan, changeable, position) & changeable


def _reach(plan: ObjectPlan, before: SliceMask, click: FrameClick) -> tuple[SliceMask, float]:
    """Where what is wrong around a click may lie, and how many pixels may change before it is cut to that."""
    if not before.any():
        return np.ones_like(before), float(before.size)
    position, (row_mm, col_mm) = (click.row, click.col), plan.plane.pixel_mm
    wrong = ~before if click.positive else component_at(before, position)
    edges = np.pad(wrong, 1, constant_values=click.positive)  # a removal ends with the picture
    distance_mm = ndimage.distance_transform_edt(edges, sampling=(row_mm, col_mm))[1:-1, 1:-1][position]
    factor = ADDED_REACH if click.positive else REMOVED_REACH
    rows, cols = np.ogrid[: before.shape[0], : before.shape[1]]
    away_mm = np.hypot((rows - click.row) * row_mm, (cols - click.col) * col_mm)
    reach = away_mm <= factor * distance_mm
    if click.positive:
        return reach, float(np.count_nonzero(reach))
    return reach & before, REMOVED_SHARE * np.count_nonzero(reach & before)


def _drawn(
    scan: EmbeddedScan, plan: ObjectPlan, frames: BinaryMask, click: FrameClick
) -> Iterator[SliceMask]:
    """Masks of the click's slice that the network draws with the clicks there, the most likely first.

    Beside the mask that is corrected, those of the neighbouring slices are hints: where a mask has drifted
    away, the one beside may still be right. Where the network does not obey, a part denied in its middle goes
    as a whole, and else what the network believes less than the clicked voxel.
    """
    before = frames[click.index]
    on_slice = thinned(tuple(other for other in plan.clicks if other.index == click.index), click)
    box = plan.boxes.get(click.index)
    around = box if box is not None and _holds(box, on_slice) else None
    all_logits = []
    for hint in (before, *_neighbours(frames, click.index)):
        hint_logits = as_logits(hint) if hint.any() else None
        if hint_logits is not None or click.positive:
            result = scan.decode(
                click.index, box=around, clicks=on_slice, mask_logits=hint_logits, is_tight=True
            )
            all_logits.append(result.logits)
            if result.mask[click.row, click.col] == click.positive:
                yield result.mask
    if _denies_part(plan, before, click):
        yield before & ~component_at(before, (click.row, click.col))
    for logits in all_logits:
        at_click = logits[click.row, click.col]
        yield logits >= at_click if click.positive else logits > at_click


def _denies_part(plan: ObjectPlan, before: SliceMask, click: FrameClick) -> bool:
    """Whether a click says that a part of a slice's mask is no part of the object at all."""
    position = (click.row, click.col)
    return not click.positive and not _is_between_wanted(plan, click) and _is_in_core(before, position)


def _is_in_core(mask: SliceMask, position: tuple[int, int]) -> bool:
    """Whether a pixel lies in the thick of the part that holds it: a user who denies that denies the part."""
    depth = ndimage.distance_transform_edt(np.pad(component_at(mask, position), 1))[1:-1, 1:-1]
    return bool(depth[position] >= CORE * depth.max())


def _neighbours(frames: BinaryMask, index: int) -> list[SliceMask]:
    """The slices beside, the larger mask first."""
    beside = [frames[other] for other in (index - 1, index + 1) if 0 <= other < len(frames)]
    return sorted(beside, key=np.count_nonzero, reverse=True)


def _holds(box: FrameBox, clicks: Iterable[FrameClick]) -> bool:
    return all(
        box.row0 <= click.row <= box.row1 and box.col0 <= click.col <= box.col1
        for click in clicks
        if click.positive
    )
