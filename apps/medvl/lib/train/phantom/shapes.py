"""Signed distances of simple bodies, in mm, negative inside; approximate away from the surface."""

from dataclasses import dataclass

import numpy as np

from lib.train.phantom.config import Points
from lib.train.phantom.space import BodySpace, Box, Number, Vector, rotation

_FAR_MM = np.float32(1e3)
_MARGIN_MM = 6.0


@dataclass(frozen=True, eq=False)
class Shape:
    """A body on a block of voxels.

    Attributes:
        box: the block.
        distance: mm, negative inside, shape of the block.
        along: for tubes, position from 0 (first point) to 1 (last).
    """

    box: Box
    distance: np.ndarray
    along: np.ndarray | None = None


def ellipsoid(space: BodySpace, centre: Vector, radii: Vector, turn: Vector = (0, 0, 0)) -> Shape | None:
    """An ellipsoid, turned about its centre; None where the scan does not reach it."""
    reach = max(radii) + _MARGIN_MM
    box = space.box([part - reach for part in centre], [part + reach for part in centre])
    if box is None:
        return None
    return Shape(box, ellipsoid_at(space.at(box), centre, radii, turn))


def ellipsoid_at(
    points: tuple[np.ndarray, np.ndarray, np.ndarray],
    centre: Vector,
    radii: Vector,
    turn: Vector = (0, 0, 0),
) -> np.ndarray:
    """The distance for given coordinates."""
    from_centre = [values - np.float32(part) for values, part in zip(points, centre, strict=True)]
    rows = rotation(turn).T.astype(np.float32)
    scaled = [
        (row[0] * from_centre[0] + row[1] * from_centre[1] + row[2] * from_centre[2]) / np.float32(radius)
        for row, radius in zip(rows, radii, strict=True)
    ]
    norm = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
    return (norm - 1) * np.float32(min(radii))


def tube(space: BodySpace, points: Points, smooth: int = 6) -> Shape | None:
    """A tube of varying radius along a smooth curve through the points; None outside of the scan."""
    line = curve(np.asarray(points, dtype=np.float64), smooth)
    reach = line[:, 3].max() + _MARGIN_MM
    box = space.box(line[:, :3].min(axis=0) - reach, line[:, :3].max(axis=0) + reach)
    if box is None:
        return None
    window = BodySpace(*space.at(box), spacing_mm=space.spacing_mm)
    distance = np.full(window.shape, _FAR_MM)
    along = np.zeros(window.shape, dtype=np.float32)
    for number in range(len(line) - 1):
        _add_segment(window, line[number : number + 2], number / (len(line) - 1), (distance, along))
    return Shape(box, distance, along)


def curve(points: np.ndarray, smooth: int) -> np.ndarray:
    """A Catmull-Rom spline through rows of x, y, z and radius, in `smooth` pieces between neighbours."""
    if len(points) < 3:
        return points
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, 1, smooth, endpoint=False)[:, None]
    pieces = [
        0.5
        * (
            2 * before
            + (after - first) * t
            + (2 * first - 5 * before + 4 * after - last) * t**2
            + (3 * before - first - 3 * after + last) * t**3
        )
        for first, before, after, last in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.vstack([*pieces, points[-1]])


def _add_segment(
    window: BodySpace, ends: np.ndarray, start: float, into: tuple[np.ndarray, np.ndarray]
) -> None:
    """Lowers the distance around one straight piece."""
    reach = ends[:, 3].max() + _MARGIN_MM
    box = window.box(ends[:, :3].min(axis=0) - reach, ends[:, :3].max(axis=0) + reach)
    if box is None:
        return
    x, y, z = (values - np.float32(part) for values, part in zip(window.at(box), ends[0, :3], strict=True))
    dx, dy, dz, dr = (ends[1] - ends[0]).astype(np.float32)
    t = np.clip((x * dx + y * dy + z * dz) / max(dx * dx + dy * dy + dz * dz, 1e-6), 0, 1)
    apart = np.sqrt((x - t * dx) ** 2 + (y - t * dy) ** 2 + (z - t * dz) ** 2)
    new = apart - (np.float32(ends[0, 3]) + t * dr)
    distance, along = into
    nearer = new < distance[box]
    distance[box][nearer] = new[nearer]
    along[box][nearer] = np.float32(start)


def mirrored(points: Points) -> Points:
    """The same on the other side."""
    return tuple((-point[0], *point[1:]) for point in points)


def smooth_max(one: np.ndarray, other: np.ndarray, rounding_mm: Number) -> np.ndarray:
    """Intersection of two bodies with rounded edges (polynomial smooth maximum)."""
    mix = np.clip(0.5 + 0.5 * (one - other) / rounding_mm, 0, 1)
    return other + (one - other) * mix + rounding_mm * mix * (1 - mix)


def smooth_min(one: np.ndarray, other: np.ndarray, rounding_mm: Number) -> np.ndarray:
    """Union of two bodies with a rounded valley."""
    return -smooth_max(-one, -other, rounding_mm)
