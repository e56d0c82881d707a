"""The mean atlas: where structures are on average, once patients are laid over each other.

It looks at nothing but the body's outline and the base of the lungs, and is what a trained finder of regions
has to beat (`lib.train.atlas` makes it from labelled scans).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lib.geometry import voxel_to_world, world_axes
from lib.predict.regions import RegionMap
from lib.shapes import Affine, PointsMm
from lib.volume import Volume

CELLS_IN_PLANE = 48
"""Cells across the body, from right to left and from back to front."""
CELL_MM = 6.0
"""Height of a cell along the patient."""
BELOW_MM, ABOVE_MM = 456.0, 348.0
"""How far the atlas reaches below and above the base of the lungs."""
CELLS_ALONG = round((BELOW_MM + ABOVE_MM) / CELL_MM)
_SAMPLE_MM = 4.0
_BODY_ABOVE_HU, _AIR_BELOW_HU = -350.0, -500.0
_OUTLINE_PERCENTILES = (2.0, 98.0)
"""Of the body's voxels, so that table and arms say little."""
_LUNG_SHARE = 0.12
"""A slice in which so much of the body's box is air shows lung."""
_BODY_SHARE = 0.25
"""Below this a slice shows the room beyond the patient."""
_MOST_CERTAIN = 0.98
Frequencies = Float[np.ndarray, "structures x y z"]


@dataclass(frozen=True, eq=False)
class BodyFrame:
    """Where a patient lies: what the atlas is laid over.

    Attributes:
        low_mm: the body's right-left and back-front beginning, RAS+.
        high_mm: their ends.
        lung_base_mm: height of the lowest slice with lung, RAS+; the scan's top where none shows any.
    """

    low_mm: tuple[float, float]
    high_mm: tuple[float, float]
    lung_base_mm: float

    @property
    def affine(self) -> Affine:
        """Centres of the atlas' cells to RAS+ millimetres."""
        cells = np.eye(4)
        for axis in (0, 1):
            step = (self.high_mm[axis] - self.low_mm[axis]) / CELLS_IN_PLANE
            cells[axis, axis], cells[axis, 3] = step, self.low_mm[axis] + step / 2
        cells[2, 2], cells[2, 3] = CELL_MM, self.lung_base_mm - BELOW_MM + CELL_MM / 2
        return cells


@dataclass(frozen=True, eq=False)
class Atlas:
    """Where structures are on average.

    Attributes:
        names: structures.
        frequency: share of the patients whose structure covers a cell, shape (N, X, Y, Z), 0 to 1.
        identity: of the scans that it was made from.
    """

    names: tuple[str, ...]
    frequency: Frequencies
    identity: str

    def locate(self, volume: Volume, names: Sequence[str]) -> dict[str, RegionMap]:
        """One map for each of the names that it knows; the scan is looked at for its outline only."""
        affine = body_frame(volume).affine
        seen = _seen(affine, volume)
        return {name: self._region(name, affine, seen) for name in names if name in self.names}

    def _region(self, name: str, affine: Affine, seen: np.ndarray) -> RegionMap:
        share = self.frequency[self.names.index(name)].astype(np.float32)
        # the mean of few patients is blurred: half of the highest share counts as inside
        highest = float(share.max())
        probability = np.clip(share / max(highest, 1e-3) / 2 + 0.25, 1 - _MOST_CERTAIN, _MOST_CERTAIN)
        probability[share < 0.05 * highest] = 1 - _MOST_CERTAIN
        logits = np.log(probability / (1 - probability)).astype(np.float32)
        in_scan = share[seen].max(initial=0.0)
        return RegionMap(logits, affine, float(min(1.0, in_scan / max(highest, 1e-3))))


def body_frame(volume: Volume) -> BodyFrame:
    """The outline of the body and the base of the lungs, from Hounsfield units alone."""
    hu, affine = _sampled(volume)
    inside = np.argwhere(hu > _BODY_ABOVE_HU)
    if not len(inside):
        inside = np.argwhere(np.ones(hu.shape, dtype=bool))
    points = voxel_to_world(inside.astype(np.float64), affine)
    low, high = np.percentile(points[:, :2], _OUTLINE_PERCENTILES, axis=0)
    high = np.maximum(high, low + 1.0)
    return BodyFrame(
        low_mm=(float(low[0]), float(low[1])),
        high_mm=(float(high[0]), float(high[1])),
        lung_base_mm=_lung_base_mm(hu, affine, low, high),
    )


def cell_centres(affine: Affine) -> PointsMm:
    """All cells' centres in RAS+ millimetres, shape (X * Y * Z, 3), the last axis fastest."""
    cells = np.indices((CELLS_IN_PLANE, CELLS_IN_PLANE, CELLS_ALONG)).reshape(3, -1).T
    return voxel_to_world(cells.astype(np.float64), affine)


def _sampled(volume: Volume) -> tuple[np.ndarray, Affine]:
    """Every n-th voxel, about four millimetres apart, and where they are."""
    i, j, k = (max(1, round(_SAMPLE_MM / step)) for step in volume.spacing_mm)
    affine = volume.affine @ np.diag([i, j, k, 1.0])
    return volume.voxels[0, ::i, ::j, ::k], affine


def _lung_base_mm(hu: np.ndarray, affine: Affine, low: np.ndarray, high: np.ndarray) -> float:
    """Height of the lowest slice with much air inside the body's box."""
    axis = [world for world, _ in world_axes(affine)].index(2)
    middle = (np.array(hu.shape) - 1) / 2
    ends = np.repeat(middle[np.newaxis], hu.shape[axis], axis=0)
    ends[:, axis] = np.arange(hu.shape[axis])
    heights = voxel_to_world(ends, affine)[:, 2]
    others = tuple(number for number in range(3) if number != axis)
    slice_mm2 = abs(np.linalg.det(affine[:3, :3])) / float(np.linalg.norm(affine[:3, axis]))
    box_mm2 = float(np.prod(high - low))
    air = (hu < _AIR_BELOW_HU) & _inside_box(hu.shape, affine, low, high)
    body_share = (hu > _BODY_ABOVE_HU).sum(axis=others) * slice_mm2 / box_mm2
    has_lung = (air.sum(axis=others) * slice_mm2 / box_mm2 > _LUNG_SHARE) & (body_share > _BODY_SHARE)
    return float(heights[has_lung].min()) if has_lung.any() else float(heights.max())


def _inside_box(shape: tuple[int, ...], affine: Affine, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Voxels in the middle half of the body's box, where air is lung rather than room."""
    voxels = np.indices(shape).reshape(3, -1).T.astype(np.float64)
    across = voxel_to_world(voxels, affine)[:, :2]
    quarter = (high - low) / 5
    inside = ((across > low + quarter) & (across < high - quarter)).all(axis=1)
    return inside.reshape(shape)


def _seen(affine: Affine, volume: Volume) -> np.ndarray:
    """Which cells lie in the scan, shape (X, Y, Z)."""
    to_voxel = np.linalg.inv(volume.affine) @ affine
    cells = np.indices((CELLS_IN_PLANE, CELLS_IN_PLANE, CELLS_ALONG)).reshape(3, -1).T.astype(np.float64)
    voxels = voxel_to_world(cells, to_voxel)
    inside = ((voxels >= -0.5) & (voxels <= np.array(volume.shape) - 0.5)).all(axis=1)
    return inside.reshape(CELLS_IN_PLANE, CELLS_IN_PLANE, CELLS_ALONG)
