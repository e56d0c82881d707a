"""Corrections: a click that the mask does not agree with changes the mask around it, and nothing else.

A positive click inside the mask and a negative one outside are already satisfied and change nothing, so that
a client may send all clicks every time. A correction is one connected component that holds its click (the
rule of VISTA3D, He et al. 2024).
"""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from lib.model.config import TrainedPrompt
from lib.predict.clicks import component_at, segment_click
from lib.predict.plan import FrameClick, ObjectPlan
from lib.predict.propagate import Propagation, Track, propagate, stacked
from lib.predict.scan import EmbeddedScan
from lib.shapes import BinaryMask, SliceMask

EARLIER_LOGIT = 10.0
"""Certainty with which the earlier mask is given back to the network."""
SMALLEST_RADIUS_MM = 3.0
LARGEST_RADIUS_MM = 15.0
"""Of the disc that a click changes when the network sees nothing under it."""
LARGEST_SHARE_REMOVED = 0.5
"""A negative click never takes more than this share of the slice's mask."""


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
    current = frames if not click.positive else ~frames
    change = _change_on_slice(scan, plan, frames[click.index], click)
    carried = _carried(scan, plan, change, click, how) & current
    carried[click.index] = change
    for other in plan.clicks:
        if other.positive != click.positive and other.index != click.index:
            carried[other.index] &= ~component_at(carried[other.index], (other.row, other.col))
    component = component_at(carried, position)
    return frames | component if click.positive else frames & ~component


def _change_on_slice(scan: EmbeddedScan, plan: ObjectPlan, before: SliceMask, click: FrameClick) -> SliceMask:
    """What a click adds to or removes from the mask of its slice."""
    position = (click.row, click.col)
    changeable = ~before if click.positive else before
    if scan.segmenter.config.knows(TrainedPrompt.CLICK):
        clicks = tuple(other for other in plan.clicks if other.index == click.index)
        logits = np.where(before, EARLIER_LOGIT, -EARLIER_LOGIT).astype(np.float32)
        drawn = scan.decode(click.index, clicks=clicks, mask_logits=logits).mask
        meant = drawn if click.positive else ~drawn
    else:
        candidate = segment_click(scan, plan, replace(click, positive=True))
        meant = np.zeros_like(before) if candidate is None else candidate.mask
    change = component_at(meant & changeable, position)
    too_much = not click.positive and change.sum() > LARGEST_SHARE_REMOVED * before.sum()
    if change.any() and not too_much:
        return change
    return _disc(plan, changeable, position) & changeable


def _disc(plan: ObjectPlan, changeable: SliceMask, position: tuple[int, int]) -> SliceMask:
    """Half-way from a click to the border of what it may change."""
    to_border = ndimage.distance_transform_edt(np.pad(changeable, 1), sampling=plan.plane.pixel_mm)
    half_way_mm = float(to_border[position[0] + 1, position[1] + 1]) / 2
    radius_mm = np.clip(half_way_mm, SMALLEST_RADIUS_MM, LARGEST_RADIUS_MM)
    rows, cols = np.ogrid[: changeable.shape[0], : changeable.shape[1]]
    row_mm, col_mm = plan.plane.pixel_mm
    return ((rows - position[0]) * row_mm) ** 2 + ((cols - position[1]) * col_mm) ** 2 <= radius_mm**2


def _carried(
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
