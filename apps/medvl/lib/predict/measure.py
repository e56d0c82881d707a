"""What can be measured of a mask: volume, attenuation, extent, place, and the diameters of RECIST 1.1.

All lengths are those of the patient, whatever the grid's orientation, spacing or slant. A voxel is taken to
reach half-way to its neighbours, so that a mask of N voxels in a row is N times their distance long.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform

from lib.errors import InputError
from lib.geometry import voxel_to_world, world_axes
from lib.predict.cropped import CroppedMask
from lib.shapes import Affine, PointsMm, SliceMask
from lib.vocabulary import Side
from lib.volume import Volume

PlanePoints = Float[np.ndarray, "num_points 2"]
Point = tuple[float, float, float]

GAS_BELOW_HU = -300.0
"""Between fat and gas; voxels at the wall are a mixture."""
CLEAR_OF_MIDDLE_MM = 10.0
"""What lies nearer to the middle of the body is on neither side."""
_SUPERIOR = 2
_LEAST_AT_EDGE = 3
"""Voxels in the scan's outermost layer from which on an object is taken to go on beyond it."""
_NEAR_EDGE_MM, _BLUNT_SHARE = 7.0, 0.35
"""Objects end in less than this share of their largest cross-section unless something cuts them."""
_TOWARDS_END = 1 / 6
"""How far off an organ's centre, in parts of its length, something is in its upper or front part."""
_PARTS = (("right", "left"), ("anterior", "posterior"), ("upper", "lower"))


@dataclass(frozen=True)
class Diameters:
    """Of one object within one axial slice.

    Attributes:
        long_mm: longest diameter.
        short_mm: longest one at right angles to it, in the same slice.
        slice_index: of the slice, along the voxel axis nearest to the patient's long axis.
        ends_ras_mm: of the long diameter, then of the short one.
    """

    long_mm: float
    short_mm: float
    slice_index: int
    ends_ras_mm: tuple[Point, Point, Point, Point]


@dataclass(frozen=True)
class Measurement:
    """Of one object.

    Attributes:
        volume_ml: of its voxels.
        mean_hu: mean of the scan's values in it; of the first channel.
        sd_hu: their standard deviation.
        extent_mm: from right to left, from front to back and from top to bottom.
        centre_ras_mm: mean position of its voxels.
        is_partial: it reaches the edge of the scan, so that there may be more of it.
        gas_share: of its voxels that are gas, 0 to 1.
    """

    volume_ml: float
    mean_hu: float
    sd_hu: float
    extent_mm: Point
    centre_ras_mm: Point
    is_partial: bool
    gas_share: float = 0.0


def measure(mask: CroppedMask, volume: Volume) -> Measurement:
    """Measures an object.

    Args:
        mask: of the object, on the scan's grid.
        volume: the scan.

    Raises:
        InputError: the mask is empty or of another grid.
    """
    if mask.shape != volume.shape or not mask.count:
        raise InputError(
            f"Only a mask with voxels on the scan's own grid can be measured; got {mask.count} voxels on "
            f"{mask.shape}, the scan has {volume.shape}."
        )
    values = volume.voxels[0][mask.window][mask.voxels].astype(np.float64)
    return Measurement(
        volume_ml=volume_ml(mask, volume.affine),
        mean_hu=float(values.mean()),
        sd_hu=float(values.std()),
        extent_mm=extent_mm(mask, volume.affine),
        centre_ras_mm=_point(voxel_to_world(mask.centre_ijk()[np.newaxis], volume.affine)[0]),
        is_partial=reaches_edge(mask) or ends_before_edge(mask, volume.spacing_mm),
        gas_share=float((values < GAS_BELOW_HU).mean()),
    )


def volume_ml(mask: CroppedMask, affine: Affine) -> float:
    """Millilitres of an object, on slanted grids too."""
    return mask.count * float(abs(np.linalg.det(affine[:3, :3]))) / 1000


