"""Corrections with weights that do not follow clicks beside masks: what lies under a click is searched."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from lib.predict.clicks import candidates, component_at
from lib.predict.plan import FrameClick, ObjectPlan
from lib.predict.propagate import Propagation, Track, propagate, stacked
from lib.predict.scan import EmbeddedScan
from lib.shapes import BinaryMask, SliceMask

SMALLEST_RADIUS_MM = 3.0
LARGEST_RADIUS_MM = 15.0
"""Of the disc that a click changes when the network sees nothing under it."""
LARGEST_SHARE = 0.5
"""A click never adds or takes more than this share of the object's area, so that it cannot leak away."""


def corrected_by_search(
    scan: EmbeddedScan, plan: ObjectPlan, frames: BinaryMask, click: FrameClick, how: Propagation
) -> BinaryMask:
    """Add or remove the structure under a click, and follow that structure to the slices nearby.

    Args:
        scan: the scan.
        plan: all that the user said; clicks of the other sign are respected.
        frames: the mask as slices (D, H, W); the click contradicts it.
        click: what it has to agree with.
        how: how the change is carried to neighbouring slices.
    """
    change = _change_on_slice(scan, plan, frames, click)
    carried = _carried(scan, plan, change, click, how) & (~frames if click.positive else frames)
    carried[click.index] = change
    for other in plan.clicks:
        if other.positive != click.positive and other.index != click.index:
            carried[other.index] &= ~component_at(carried[other.index], (other.row, other.col))
    component = component_at(carried, (click.index, click.row, click.col))
    return frames | component if click.positive else frames & ~component


def disc(plan: ObjectPlan, changeable: SliceMask, position: tuple[int, int]) -> SliceMask:
    """Half-way from a click to the border of what it may change."""
    to_border = ndimage.distance_transform_edt(np.pad(changeable, 1), sampling=plan.plane.pixel_mm)
    half_way_mm = float(to_border[position[0] + 1, position[1] + 1]) / 2
    radius_mm = np.clip(half_way_mm, SMALLEST_RADIUS_MM, LARGEST_RADIUS_MM)
    rows, cols = np.ogrid[: changeable.shape[0], : changeable.shape[1]]
    row_mm, col_mm = plan.plane.pixel_mm
    return ((rows - position[0]) * row_mm) ** 2 + ((cols - position[1]) * col_mm) ** 2 <= radius_mm**2


def _change_on_slice(
    scan: EmbeddedScan, plan: ObjectPlan, frames: BinaryMask, click: FrameClick
) -> SliceMask:
    """What a click adds to or removes from the mask of its slice: the most certain that is not too much."""
    before, position = frames[click.index], (click.row, click.col)
    changeable = ~before if click.positive else before.copy()
    most = _largest_change(frames, click)
    others = [(o.row, o.col) for o in plan.clicks if o.index == click.index and o.positive != click.positive]
    for candidate in candidates(scan, plan, click):
        change = component_at(candidate.mask & changeable, position)
        contradicts = any(change[other] for other in others)
        if change.any() and np.count_nonzero(change) <= most and not contradicts:
            return change
    for other in others:
        changeable[other] = False
    return disc(plan, changeable, position) & changeable


def _largest_change(frames: BinaryMask, click: FrameClick) -> float:
    """In voxels; on a slice that the mask does not reach yet, as much as on its largest slice."""
    area = np.count_nonzero(frames[click.index])
    return LARGEST_SHARE * area if area else float(frames.sum(axis=(1, 2)).max())


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
