"""Whether there is a patient's CT to report on at all."""

import numpy as np

from lib.volume import Modality, Volume

_LEAST_RANGE_HU = 60.0
"""Between what is darker and what is brighter than nearly everything; air and tissue differ by far more."""
_LEAST_CORRELATION = 0.35
"""Of neighbouring voxels; that of patients is above 0.8, that of noise about 0."""
_LEAST_PEAKEDNESS = 8.0
"""Kurtosis of the differences between neighbours, along the axis with the highest. Patients are even within
organs and change at their borders: 19 to 400 on 24 CTs. Noise, smoothed or not, changes everywhere alike: 3
to 5."""
_SAMPLED_SLICES = 9
_LEAST_VOXELS = 8
"""Along at least two axes."""


def why_not_assessable(volume: Volume) -> str | None:
    """One sentence, or None where a report can be tried.

    Args:
        volume: any scan or picture.
    """
    if volume.modality is not Modality.CT or volume.voxels.shape[0] != 1:
        return "it is not a CT in Hounsfield units"
    if sorted(volume.shape)[1] < _LEAST_VOXELS:
        return "it is too small to show anything"
    hu = _sample(volume)
    low, high = np.percentile(hu, (0.5, 99.5))
    if high - low < _LEAST_RANGE_HU:
        return "it is blank"
    if max(_correlation(hu, axis) for axis in range(3)) < _LEAST_CORRELATION:
        return "it is noise"
    if max(_peakedness(hu, axis) for axis in range(3)) < _LEAST_PEAKEDNESS:
        return "it is noise without borders of organs"
    return None


def _sample(volume: Volume) -> np.ndarray:
    """Whole slices spread along the axis with the fewest of them, float64."""
    axis = int(np.argmin(volume.shape))
    count = min(volume.shape[axis], _SAMPLED_SLICES)
    numbers = np.unique(np.linspace(0, volume.shape[axis] - 1, count).astype(int))
    return np.take(volume.voxels[0], numbers, axis=axis).astype(np.float64)


def _correlation(hu: np.ndarray, axis: int) -> float:
    """Of voxels with their neighbours along an axis; 0 where there are none, or nothing varies."""
    if hu.shape[axis] < _LEAST_VOXELS:
        return 0.0
    size = hu.shape[axis]
    first = np.take(hu, range(size - 1), axis=axis).ravel()
    second = np.take(hu, range(1, size), axis=axis).ravel()
    first, second = first - first.mean(), second - second.mean()
    spread = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / spread if spread > 0 else 0.0


def _peakedness(hu: np.ndarray, axis: int) -> float:
    """Kurtosis of the differences between neighbours along an axis: 3 for normal ones, 0 for none."""
    if hu.shape[axis] < _LEAST_VOXELS:
        return 0.0
    steps = np.diff(hu, axis=axis).ravel()
    squared = (steps - steps.mean()) ** 2
    mean = float(squared.mean())
    return float((squared**2).mean()) / mean**2 if mean > 0 else 0.0