def extent_mm(mask: CroppedMask, affine: Affine) -> Point:
    """Length along the patient's three axes: right to left, front to back, top to bottom."""
    points = surface_points_mm(mask, affine)
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=1)
    return _point(points.max(axis=0) - points.min(axis=0) + voxel_mm)


def length_mm(mask: CroppedMask, affine: Affine) -> float:
    """The longest distance between two points of an object in any direction, as from pole to pole."""
    points = surface_points_mm(mask, affine)
    try:
        points = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        points = points[:: max(1, len(points) // 500)]  # flat or tiny: few points, no hull
    if len(points) < 2:
        return float(max(extent_mm(mask, affine)))
    distances = squareform(pdist(points))
    one, other = np.unravel_index(int(distances.argmax()), distances.shape)
    along = points[one] - points[other]
    # half a voxel at either end, as the line meets it
    voxel_mm = np.linalg.norm(affine[:3, :3].T @ (along / np.linalg.norm(along)))
    return float(distances.max() + voxel_mm)


def axial_diameters(mask: CroppedMask, affine: Affine) -> Diameters:
    """The diameters of RECIST 1.1: the longest in any axial slice, and the longest at right angles to it.

    The outline runs through the middles of the outer pixels' edges. Both diameters are those of the convex
    hull, as calipers measure them. Slices are those across the voxel axis nearest to the patient's long one.

    References:
        Eisenhauer et al., New response evaluation criteria in solid tumours: revised RECIST guideline
        (version 1.1), European Journal of Cancer 45 (2009) 228-247.

    Raises:
        InputError: the mask is empty.
    """
    if not mask.count:
        raise InputError("An empty mask has no diameter.")
    axis = axial_axis(affine)
    across = [other for other in range(3) if other != axis]
    basis = _plane_basis(affine, across)
    longest, best = 0.0, 0
    hull = np.zeros((0, 2))
    for number in range(mask.voxels.shape[axis]):
        outline = _outline(np.take(mask.voxels, number, axis=axis), affine[:3, across], basis)
        if not len(outline) or np.linalg.norm(np.ptp(outline, axis=0)) <= longest:
            continue
        here = outline[ConvexHull(outline).vertices]
        diameter_mm = float(pdist(here).max())
        if diameter_mm > longest:
            longest, best, hull = diameter_mm, number, here
    ends = _calipers(hull)
    corner = np.array(mask.corner, dtype=np.float64)
    corner[axis] += best
    origin = voxel_to_world(corner[np.newaxis], affine)[0]
    first, last, low, high = (_point(origin + end @ basis) for end in ends)
    return Diameters(
        long_mm=float(np.linalg.norm(ends[1] - ends[0])),
        short_mm=float(np.linalg.norm(ends[3] - ends[2])),
        slice_index=int(corner[axis]),
        ends_ras_mm=(first, last, low, high),
    )


def axial_axis(affine: Affine) -> int:
    """The voxel axis nearest to the patient's long axis."""
    return [world for world, _ in world_axes(affine)].index(_SUPERIOR)


def reaches_edge(mask: CroppedMask) -> bool:
    """Whether an object lies against a face of the scan; a single slice has no face across itself."""
    for axis, size in enumerate(mask.shape):
        if size == 1:
            continue
        begins, ends = mask.corner[axis], mask.corner[axis] + mask.voxels.shape[axis]
        first, last = np.take(mask.voxels, 0, axis=axis), np.take(mask.voxels, -1, axis=axis)
        if (begins == 0 and np.count_nonzero(first) >= _LEAST_AT_EDGE) or (
            ends == size and np.count_nonzero(last) >= _LEAST_AT_EDGE
        ):
            return True
    return False


def ends_before_edge(mask: CroppedMask, spacing_mm: Point) -> bool:
    """Whether an object ends just before a face of the scan, and as bluntly as if it were cut.

    Slices are drawn some millimetres apart, so that a mask may miss the scan's last ones.
    """
    for axis, size in enumerate(mask.shape):
        others = tuple(other for other in range(3) if other != axis)
        areas = np.count_nonzero(mask.voxels, axis=others)
        gaps = (mask.corner[axis], size - mask.corner[axis] - len(areas))
        for gap, area in zip(gaps, (areas[0], areas[-1]), strict=True):
            if 0 < gap * spacing_mm[axis] <= _NEAR_EDGE_MM and area >= _BLUNT_SHARE * areas.max():
                return True
    return False


def side_of(centre_ras_mm: Point, middle_x_mm: float) -> Side | None:
    """The patient's side on which a point lies; None near the middle.

    Args:
        centre_ras_mm: the point.
        middle_x_mm: of the body, RAS+: larger is further right.
    """
    beside_mm = centre_ras_mm[0] - middle_x_mm
    if abs(beside_mm) <= CLEAR_OF_MIDDLE_MM:
        return None
    return Side.RIGHT if beside_mm > 0 else Side.LEFT


def place_within(part: Measurement, whole: Measurement) -> str:
    """In which part of an organ something lies: "upper posterior", or "" for its middle.

    Sides are left out, as they would be taken for the organ's own.
    """
    words = []
    for axis in (2, 1):
        beside = (part.centre_ras_mm[axis] - whole.centre_ras_mm[axis]) / whole.extent_mm[axis]
        if abs(beside) > _TOWARDS_END:
            words.append(_PARTS[axis][0 if beside > 0 else 1])
    return " ".join(words)


def surface_points_mm(mask: CroppedMask, affine: Affine) -> PointsMm:
    """Centres of the voxels at an object's surface, shape (N, 3), RAS+."""
    padded = np.pad(mask.voxels, 1)
    inner = ndimage.binary_erosion(padded)[1:-1, 1:-1, 1:-1]
    indices = np.argwhere(mask.voxels & ~inner) + np.array(mask.corner)
    return voxel_to_world(indices.astype(np.float64), affine)


def _plane_basis(affine: Affine, across: list[int]) -> np.ndarray:
    """Two unit vectors at right angles that span the slices, shape (2, 3), RAS+."""
    first, second = affine[:3, across[0]], affine[:3, across[1]]
    along = first / np.linalg.norm(first)
    beside = second - (second @ along) * along
    return np.stack([along, beside / np.linalg.norm(beside)])


def _outline(pixels: SliceMask, steps: np.ndarray, basis: np.ndarray) -> PlanePoints:
    """Middles of the outer pixels' edges in millimetres within the slice, shape (N, 2)."""
    centres = np.argwhere(pixels & ~ndimage.binary_erosion(np.pad(pixels, 1))[1:-1, 1:-1]).astype(np.float64)
    if not len(centres):
        return np.zeros((0, 2))
    halves = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])
    points = (centres[:, np.newaxis] + halves).reshape(-1, 2)
    return points @ (basis @ steps).T


