"""Intensity windows: which range of voxel values becomes black to white.

CT windows are given as level and width in HU, as a radiologist sets them.
"""

from dataclasses import dataclass

import numpy as np

from lib.errors import PromptError
from lib.shapes import SlicePixels, Voxels
from lib.volume import Modality, Volume

MR_PERCENTILES = (0.5, 99.5)
"""Of the voxels above zero, as MedSAM's preprocessing of images without a fixed scale (Ma et al. 2024)."""
_MAX_SAMPLES = 2_000_000


@dataclass(frozen=True)
class Window:
    """Values from `low` to `high` are shown from black to white.

    Attributes:
        name: a preset's name, or how it was found; part of the embedding cache's key.
        low: shown black, in the scan's own unit (HU for CT).
        high: shown white.
    """

    name: str
    low: float
    high: float

    @property
    def key(self) -> str:
        """Identifies the window in caches."""
        return f"{self.name}:{self.low:.6g}:{self.high:.6g}"

    def apply(self, values: SlicePixels) -> np.ndarray:
        """Scale to 0 to 1, clipped, float32."""
        scaled = (values.astype(np.float32) - np.float32(self.low)) / np.float32(self.high - self.low)
        return np.clip(scaled, 0.0, 1.0)


def _from_level_width(name: str, level_hu: float, width_hu: float) -> Window:
    return Window(name, level_hu - width_hu / 2, level_hu + width_hu / 2)


CT_WINDOWS = {
    window.name: window
    for window in (
        _from_level_width("soft_tissue", 40.0, 400.0),
        _from_level_width("lung", -600.0, 1500.0),
        _from_level_width("bone", 400.0, 1800.0),
        _from_level_width("brain", 40.0, 80.0),
        _from_level_width("mediastinum", 40.0, 350.0),
        _from_level_width("liver", 60.0, 160.0),
    )
}
"""Presets for CT, level and width in HU."""
FROM_DATA = "data"
"""The window that follows from the scan's own values, for any modality."""
WINDOW_NAMES = (*CT_WINDOWS, FROM_DATA)
_AIR_HU = -500
"""Below lies air around and inside of the body, which says nothing about contrast."""


def choose_window(volume: Volume, name: str | None) -> Window:
    """The window to show a scan in.

    Args:
        volume: the scan.
        name: a CT preset, or `data` for percentiles of the scan's own values; None: soft tissue for CT,
            percentiles for MR, 0 to 255 for display values.

    Raises:
        PromptError: an unknown window, or a preset for a scan that is not CT.
    """
    if name is None:
        return _default_window(volume)
    if name == FROM_DATA:
        return _window_from_data(volume)
    if name not in CT_WINDOWS:
        raise PromptError(f"Unknown window {name[:40]!r}; allowed are {', '.join(WINDOW_NAMES)}.")
    if volume.modality is not Modality.CT:
        raise PromptError(f"Window {name!r} is for CT; this scan is {volume.modality.value}: leave it out.")
    return CT_WINDOWS[name]


def _default_window(volume: Volume) -> Window:
    if volume.modality is Modality.CT:
        return CT_WINDOWS["soft_tissue"]
    if volume.modality is Modality.DISPLAY:
        return Window("display", 0.0, 255.0)
    return _window_from_data(volume)


def _window_from_data(volume: Volume) -> Window:
    return percentile_window(volume.voxels, above=_AIR_HU if volume.modality is Modality.CT else 0)


def percentile_window(voxels: Voxels, above: int) -> Window:
    """The range between the 0.5th and 99.5th percentile of the values above a bound (of all, if none is).

    Args:
        voxels: shape (C, I, J, K).
        above: values up to this one do not count.
    """
    stride = max(1, voxels.size // _MAX_SAMPLES)
    sample = voxels.reshape(-1)[::stride]
    counted = sample[sample > above]
    low, high = np.percentile(counted if counted.size else sample, MR_PERCENTILES)
    if high <= low:
        high = low + 1.0
    return Window("percentile", float(low), float(high))
