"""A part of a CT as a volume encoder reads it: along the patient's axes, on a fixed spacing, from 0 to 1.

Voxels are interpolated linearly, without smoothing, and air is added where the scan ends, as Merlin's own
preparation does (Orientation RAS, Spacing, ScaleIntensityRange, SpatialPad, CenterSpatialCrop).
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from lib.shapes import Affine, AnyArray, PatchVoxels
from lib.volume import Volume


@dataclass(frozen=True)
class PatchSpec:
    """How a patch is prepared.

    Attributes:
        spacing_mm: of its voxels, along right, anterior and superior.
        hu_range: what becomes 0 and 1.
        most_ijk: it has at most so many voxels.
        multiple_ijk: and a multiple of these; `most_ijk` must be one too.
    """

    spacing_mm: tuple[float, float, float]
    hu_range: tuple[float, float]
    most_ijk: tuple[int, int, int]
    multiple_ijk: tuple[int, int, int] = (1, 1, 1)


@dataclass(frozen=True, eq=False)
class VolumePatch:
    """A part of a scan.

    Attributes:
        voxels: from 0 to 1, shape (I, J, K) along right, anterior and superior.
        affine: its voxels to RAS+ millimetres.
    """

    voxels: PatchVoxels
    affine: Affine


def volume_patch(
    volume: Volume, spec: PatchSpec, centre_mm: tuple[float, float, float] | None = None
) -> VolumePatch:
    """The part of a scan around a point, no larger than the scan needs.

    Args:
        volume: a CT.
        spec: how it is prepared.
        centre_mm: middle of the patch, RAS+; None: the middle of the scan.
    """
    low, high = _extent_mm(volume)
    middle = (low + high) / 2 if centre_mm is None else np.array(centre_mm, dtype=np.float64)
    spacing = np.array(spec.spacing_mm)
    # round first: 27.000000001 voxels are 27
    wanted = np.ceil(np.round(2 * np.maximum(high - middle, middle - low) / spacing, 3)).astype(int) + 1
    multiple = np.array(spec.multiple_ijk)
    shape = np.minimum(-(-wanted // multiple) * multiple, spec.most_ijk)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = middle - spacing * (shape - 1) / 2
    hu = _sampled(volume, affine, tuple(int(size) for size in shape), spec.hu_range[0])
    lowest, highest = spec.hu_range
    shown = np.clip((hu - lowest) / (highest - lowest), 0, 1)
    return VolumePatch(torch.from_numpy(shown.astype(np.float32)), affine)


def _extent_mm(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest position of a voxel's centre along each of the patient's axes."""
    ends = np.stack(np.meshgrid(*[(0, size - 1) for size in volume.shape], indexing="ij"), axis=-1)
    corners = ends.reshape(-1, 3) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return corners.min(axis=0), corners.max(axis=0)


def _sampled(volume: Volume, affine: Affine, shape: tuple[int, ...], outside_hu: float) -> AnyArray:
    matrix = np.linalg.inv(volume.affine) @ affine
    return ndimage.affine_transform(
        volume.voxels[0].astype(np.float32, copy=False),
        matrix[:3, :3],
        matrix[:3, 3],
        output_shape=shape,
        order=1,
        mode="constant",
        cval=outside_hu,
    )