def _calipers(hull: PlanePoints) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ends of the longest diameter of a convex outline and of the longest chord at right angles to it."""
    distances = squareform(pdist(hull))
    one, other = np.unravel_index(int(distances.argmax()), distances.shape)
    along = (hull[other] - hull[one]) / distances[one, other]
    beside = np.array([-along[1], along[0]])
    at, off = (hull - hull[one]) @ along, (hull - hull[one]) @ beside
    # chords change linearly between corners, so that the longest one ends in a corner
    upper, lower = (_edge(at, off, sign) for sign in (1.0, -1.0))
    stops = np.sort(at)
    high, low = np.interp(stops, *upper), np.interp(stops, *lower)
    best = int((high - low).argmax())
    foot = hull[one] + stops[best] * along
    return hull[one], hull[other], foot + low[best] * beside, foot + high[best] * beside


def _edge(at: np.ndarray, off: np.ndarray, sign: float) -> tuple[np.ndarray, np.ndarray]:
    """The corners on one side of the long diameter, from its beginning to its end."""
    chosen = sign * off >= -1e-9
    order = np.argsort(at[chosen], kind="stable")
    return at[chosen][order], off[chosen][order]


def _point(values: np.ndarray) -> Point:
    x, y, z = (float(value) for value in values)
    return (x, y, z)
