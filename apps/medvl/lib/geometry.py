"""The only coordinate conversions: voxel indices (i, j, k) and world millimetres (RAS+).

An affine is 4 x 4, float64, and maps a voxel's centre (i, j, k, 1) to millimetres. Directions are named by
where they point: 'R' is the patient's right, 'A' anterior, 'S' superior.
"""

import numpy as np
from nibabel.orientations import aff2axcodes, io_orientation

from lib.errors import VolumeError
from lib.shapes import Affine, PointsIjk, PointsMm

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Flips the first two world axes. ITK, NRRD and DICOM are LPS+; it is its own inverse."""


def checked_affine(affine: np.ndarray, what: str) -> Affine:
    """Return the affine as float64, or say why it is none.

    Args:
        affine: voxel to millimetres, shape (4, 4).
        what: names the source in the message.

    Raises:
        VolumeError: not 4 x 4, not finite, or singular.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise VolumeError(f"{what} has no usable geometry: the affine must be 4 x 4 finite numbers.")
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise VolumeError(
            f"{what} has no usable geometry: its affine is singular (spacing {spacing_mm(matrix)} mm)."
        )
    return matrix


def spacing_mm(affine: Affine) -> tuple[float, float, float]:
    """Distance between neighbouring voxel centres along i, j and k, in millimetres."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return (float(lengths[0]), float(lengths[1]), float(lengths[2]))


def orientation(affine: Affine) -> str:
    """Where i, j and k point, as three letters such as 'RAS' or 'LPI' (nearest axes if oblique)."""
    return "".join(aff2axcodes(affine))


def world_axes(affine: Affine) -> tuple[tuple[int, int], ...]:
    """For each voxel axis, the nearest world axis (0 R-L, 1 A-P, 2 S-I) and its sign (+1 towards R, A, S)."""
    return tuple((int(axis), int(sign)) for axis, sign in io_orientation(affine))


def is_orthogonal(affine: Affine) -> bool:
    """Whether the voxel axes stand at right angles, as quaternions need them; a tilted gantry's do not."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-5))


def voxel_to_world(points_ijk: PointsIjk, affine: Affine) -> PointsMm:
    """Voxel indices, shape (N, 3), whole numbers being voxel centres, to RAS millimetres."""
    return np.asarray(points_ijk, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]


def world_to_voxel(points_mm: PointsMm, affine: Affine) -> PointsIjk:
    """RAS millimetres, shape (N, 3), to continuous voxel indices."""
    return np.linalg.solve(affine[:3, :3], (np.asarray(points_mm, dtype=np.float64) - affine[:3, 3]).T).T
