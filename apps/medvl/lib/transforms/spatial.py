"""Slices of a scan as pictures, and pictures on the network's square canvas; each with its way back.

A slice is shown as radiologists see it, whatever the order of the voxel axes in the file: the patient's
right on the left of an axial or coronal slice, anterior or superior on top. The network so sees the same
picture of the same anatomy in all 48 orientations. Pixels are made square by the real spacing, and the
picture sits in the canvas' upper left corner (letter-boxed), as LiteMedSAM was trained.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate

from lib.errors import PromptError
from lib.geometry import spacing_mm, world_axes
from lib.shapes import AnyArray, PointsIjk, SliceLogits, SlicePixels, Voxels


@dataclass(frozen=True)
class SlicePlane:
    """How the slices across one voxel axis are shown.

    Attributes:
        axis: voxel axis across the slices.
        row_axis: voxel axis down a slice.
        col_axis: voxel axis to the right of a slice.
        flip_rows: whether the picture runs against the voxel index.
        flip_cols: the same for columns.
        shape: the scan's size along i, j, k.
        spacing_mm: the scan's voxel spacing along i, j, k.
    """

    axis: int
    row_axis: int
    col_axis: int
    flip_rows: bool
    flip_cols: bool
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @property
    def count(self) -> int:
        """Number of slices."""
        return self.shape[self.axis]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a slice in voxels."""
        return (self.shape[self.row_axis], self.shape[self.col_axis])

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Height and width of a voxel in the slice."""
        return (self.spacing_mm[self.row_axis], self.spacing_mm[self.col_axis])

    def slice_of(self, voxels: Voxels, index: int) -> SlicePixels:
        """One slice of a scan (C, I, J, K) as a picture (C, H, W)."""
        return np.ascontiguousarray(self.frames(voxels)[:, index])

    def frames(self, voxels: AnyArray) -> AnyArray:
        """A view of (..., I, J, K) as (..., D, H, W): slices as pictures."""
        lead = voxels.ndim - 3
        order = (*range(lead), lead + self.axis, lead + self.row_axis, lead + self.col_axis)
        view = voxels.transpose(order)
        if self.flip_rows:
            view = view[..., ::-1, :]
        return view[..., ::-1] if self.flip_cols else view

    def volume_of(self, frames: AnyArray) -> AnyArray:
        """The way back: pictures (D, H, W) to a contiguous volume (I, J, K)."""
        view = frames[..., ::-1] if self.flip_cols else frames
        if self.flip_rows:
            view = view[..., ::-1, :]
        back = np.argsort((self.axis, self.row_axis, self.col_axis))
        return np.ascontiguousarray(view.transpose(tuple(back)))

    def to_frame(self, points_ijk: PointsIjk) -> PointsIjk:
        """Voxel indices (N, 3) to slice, row and column (N, 3); whole numbers are voxel centres."""
        ordered = points_ijk[:, [self.axis, self.row_axis, self.col_axis]].copy()
        height, width = self.size
        if self.flip_rows:
            ordered[:, 1] = height - 1 - ordered[:, 1]
        if self.flip_cols:
            ordered[:, 2] = width - 1 - ordered[:, 2]
        return ordered


def default_axis(affine: np.ndarray) -> int:
    """The voxel axis across the slices of best in-plane resolution: the one with the largest spacing.

    Among equals (within 1 %) the one nearest to superior-inferior, then anterior-posterior.
    """
    spacing = np.array(spacing_mm(affine))
    world = [axis for axis, _ in world_axes(affine)]
    coarsest = [axis for axis in range(3) if spacing[axis] >= 0.99 * spacing.max()]
    return max(coarsest, key=lambda axis: world[axis])


def slice_plane(affine: np.ndarray, shape: tuple[int, int, int], axis: int | None = None) -> SlicePlane:
    """How to show a scan's slices.

    Args:
        affine: voxel to RAS millimetres.
        shape: the scan's size.
        axis: voxel axis across the slices; None for the best in-plane resolution.

    Raises:
        PromptError: an axis other than 0, 1, 2.
    """
    across = (2 if shape[2] == 1 else default_axis(affine)) if axis is None else axis
    if across not in (0, 1, 2):
        raise PromptError(f"Unknown slice axis {across}; allowed are 0, 1, 2 (voxel axes i, j, k).")
    world = world_axes(affine)
    in_plane = [axis for axis in range(3) if axis != across]
    # Columns show right-left if the plane has it, else anterior-posterior: the lower world axis of the two.
    col_axis, row_axis = sorted(in_plane, key=lambda axis: world[axis][0])
    return SlicePlane(
        axis=across,
        row_axis=row_axis,
        col_axis=col_axis,
        # Pictures run from right to left, anterior to posterior, superior to inferior: against RAS+.
        flip_rows=world[row_axis][1] > 0,
        flip_cols=world[col_axis][1] > 0,
        shape=shape,
        spacing_mm=spacing_mm(affine),
    )


@dataclass(frozen=True)
class Canvas:
    """A picture of square pixels in the upper left corner of a square canvas.

    Attributes:
        size: height and width of the slice, in voxels.
        inner: height and width of the picture on the canvas, in canvas pixels.
        side: the canvas' side, in pixels.
    """

    size: tuple[int, int]
    inner: tuple[int, int]
    side: int

    def paint(self, picture: SlicePixels) -> torch.Tensor:
        """A picture (C, H, W), 0 to 1, as (3, side, side); antialiased, black outside."""
        tensor = torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32))[None]
        scaled = interpolate(tensor, size=self.inner, mode="bilinear", align_corners=False, antialias=True)
        canvas = tensor.new_zeros(3, self.side, self.side)
        canvas[:, : self.inner[0], : self.inner[1]] = scaled[0].expand(3, -1, -1)
        return canvas

    def to_px(self, rows_cols: np.ndarray) -> np.ndarray:
        """Rows and columns (N, 2), whole numbers being voxel centres, to (x, y) in canvas pixels.

        A canvas pixel's centre lies at .5, as sam2's prompt encoder has it after its own shift.
        """
        scale = np.array(self.inner) / np.array(self.size)
        return ((rows_cols + 0.5) * scale)[:, ::-1].copy()

    def read(self, logits: torch.Tensor) -> SliceLogits:
        """Logits on the canvas (side', side'), at any resolution, as logits on the slice (H, W)."""
        scale = logits.shape[-1] / self.side
        height, width = (max(1, round(length * scale)) for length in self.inner)
        crop = logits[None, None, :height, :width].float()
        on_slice = interpolate(crop, size=self.size, mode="bilinear", align_corners=False)
        return on_slice[0, 0].cpu().numpy()

    def paint_logits(self, logits: SliceLogits) -> torch.Tensor:
        """Logits on the slice (H, W) as (side, side); far outside of the object beyond the picture."""
        tensor = torch.from_numpy(np.ascontiguousarray(logits, dtype=np.float32))[None, None]
        scaled = interpolate(tensor, size=self.inner, mode="bilinear", align_corners=False, antialias=True)
        canvas = tensor.new_full((self.side, self.side), float(tensor.min()))
        canvas[: self.inner[0], : self.inner[1]] = scaled[0, 0]
        return canvas


def fit_canvas(plane: SlicePlane, side: int) -> Canvas:
    """The largest picture of square pixels that fits a canvas of `side` pixels."""
    (height, width), (row_mm, col_mm) = plane.size, plane.pixel_mm
    scale = side / max(height * row_mm, width * col_mm)
    inner = (max(1, round(height * row_mm * scale)), max(1, round(width * col_mm * scale)))
    return Canvas(size=(height, width), inner=inner, side=side)
