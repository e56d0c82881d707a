"""Corrections: a click that the mask does not agree with changes the mask around it, and nothing else.

A positive click inside the mask and a negative one outside are already satisfied and change nothing, so that
a client may send all clicks every time. A correction is one connected component that holds its click (the
rule of VISTA3D, He et al. 2024).
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from scipy import ndimage

from lib.model.config import TrainedPrompt
from lib.predict.clicks import candidates, component_at, thinned
from lib.predict.plan import FrameBox, FrameClick, ObjectPlan
from lib.predict.propagate import Propagation, Track, as_logits, continues, next_slice, propagate, stacked
from lib.predict.scan import EmbeddedScan
from lib.shapes import BinaryMask, SliceMask

SMALLEST_RADIUS_MM = 3.0
LARGEST_RADIUS_MM = 15.0
"""Of the disc that a click changes when the network sees nothing under it."""
LARGEST_SHARE = 0.5
"""A click never adds or takes more than this share of the object's area, so that it cannot leak away."""
LARGEST_SHARE_OF_CLICKS = 1.5
"""The same for weights that were taught clicks."""


def correct(
    scan: EmbeddedScan, plan: ObjectPlan, frames: BinaryMask, click: FrameClick, how: Propagation
) -> BinaryMask:
    """Change a mask so that it agrees with a click.

    Args:
        scan: the scan.
        plan: all that the user said; clicks of the other sign are respected.
        frames: the mask as slices (D, H, W).
        click: what it has to agree with.
        how: how the change is carried to neighbouring slices.

    Returns:
        A new mask; the same one if it agrees already.
    """
    position = (click.index, click.row, click.col)
    if frames[position] == click.positive:
        return frames
    change = _change_on_slice(scan, plan, frames, click)
    if _follows_masks(scan) and how is Propagation.REPROMPT:
        carried = _carried_with_object(scan, plan, frames, change, click)
    else:
        carried = _carried_alone(scan, plan, change, click, how) & (~frames if click.positive else frames)
    carried[click.index] = change
    for other in plan.clicks:
        if other.positive != click.positive and other.index != click.index:
            carried[other.index] &= ~component_at(carried[other.index], (other.row, other.col))
    component = component_at(carried, position)
    return frames | component if click.positive else frames & ~component


def _follows_masks(scan: EmbeddedScan) -> bool:
    config = scan.segmenter.config
    return config.knows(TrainedPrompt.CLICK) and config.knows(TrainedPrompt.MASK)


def _change_on_slice(
    scan: EmbeddedScan, plan: ObjectPlan, frames: BinaryMask, click: FrameClick
) -> SliceMask:
    """What a click adds to or removes from the mask of its slice: the most certain that is not too much."""
    before, position = frames[click.index], (click.row, click.col)
    changeable = ~before if click.positive else before.copy()
    most = _largest_change(scan, frames, click)
    others = [(o.row, o.col) for o in plan.clicks if o.index == click.index and o.positive != click.positive]
    for meant in _meant(scan, plan, before, click):
        change = component_at(meant & changeable, position)
        contradicts = any(change[other] for other in others)
        if change.any() and np.count_nonzero(change) <= most and not contradicts:
            return change
    for other in others:
        changeable[other] = False
    return _disc(plan, changeable, position) & changeable


def _largest_change(scan: EmbeddedScan, frames: BinaryMask, click: FrameClick) -> float:
    """In voxels; on a slice that the mask does not reach yet, as much as on its largest slice."""
    area = np.count_nonzero(frames[click.index])
    share = LARGEST_SHARE_OF_CLICKS if scan.segmenter.config.knows(TrainedPrompt.CLICK) else LARGEST_SHARE
    return share * area if area else share / LARGEST_SHARE * float(frames.sum(axis=(1, 2)).max())


def _meant(scan: EmbeddedScan, plan: ObjectPlan, before: SliceMask, click: FrameClick) -> Iterator[SliceMask]:
    """What the click could mean on its slice: voxels to add or, for a negative click, to remove."""
    if not scan.segmenter.config.knows(TrainedPrompt.CLICK):
        yield from (candidate.mask for candidate in candidates(scan, plan, click))
        return
    on_slice = tuple(other for other in plan.clicks if other.index == click.index)
    box = plan.boxes.get(click.index)
    logits = as_logits(before) if before.any() else None
    for clicks in (thinned(on_slice, click), (click,)):
        around = box if box is not None and _holds(box, clicks) else None
        drawn = scan.decode(click.index, box=around, clicks=clicks, mask_logits=logits, is_tight=True).mask
        yield drawn if click.positive else ~drawn


