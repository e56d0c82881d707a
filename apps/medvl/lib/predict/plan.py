"""From a prompt in millimetres to what is asked of which slice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.errors import PromptError
from lib.geometry import world_to_voxel
from lib.prompt import Box, Clicks, Prompt
from lib.shapes import BinaryMask, SliceMask
from lib.transforms.spatial import SlicePlane, slice_plane
from lib.volume import Volume


@dataclass(frozen=True)
class FrameBox:
    """A box on a slice: first and last row and column, all inside."""

    row0: int
    col0: int
    row1: int
    col1: int

    def grown(self, margin: int, within: "FrameBox") -> "FrameBox":
        """Larger by `margin` voxels on each side, but never beyond `within`."""
        return FrameBox(
            max(within.row0, self.row0 - margin),
            max(within.col0, self.col0 - margin),
            min(within.row1, self.row1 + margin),
            min(within.col1, self.col1 + margin),
        )

    @property
    def is_empty(self) -> bool:
        """True when no voxel is inside."""
        return self.row1 < self.row0 or self.col1 < self.col0

    @property
    def corners(self) -> np.ndarray:
        """Outer edges of the corner voxels as (row, col), shape (2, 2)."""
        return np.array([[self.row0 - 0.5, self.col0 - 0.5], [self.row1 + 0.5, self.col1 + 0.5]])


@dataclass(frozen=True)
class FrameClick:
    """A click on a slice, to the nearest voxel."""

    index: int
    row: int
    col: int
    positive: bool


@dataclass(frozen=True, eq=False)
class ObjectPlan:
    """What a user said of one object, in slices, rows and columns.

    Attributes:
        plane: how the scan's slices are shown.
        boxes: slice to box; a 3D box alone stands on its middle slice, beside 2D boxes it only sets limits.
        clicks: in the order in which they were made, scribbles after clicks.
        earlier: the mask to correct as slices (D, H, W), or None.
        first: the first slice that the object may reach.
        last: the last one.
        bounds: no voxel outside belongs to the object, on any slice.
        is_bounded: a 3D box said so: the object lies on all of these slices.
    """

    plane: SlicePlane
    boxes: dict[int, FrameBox]
    clicks: tuple[FrameClick, ...]
    earlier: BinaryMask | None
    first: int
    last: int
    bounds: FrameBox
    is_bounded: bool


def bounding_box(mask: SliceMask) -> FrameBox:
    """The smallest box around a mask that is not empty."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return FrameBox(int(rows[0]), int(cols[0]), int(rows[-1]), int(cols[-1]))


def make_plan(volume: Volume, prompt: Prompt, axis: int | None) -> ObjectPlan:
    """Lay a prompt out on the slices of a scan.

    Args:
        volume: the scan.
        prompt: what the user said of one object.
        axis: voxel axis across the slices; None: the one that 2D boxes lie across, else best resolution.

    Raises:
        PromptError: nothing that says where the object is.
    """
    if prompt.is_empty:
        raise PromptError(
            "The prompt is empty: give a positive click (foreground), a box, a scribble or an earlier mask."
        )
    across = axis if axis is not None else _axis_of_flat_boxes(prompt.boxes, volume)
    plane = slice_plane(volume.affine, volume.shape, across)
    solid, flat = _split_boxes(prompt.boxes, plane, volume)
    first, last, bounds, key_box = _reach(solid, plane)
    earlier = None if prompt.earlier is None else plane.frames(prompt.earlier)
    return ObjectPlan(
        plane=plane,
        boxes=flat or key_box,
        clicks=_frame_clicks(prompt.clicks, plane, volume) + _frame_clicks(prompt.scribble, plane, volume),
        earlier=earlier if earlier is not None and earlier.any() else None,
        first=first,
        last=last,
        bounds=bounds,
        is_bounded=bool(solid),
    )


def _axis_of_flat_boxes(boxes: Sequence[Box], volume: Volume) -> int | None:
    """The one axis along which every box is a single voxel thick, if that is so."""
    flat = np.ones(3, dtype=bool)
    for box in boxes:
        low, high = box.bounds_ijk(volume.affine)
        flat &= low == high
    axes = np.flatnonzero(flat & (np.array(volume.shape) > 1))
    return int(axes[0]) if len(boxes) and len(axes) == 1 else None


def _frame_bounds(box: Box, plane: SlicePlane, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    corners = plane.to_frame(np.stack(box.bounds_ijk(volume.affine)).astype(np.float64))
    return corners.min(axis=0).astype(int), corners.max(axis=0).astype(int)


def _split_boxes(
    boxes: Sequence[Box], plane: SlicePlane, volume: Volume
) -> tuple[list[tuple[np.ndarray, np.ndarray]], dict[int, FrameBox]]:
    """3D boxes as (lowest, highest) slice, row, column; 2D boxes by slice."""
    solid, flat = [], {}
    for box in boxes:
        low, high = _frame_bounds(box, plane, volume)
        if low[0] == high[0] and plane.count > 1:
            flat[int(low[0])] = FrameBox(int(low[1]), int(low[2]), int(high[1]), int(high[2]))
        else:
            solid.append((low, high))
    return solid, flat


def _reach(
    solid: list[tuple[np.ndarray, np.ndarray]], plane: SlicePlane
) -> tuple[int, int, FrameBox, dict[int, FrameBox]]:
    """Slices and bounds of the object: all 3D boxes together, or the whole scan when there is none."""
    height, width = plane.size
    if not solid:
        return 0, plane.count - 1, FrameBox(0, 0, height - 1, width - 1), {}
    low = np.min([box[0] for box in solid], axis=0)
    high = np.max([box[1] for box in solid], axis=0)
    bounds = FrameBox(int(low[1]), int(low[2]), int(high[1]), int(high[2]))
    return int(low[0]), int(high[0]), bounds, {int(low[0] + high[0]) // 2: bounds}


def _frame_clicks(clicks: Clicks, plane: SlicePlane, volume: Volume) -> tuple[FrameClick, ...]:
    if not len(clicks):
        return ()
    upper = np.array(volume.shape) - 1
    nearest = np.clip(np.rint(world_to_voxel(clicks.points_mm, volume.affine)), 0, upper)
    frames = plane.to_frame(nearest).astype(int)
    return tuple(
        FrameClick(int(index), int(row), int(col), bool(positive))
        for (index, row, col), positive in zip(frames, clicks.positive, strict=True)
    )
