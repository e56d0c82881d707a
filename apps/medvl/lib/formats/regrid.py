"""Label files on the scan's grid: axes flipped or swapped by another program are turned back, exactly.

Nothing is interpolated: a file whose voxels do not coincide with the scan's is refused with the difference.
"""

from itertools import product
from typing import Protocol, runtime_checkable

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from lib.errors import VolumeError
from lib.formats.array import ScanArray
from lib.geometry import spacing_mm
from lib.shapes import Affine, AnyArray

_TOLERANCE_VOXELS = 0.02
"""What rounding of single-precision headers can do at the far corner of a large oblique scan."""


@runtime_checkable
class Grid(Protocol):
    """Voxels in space: a scan's, or those of a DICOM series."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along i, j and k."""
        ...

    @property
    def affine(self) -> Affine:
        """Voxel centres to millimetres in RAS+."""
        ...


def onto_grid(labels: ScanArray, volume: Grid) -> AnyArray:
    """A file's labels in the scan's voxel order, shape (I, J, K) of the scan.

    A segmentation that covers a part of the scan only, as 3D Slicer may save it, is background outside.

    Raises:
        VolumeError: the voxels do not coincide with the scan's, or are not all of them.
    """
    scan_from_labels = np.linalg.inv(volume.affine) @ labels.affine
    turn = io_orientation(scan_from_labels)
    values = apply_orientation(labels.values, turn)
    scan_from_labels = scan_from_labels @ inv_ornt_aff(turn, labels.values.shape)
    first = np.rint(scan_from_labels[:3, 3]).astype(np.int64)
    _check_coincident(scan_from_labels, first, values.shape, labels, volume)
    is_whole = not first.any() and values.shape == volume.shape
    is_inside = (first >= 0).all() and (first + values.shape <= volume.shape).all()
    if not (is_whole or (labels.may_be_part and is_inside)):
        raise VolumeError(
            f"The label file does not fit the scan: its {values.shape} voxels begin at the scan's voxel "
            f"{first.tolist()}, and the scan has {volume.shape}; export the labels with the scan "
            "as reference geometry."
        )
    on_scan = np.zeros(volume.shape, dtype=values.dtype)
    on_scan[tuple(slice(low, low + size) for low, size in zip(first, values.shape, strict=True))] = values
    return on_scan


def _check_coincident(
    scan_from_labels: np.ndarray,
    first: np.ndarray,
    shape: tuple[int, ...],
    labels: ScanArray,
    volume: Grid,
) -> None:
    """Compare at the eight corners, where a difference in scale or angle is largest."""
    corners = np.array(list(product(*((0, size - 1) for size in shape))), dtype=np.float64)
    expected = corners + first
    found = corners @ scan_from_labels[:3, :3].T + scan_from_labels[:3, 3]
    off_voxels = float(np.abs(found - expected).max())
    if off_voxels > _TOLERANCE_VOXELS:
        raise VolumeError(
            f"The label file is not on the scan's grid: its voxels are up to {off_voxels:.2f} voxels off the "
            f"scan's (shape {labels.values.shape}, spacing {_rounded(spacing_mm(labels.affine))} mm; the "
            f"scan has {volume.shape}, {_rounded(spacing_mm(volume.affine))} mm); export the labels with the "
            "scan as reference geometry."
        )


def _rounded(numbers: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(number, 4) for number in numbers)
