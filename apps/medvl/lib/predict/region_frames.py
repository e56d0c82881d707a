"""Region maps, which lie on coarse grids of their own, as they fall on the slices of a scan."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from lib.predict.regions import RegionMap
from lib.shapes import Affine
from lib.transforms.spatial import Canvas, SlicePlane

FAR_OUTSIDE = -10.0
"""Logit where a map says nothing, beyond its grid and beyond the picture."""
_BEYOND_CELLS = 1.0
"""A map's outermost cells speak for so much beyond their centres."""
_GLANCE = 96
"""Rows and columns in which a slice is looked through for structures."""
SliceRegions = Float[Tensor, "structures rows cols"]


@dataclass(frozen=True, eq=False)
class _SharedGrid:
    """Maps on one grid.

    Attributes:
        names: structures.
        affine: the grid's.
        logits: shape (M, I, J, K).
    """

    names: tuple[str, ...]
    affine: Affine
    logits: Tensor


@dataclass(frozen=True, eq=False)
class RegionFrames:
    """Maps of one scan, sampled where the network's canvas has its mask pixels.

    Attributes:
        maps: structure to map.
        affine: the scan's.
        plane: how its slices are shown.
        canvas: where a slice lies on the network's canvas.
    """

    maps: Mapping[str, RegionMap]
    affine: Affine
    plane: SlicePlane
    canvas: Canvas

    @cached_property
    def shown_on(self) -> dict[str, tuple[int, ...]]:
        """For each structure the slices on which its map is above 0."""
        found: dict[str, list[int]] = {name: [] for name in self.maps}
        for index in range(self.plane.count):
            for name, logits in self._sampled(index, tuple(self.maps), _GLANCE):
                if float(logits.max()) > 0:
                    found[name].append(index)
        return {name: tuple(indices) for name, indices in found.items()}

    def on_slice(self, index: int, names: Sequence[str], side: int) -> SliceRegions:
        """The logits of some structures on a slice, `side` pixels along each side of the canvas."""
        by_name = dict(self._sampled(index, names, side))
        return torch.stack([by_name[name] for name in names])

    def _sampled(self, index: int, names: Sequence[str], side: int) -> Iterator[tuple[str, Tensor]]:
        """Structures whose maps share a grid are sampled together."""
        rows, cols = self._rows_cols(side)
        for group in self._grids:
            chosen = [number for number, name in enumerate(group.names) if name in names]
            if chosen:
                cells = self._cells(group.affine, index, rows, cols)
                values = _interpolated(group.logits, chosen, cells)
                yield from zip((group.names[number] for number in chosen), values, strict=True)

    @cached_property
    def _grids(self) -> list["_SharedGrid"]:
        groups: dict[tuple[bytes, tuple[int, ...]], list[str]] = {}
        for name, region in self.maps.items():
            groups.setdefault((region.affine.tobytes(), region.logits.shape), []).append(name)
        return [
            _SharedGrid(
                tuple(names),
                self.maps[names[0]].affine,
                torch.from_numpy(np.stack([self.maps[name].logits for name in names])),
            )
            for names in groups.values()
        ]

    def _rows_cols(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Centres of the mask pixels as rows and columns of a slice; beyond the picture nan."""
        lines = []
        for size, inner in zip(self.canvas.size, self.canvas.inner, strict=True):
            line = (np.arange(side) + 0.5) * (self.canvas.side / side) * (size / inner) - 0.5
            lines.append(np.where(line <= size - 0.5, line, np.nan))
        return lines[0], lines[1]

    def _cells(self, map_affine: Affine, index: int, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Positions on a map's grid, shape (rows, cols, 3)."""
        to_cells = np.linalg.inv(map_affine) @ self.affine @ self._ijk_of_frame
        matrix, offset = to_cells[:3, :3], to_cells[:3, 3]
        at_row = rows[:, None, None] * matrix[:, 1]
        at_col = cols[None, :, None] * matrix[:, 2]
        return at_row + at_col + (index * matrix[:, 0] + offset)

    @cached_property
    def _ijk_of_frame(self) -> Affine:
        """From (slice, row, column) to voxel indices, 4 x 4."""
        corners = self.plane.to_frame(np.concatenate([np.zeros((1, 3)), np.eye(3)]))
        frame_of_ijk = np.eye(4)
        frame_of_ijk[:3, 3] = corners[0]
        frame_of_ijk[:3, :3] = (corners[1:] - corners[0]).T
        return np.linalg.inv(frame_of_ijk)


def _interpolated(stack: Tensor, chosen: list[int], cells: np.ndarray) -> Tensor:
    """Trilinear values (N, rows, cols) of the chosen of (M, I, J, K) at positions (rows, cols, 3)."""
    last = np.array(stack.shape[1:]) - 1
    inside = ((cells >= -_BEYOND_CELLS) & (cells <= last + _BEYOND_CELLS)).all(axis=-1)
    if not inside.any():
        return torch.full((len(chosen), *inside.shape), FAR_OUTSIDE)
    # a slice needs a slab of the grid only
    low = np.clip(np.floor(cells[inside].min(axis=0)), 0, last).astype(int)
    high = np.clip(np.ceil(cells[inside].max(axis=0)), 0, last).astype(int)
    i, j, k = (slice(first, end + 1) for first, end in zip(low, high, strict=True))
    slab = stack[:, i, j, k][chosen]
    # an axis of one cell has no length to be a fraction of
    fractions = 2 * (np.nan_to_num(cells) - low) / np.maximum(high - low, 1) - 1
    grid = torch.from_numpy(fractions[..., ::-1].astype(np.float32).copy())[None, None]
    sampled = grid_sample(slab[None], grid, mode="bilinear", padding_mode="border", align_corners=True)
    values = sampled[0, :, 0]
    return torch.where(torch.from_numpy(inside), values, torch.full_like(values, FAR_OUTSIDE))
