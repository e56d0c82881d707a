"""What a user points at or says, in world millimetres, for one object.

A box's edges run along the scan's own axes (also when the scan is oblique), so its two corners say it all.
"""

from dataclasses import dataclass, field

import numpy as np

from lib.errors import PromptError
from lib.geometry import voxel_to_world, world_to_voxel
from lib.shapes import Affine, BinaryMask, PointsIjk, PointsMm

MAX_POINTS = 1000
"""Clicks and scribble points together; more than anyone draws, few enough to answer in time."""
_OUTSIDE_TOLERANCE = 0.5 + 1e-3
"""A voxel reaches half a voxel beyond its centre; the rest is rounding."""


@dataclass(frozen=True, eq=False)
class Box:
    """Two opposite corners, centres of the outermost voxels inside, in RAS millimetres.

    A 2D box is one whose corners lie on the same slice.
    """

    corners_mm: PointsMm

    def bounds_ijk(self, affine: Affine) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest voxel inside (both inclusive), whichever corners were given."""
        corners = np.rint(world_to_voxel(self.corners_mm, affine)).astype(np.int64)
        return corners.min(axis=0), corners.max(axis=0)


@dataclass(frozen=True, eq=False)
class Clicks:
    """Points on (positive) or off (negative) the object, in the order in which they were made.

    Attributes:
        points_mm: shape (N, 3), RAS millimetres.
        positive: shape (N,), bool.
    """

    points_mm: PointsMm = field(default_factory=lambda: np.zeros((0, 3)))
    positive: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def __len__(self) -> int:
        return len(self.positive)


@dataclass(frozen=True, eq=False)
class Prompt:
    """All that a user gave for one object.

    Attributes:
        clicks: positive and negative clicks.
        boxes: 2D or 3D boxes; several 2D boxes lie on several slices of one object.
        scribble: freehand points, positive and negative.
        earlier: the mask to correct, on the scan's grid.
        text: a sentence or a name.
    """

    clicks: Clicks = field(default_factory=Clicks)
    boxes: tuple[Box, ...] = ()
    scribble: Clicks = field(default_factory=Clicks)
    earlier: BinaryMask | None = None
    text: str = ""

    @property
    def is_empty(self) -> bool:
        """True when nothing says where or what the object is."""
        has_positive = bool(self.clicks.positive.any() or self.scribble.positive.any())
        has_earlier = self.earlier is not None and bool(self.earlier.any())
        return not (has_positive or self.boxes or has_earlier or self.text.strip())


def clicks_from_voxels(
    foreground_ijk: np.ndarray, background_ijk: np.ndarray, shape: tuple[int, int, int], affine: Affine
) -> Clicks:
    """Clicks from voxel indices, positive ones first.

    Args:
        foreground_ijk: on the object, shape (N, 3).
        background_ijk: off the object, shape (M, 3).
        shape: the scan's size, to refuse points outside.
        affine: the scan's affine.

    Raises:
        PromptError: a point outside the scan or not finite, or too many points.
    """
    points = np.concatenate([foreground_ijk.reshape(-1, 3), background_ijk.reshape(-1, 3)]).astype(np.float64)
    if len(points) > MAX_POINTS:
        raise PromptError(f"Too many points: got {len(points)}, at most {MAX_POINTS} are allowed.")
    _check_inside(points, shape, "Point")
    positive = np.arange(len(points)) < len(foreground_ijk)
    return Clicks(voxel_to_world(points, affine), positive)


def box_from_voxels(
    low_ijk: np.ndarray, high_ijk: np.ndarray, shape: tuple[int, int, int], affine: Affine
) -> Box:
    """A box from its lowest and highest voxel, both inclusive.

    Raises:
        PromptError: a corner outside the scan or not finite, or low above high.
    """
    corners = np.stack([low_ijk, high_ijk]).astype(np.float64)
    _check_inside(corners, shape, "Box corner")
    if (corners[0] > corners[1]).any():
        raise PromptError(
            f"The box is inverted: its low corner {corners[0].tolist()} is above its high corner "
            f"{corners[1].tolist()} (voxels i, j, k); give the lower bound first."
        )
    return Box(voxel_to_world(corners, affine))


def _check_inside(points: PointsIjk, shape: tuple[int, int, int], what: str) -> None:
    if not np.isfinite(points).all():
        raise PromptError(f"{what} coordinates must be finite numbers (voxels i, j, k).")
    upper = np.array(shape) - 1
    outside = ((points < -_OUTSIDE_TOLERANCE) | (points > upper + _OUTSIDE_TOLERANCE)).any(axis=1)
    if outside.any():
        raise PromptError(
            f"{what} {points[outside][0].tolist()} (voxels i, j, k) lies outside the scan; "
            f"allowed are 0 to {upper.tolist()}. Send voxel indices of the displayed image, not millimetres."
        )
