"""Where the slices of a DICOM series lie: their order and one affine for all (PS3.3 C.7.6.2).

DICOM's world is LPS+; it is turned to RAS+ here.
"""

import numpy as np
import pydicom

from lib.errors import VolumeError
from lib.geometry import LPS_FROM_RAS, checked_affine
from lib.shapes import Affine

_ANGLE_TOLERANCE = 1e-3
"""Of direction cosines, which some scanners write with four decimals."""
_SPACING_TOLERANCE = 1e-3
"""Of pixel spacing, relative."""


def order_and_affine(headers: list[pydicom.Dataset]) -> tuple[list[int], Affine]:
    """The slices' order along their normal, and voxel centres (column, row, slice) to RAS+ millimetres.

    A gantry tilt, where slices are shifted sideways evenly, gives a sheared affine.

    Raises:
        VolumeError: positions or spacing missing, slices of several orientations, twice the same place, or
            gaps.
    """
    if len(headers) > 1:
        order, positions = _sorted_positions(headers)
        _check_even(positions[order], _normal(headers))
    return order_and_mean_affine(headers)


def order_and_mean_affine(headers: list[pydicom.Dataset]) -> tuple[list[int], Affine]:
    """As `order_and_affine`, and for slices that are unevenly apart, whose mean step the affine then has.

    Such an affine numbers the voxels of the series; it does not say where those of a slice lie.

    Raises:
        VolumeError: positions or spacing missing, slices of several orientations, or twice the same place.
    """
    row, column, spacing = _plane(headers)
    if len(headers) == 1:
        order = [0]
        positions = np.array([_numbers(headers[0], "ImagePositionPatient") or (0.0, 0.0, 0.0)])
        step = np.cross(row, column) * _thickness_mm(headers[0])
    else:
        order, positions = _sorted_positions(headers)
        positions = positions[order]
        _check_apart(positions, np.cross(row, column))
        # Over the whole length, so that rounded positions do not add up
        step = (positions[-1] - positions[0]) / (len(positions) - 1)
    lps = np.eye(4)
    lps[:3, :3] = np.stack([row * spacing[1], column * spacing[0], step], axis=1)
    lps[:3, 3] = positions[0]
    return order, checked_affine(LPS_FROM_RAS @ lps, "The DICOM series")


def _plane(headers: list[pydicom.Dataset]) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Direction of a row (growing column index) and of a column, unit length, and spacing (row, column)."""
    axes = np.array([_orientation(header, required=len(headers) > 1) for header in headers])
    spacings = np.array([_pixel_spacing(header, required=len(headers) > 1) for header in headers])
    if np.abs(axes - axes[0]).max() > _ANGLE_TOLERANCE:
        raise VolumeError(
            "The slices of the series have several orientations (a localizer among them?); a scan needs "
            "parallel slices: give them a folder of their own."
        )
    if not np.allclose(spacings, spacings[0], rtol=_SPACING_TOLERANCE):
        raise VolumeError(
            f"The slices of the series differ in pixel spacing, {spacings.min():.4g} to {spacings.max():.4g} "
            "mm; a scan needs one: split the series."
        )
    row, column = axes[0].reshape(2, 3)
    return row / np.linalg.norm(row), column / np.linalg.norm(column), tuple(spacings[0])


def _normal(headers: list[pydicom.Dataset]) -> np.ndarray:
    row, column, _ = _plane(headers)
    return np.cross(row, column)


def _sorted_positions(headers: list[pydicom.Dataset]) -> tuple[list[int], np.ndarray]:
    """The order of slices along their normal, and their positions as given, shape (N, 3), LPS."""
    positions = np.array([_position(header) for header in headers])
    order = np.argsort(positions @ _normal(headers), kind="stable")
    return [int(index) for index in order], positions


def _check_apart(positions: np.ndarray, normal: np.ndarray) -> None:
    """No two sorted slices may lie at the same place."""
    gaps_mm = np.diff(positions, axis=0) @ normal
    if gaps_mm.min() < 0.01:
        raise VolumeError(
            f"{int((gaps_mm < 0.01).sum())} slices of the series lie where another one does (several time "
            "points or echoes?); give each of them a folder of its own."
        )


def _check_even(positions: np.ndarray, normal: np.ndarray) -> None:
    """Sorted slices must follow each other by one vector."""
    _check_apart(positions, normal)
    steps = np.diff(positions, axis=0)
    gaps_mm = steps @ normal
    usual_mm = float(np.percentile(gaps_mm, 50, method="lower"))
    # Positions are often rounded to a tenth of a millimetre; a missing slice is a whole spacing
    tolerance_mm = max(0.02 * usual_mm, min(0.1, 0.25 * usual_mm))
    uneven = np.flatnonzero(np.abs(gaps_mm - usual_mm) > tolerance_mm)
    if uneven.size:
        raise VolumeError(
            f"Slices are missing or unevenly spaced: {gaps_mm[uneven[0]]:.2f} mm lie between slices "
            f"{uneven[0] + 1} and {uneven[0] + 2}, {usual_mm:.2f} mm between most; send the complete "
            "series or resample it."
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    if np.abs(steps - step).max() > 2 * tolerance_mm:
        raise VolumeError(
            "The slices of the series are shifted sideways unevenly; a scan needs a regular grid."
        )


def _orientation(header: pydicom.Dataset, *, required: bool) -> tuple[float, ...]:
    axes = _numbers(header, "ImageOrientationPatient")
    if axes is None and required:
        raise VolumeError(
            "The slices say nothing about their orientation; a series needs ImageOrientationPatient."
        )
    return axes or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def _position(header: pydicom.Dataset) -> tuple[float, ...]:
    position = _numbers(header, "ImagePositionPatient")
    if position is None:
        raise VolumeError("The slices say nothing about their place; a series needs ImagePositionPatient.")
    return position


def _pixel_spacing(header: pydicom.Dataset, *, required: bool) -> tuple[float, ...]:
    """Between rows and between columns; radiographs give it at the detector, photographs not at all."""
    spacing = _numbers(header, "PixelSpacing") or _numbers(header, "ImagerPixelSpacing")
    if spacing is None and required:
        raise VolumeError("The slices say nothing about their pixel spacing; a series needs PixelSpacing.")
    return spacing or (1.0, 1.0)


def _thickness_mm(header: pydicom.Dataset) -> float:
    """Of a single slice, whose neighbours are unknown."""
    thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1.0
    return abs(float(thickness))


def _numbers(header: pydicom.Dataset, keyword: str) -> tuple[float, ...] | None:
    values = header.get(keyword)
    return tuple(float(value) for value in values) if values else None
