"""Scans on a coarse grid along the patient's axes, as the RegionPrior sees them in training and in use."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.geometry import spacing_mm
from lib.shapes import Affine, AnyArray, GridHu, Voxels

OUTSIDE_HU = -1024.0
_HIGHEST_HU = 1500.0
_BODY_ABOVE_HU = -350.0


@dataclass(frozen=True, eq=False)
class RegionGrid:
    """Where the cells of a coarse grid lie.

    Attributes:
        affine: cell to RAS+ millimetres; the axes are those of RAS+.
        shape: cells along x, y and z.
    """

    affine: Affine
    shape: tuple[int, int, int]


def region_grid(affine: Affine, shape: tuple[int, int, int], cell_mm: float) -> RegionGrid:
    """The grid around a scan.

    Args:
        affine: of the scan, voxel to RAS+ millimetres.
        shape: of the scan.
        cell_mm: side of a cell.
    """
    far = [(0, size - 1) for size in shape]
    corners = np.stack(np.meshgrid(*far, indexing="ij"), axis=-1).reshape(-1, 3)
    world = corners @ affine[:3, :3].T + affine[:3, 3]
    low, high = world.min(axis=0), world.max(axis=0)
    grid = np.diag([cell_mm, cell_mm, cell_mm, 1.0])
    grid[:3, 3] = low
    sizes = [round(length / cell_mm) + 1 for length in high - low]
    return RegionGrid(grid, (sizes[0], sizes[1], sizes[2]))


def on_grid(values: AnyArray, affine: Affine, grid: RegionGrid, outside: float) -> GridHu:
    """Values of a scan, averaged down and interpolated to the cells; float32.

    Args:
        values: (I, J, K), on the scan's grid.
        affine: of the scan.
        grid: the cells.
        outside: the value beyond the scan.
    """
    cell_mm = grid.affine[0, 0]
    factors = [
        max(1, min(size, int(cell_mm / step)))
        for size, step in zip(values.shape, spacing_mm(affine), strict=True)
    ]
    coarse, placed = _block_means(values, affine, factors)
    matrix = np.linalg.inv(placed) @ grid.affine
    return ndimage.affine_transform(
        coarse,
        matrix[:3, :3],
        matrix[:3, 3],
        output_shape=grid.shape,
        order=1,
        mode="grid-constant",
        cval=outside,
    )


def hu_on_grid(voxels: Voxels, affine: Affine, grid: RegionGrid) -> GridHu:
    """A CT's Hounsfield units on the cells, limited to what is air to dense bone."""
    return np.clip(on_grid(voxels[0], affine, grid, OUTSIDE_HU), OUTSIDE_HU, _HIGHEST_HU)


def middle_of_body(hu: GridHu) -> tuple[float, float]:
    """Middle of what is denser than air, in cells along x and y: halfway between its outer percentiles."""
    dense = hu > _BODY_ABOVE_HU
    if not dense.any():
        return (hu.shape[0] - 1) / 2, (hu.shape[1] - 1) / 2
    middles = []
    for axes in ((1, 2), (0, 2)):
        share = np.cumsum(dense.sum(axis=axes, dtype=np.int64))
        low, high = np.searchsorted(share, (0.02 * share[-1], 0.98 * share[-1]))
        middles.append((float(low) + float(high)) / 2)
    return middles[0], middles[1]


def _block_means(values: AnyArray, affine: Affine, factors: list[int]) -> tuple[GridHu, Affine]:
    """Means of blocks of voxels, and where their centres lie; a rest that fills no block is left out."""
    kept = [size // factor * factor for size, factor in zip(values.shape, factors, strict=True)]
    trimmed = values[: kept[0], : kept[1], : kept[2]]
    for axis, factor in enumerate(factors):
        if factor > 1:
            split = (*trimmed.shape[:axis], -1, factor, *trimmed.shape[axis + 1 :])
            trimmed = trimmed.reshape(split).mean(axis=axis + 1, dtype=np.float32)
    placed = affine.copy()
    placed[:3, :3] = affine[:3, :3] * np.array(factors)
    placed[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((np.array(factors) - 1) / 2)
    return np.asarray(trimmed, dtype=np.float32), placed
