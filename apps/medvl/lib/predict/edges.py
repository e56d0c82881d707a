"""How much of a mask's edge can be seen: where nothing can be seen, the course of a mask is no evidence."""

import numpy as np
from scipy import ndimage

from lib.predict.scan import EmbeddedScan
from lib.shapes import BinaryMask, SliceMask

CLEAR_PER_MM = 0.02
"""Change across the edge, of the window's range, from which an edge is seen: 8 HU per mm in soft tissue."""
_SMOOTH_MM = 1.0
_PAD = 6
_LOOKED_AT = 9
"""Slices on which the edge is looked at."""
_SMALLEST = 20
"""Pixels below which a slice's mask has no edge to speak of."""


def clear_share(scan: EmbeddedScan, frames: BinaryMask) -> float:
    """Share of a mask's edge at which the picture changes across it, 0 to 1; mean over a few slices.

    Args:
        scan: the scan.
        frames: the mask as slices (D, H, W).

    Returns:
        The share; 1 where the mask is too small to tell.
    """
    shown = np.flatnonzero(frames.sum(axis=(1, 2)) >= _SMALLEST)
    looked_at = shown[:: max(1, len(shown) // _LOOKED_AT)]
    shares = [_on_slice(scan, int(index), frames[index]) for index in looked_at]
    return float(np.mean(shares)) if shares else 1.0


def _on_slice(scan: EmbeddedScan, index: int, mask: SliceMask) -> float:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = tuple(slice(max(0, int(line[0]) - _PAD), int(line[-1]) + _PAD + 1) for line in (rows, cols))
    picture = scan.window.apply(scan.plane.slice_of(scan.volume.voxels, index)).mean(axis=0)[box]
    inside, (row_mm, col_mm) = mask[box], scan.plane.pixel_mm
    depth = ndimage.distance_transform_edt(inside, sampling=(row_mm, col_mm))
    depth -= ndimage.distance_transform_edt(~inside, sampling=(row_mm, col_mm))
    smooth = ndimage.gaussian_filter(picture, (_SMOOTH_MM / row_mm, _SMOOTH_MM / col_mm))
    slopes = zip(np.gradient(smooth, row_mm, col_mm), np.gradient(depth, row_mm, col_mm), strict=True)
    across = sum(of_picture * normal for of_picture, normal in slopes)
    edge = np.abs(depth) <= max(row_mm, col_mm)
    return float(np.mean(np.abs(across[edge]) > CLEAR_PER_MM))