def _holds(box: FrameBox, clicks: Iterable[FrameClick]) -> bool:
    return all(
        box.row0 <= click.row <= box.row1 and box.col0 <= click.col <= box.col1
        for click in clicks
        if click.positive
    )


def _disc(plan: ObjectPlan, changeable: SliceMask, position: tuple[int, int]) -> SliceMask:
    """Half-way from a click to the border of what it may change."""
    to_border = ndimage.distance_transform_edt(np.pad(changeable, 1), sampling=plan.plane.pixel_mm)
    half_way_mm = float(to_border[position[0] + 1, position[1] + 1]) / 2
    radius_mm = np.clip(half_way_mm, SMALLEST_RADIUS_MM, LARGEST_RADIUS_MM)
    rows, cols = np.ogrid[: changeable.shape[0], : changeable.shape[1]]
    row_mm, col_mm = plan.plane.pixel_mm
    return ((rows - position[0]) * row_mm) ** 2 + ((cols - position[1]) * col_mm) ** 2 <= radius_mm**2


def _carried_with_object(
    scan: EmbeddedScan, plan: ObjectPlan, frames: BinaryMask, change: SliceMask, click: FrameClick
) -> BinaryMask:
    """The change on other slices: the corrected object is followed both ways until nothing changes."""
    carried = np.zeros_like(frames)
    for indices in (range(click.index + 1, plan.last + 1), range(click.index - 1, plan.first - 1, -1)):
        earlier_change, corrected = change, _applied(frames[click.index], change, click)
        for index in indices:
            if not corrected.any() or _is_settled(plan, index):
                break
            here = _next_change(scan, plan, (corrected, frames[index], earlier_change), index, click)
            if here is None:
                break
            carried[index] = earlier_change = here
            corrected = _applied(frames[index], here, click)
    return carried


def _next_change(
    scan: EmbeddedScan,
    plan: ObjectPlan,
    masks: tuple[SliceMask, SliceMask, SliceMask],
    index: int,
    click: FrameClick,
) -> SliceMask | None:
    """What follows from the corrected slice beside, where it touches the change there; None if nothing.

    Args:
        scan: the scan.
        plan: bounds of the object.
        masks: the corrected slice beside, this slice before, and the change on the slice beside.
        index: this slice.
        click: says whether voxels are added or removed.
    """
    corrected, before, earlier_change = masks
    drawn, iou = next_slice(scan, plan, corrected, index)
    if not drawn.any() or not continues(drawn, iou, corrected):
        return None
    changed = drawn & ~before if click.positive else before & ~drawn
    labelled, _ = ndimage.label(changed, structure=np.ones((3, 3)))
    touching = np.unique(labelled[earlier_change & changed])
    here = np.isin(labelled, touching[touching > 0])
    return here if here.any() else None


def _is_settled(plan: ObjectPlan, index: int) -> bool:
    """Whether the user has said something of this slice, which a click elsewhere must not undo."""
    return index in plan.boxes or any(click.index == index for click in plan.clicks)


def _applied(before: SliceMask, change: SliceMask, click: FrameClick) -> SliceMask:
    return before | change if click.positive else before & ~change


def _carried_alone(
    scan: EmbeddedScan, plan: ObjectPlan, change: SliceMask, click: FrameClick, how: Propagation
) -> BinaryMask:
    """The change on neighbouring slices, as far as it is wide: errors are about as thick as they are wide."""
    row_mm, col_mm = plan.plane.pixel_mm
    radius_mm = float(np.sqrt(change.sum() * row_mm * col_mm / np.pi))
    reach = int(radius_mm / plan.plane.spacing_mm[plan.plane.axis])
    nearby = replace(
        plan,
        first=max(plan.first, click.index - reach),
        last=min(plan.last, click.index + reach),
        is_bounded=False,
    )
    track = Track(masks={click.index: change})
    propagate(scan, nearby, track, how)
    return stacked(track, plan)
