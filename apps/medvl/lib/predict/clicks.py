"""Clicks, for weights that follow clicks and for weights that only follow boxes.

Weights trained with boxes alone draw nothing after a click. For them a click becomes a box: boxes of
several sizes around it are tried, and the one whose mask is most certain and holds the click is kept. This
is a search, not a trained answer, and its scores are reported as such.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.model.config import TrainedPrompt
from lib.predict.plan import FrameBox, FrameClick, ObjectPlan, bounding_box
from lib.predict.scan import EmbeddedScan, SliceResult
from lib.shapes import SliceMask

HALF_SIDES_MM = (6.0, 10.0, 16.0, 25.0, 40.0, 60.0, 90.0)
"""Half the side of the boxes that are tried around a click: from a small nodule to a liver."""
MOST_CLICKS = 8
_REFINEMENTS = 2
"""How often the box is drawn again around the mask that it gave."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A mask that a click could mean.

    Attributes:
        mask: shape (H, W), the component that holds the click.
        iou: predicted overlap with the truth.
        score: predicted overlap times stability, 0 to about 1.
    """

    mask: SliceMask
    iou: float
    score: float


def segment_click(scan: EmbeddedScan, plan: ObjectPlan, click: FrameClick) -> Candidate | None:
    """The object under one positive click on its slice, or None if nothing certain lies there."""
    if scan.segmenter.config.knows(TrainedPrompt.CLICK):
        return _drawn_from_clicks(scan, plan, click)
    return next(iter(candidates(scan, plan, click)), None)


def _drawn_from_clicks(scan: EmbeddedScan, plan: ObjectPlan, click: FrameClick) -> Candidate | None:
    """What weights that follow clicks draw; after a single click once more, in the box of what it gave.

    A click says little of how large the object is, and boxes are what the weights know best.
    """
    position = (click.row, click.col)
    on_slice = thinned(tuple(other for other in plan.clicks if other.index == click.index), click)
    result = scan.decode(click.index, clicks=on_slice)
    part = component_at(result.mask, position)
    if len(on_slice) > 1 or not part.any():
        return _all_of(result)
    again = scan.decode(click.index, box=bounding_box(part), is_tight=True)
    part_again = component_at(again.mask, position)
    if not part_again.any():
        return Candidate(part, result.iou, result.iou * result.stability)
    return Candidate(part_again, again.iou, again.iou * again.stability)


def _all_of(result: SliceResult) -> Candidate | None:
    mask = result.mask
    return Candidate(mask, result.iou, result.iou * result.stability) if mask.any() else None


def thinned(clicks: Sequence[FrameClick], kept: FrameClick) -> tuple[FrameClick, ...]:
    """At most so many clicks of each sign as the network was taught, evenly chosen from a scribble."""
    chosen: list[FrameClick] = []
    for positive in (True, False):
        of_sign = [click for click in clicks if click.positive is positive]
        step = max(1, -(-len(of_sign) // MOST_CLICKS))
        chosen.extend(of_sign[::step])
    return tuple(chosen) if kept in chosen else (*chosen, kept)


def candidates(scan: EmbeddedScan, plan: ObjectPlan, click: FrameClick) -> list[Candidate]:
    """All that a click could mean, the most certain first."""
    found = [candidate for candidate in _candidates(scan, plan, click) if candidate is not None]
    return sorted(found, key=lambda candidate: candidate.score, reverse=True)


def _candidates(scan: EmbeddedScan, plan: ObjectPlan, click: FrameClick) -> Iterator[Candidate | None]:
    for half_side_mm in HALF_SIDES_MM:
        box = _box_around(click, half_side_mm, plan)
        candidate = _component_at(scan.decode(click.index, box=box), click)
        for _ in range(_REFINEMENTS):
            if candidate is None:
                break
            tighter = bounding_box(candidate.mask).grown(1, plan.bounds)
            candidate = _component_at(scan.decode(click.index, box=tighter), click)
        yield candidate


def _box_around(click: FrameClick, half_side_mm: float, plan: ObjectPlan) -> FrameBox:
    row_mm, col_mm = plan.plane.pixel_mm
    rows, cols = max(1, round(half_side_mm / row_mm)), max(1, round(half_side_mm / col_mm))
    point = FrameBox(click.row, click.col, click.row, click.col)
    limits = plan.bounds
    return FrameBox(
        max(limits.row0, point.row0 - rows),
        max(limits.col0, point.col0 - cols),
        min(limits.row1, point.row1 + rows),
        min(limits.col1, point.col1 + cols),
    )


def _component_at(result: SliceResult, click: FrameClick) -> Candidate | None:
    mask = component_at(result.mask, (click.row, click.col))
    if not mask.any():
        return None
    return Candidate(mask, result.iou, result.iou * result.stability)


def component_at(mask: np.ndarray, position: Sequence[int]) -> np.ndarray:
    """The connected component (through corners too) that holds a position; empty if it lies outside."""
    component = np.zeros_like(mask)
    if not mask[tuple(position)]:
        return component
    box = occupied(mask)  # labelling a whole scan would take longer than drawing a slice
    labelled, _ = ndimage.label(mask[box], structure=np.ones((3,) * mask.ndim))
    inside = tuple(at - part.start for at, part in zip(position, box, strict=True))
    component[box] = labelled == labelled[inside]
    return component


def occupied(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest part of a mask's array, which is not empty, that holds all of the mask."""
    parts: list[slice] = []
    for axis in range(mask.ndim):
        within = mask[tuple(parts)]
        others = tuple(other for other in range(mask.ndim) if other != axis)
        shown = np.flatnonzero(within.any(axis=others))
        parts.append(slice(int(shown[0]), int(shown[-1]) + 1))
    return tuple(parts)
