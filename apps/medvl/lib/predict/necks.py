"""Organs that are one compact piece, without what hangs on them by a thin neck.

The decoder sometimes draws a neighbour too, a bowel loop full of contrast medium beside a kidney, joined to
the organ where the two touch. On a slice, the organ is thick and the joint is thin.
"""

import numpy as np
from scipy import ndimage

from lib.shapes import BinaryMask, SliceMask

COMPACT = ("kidney_left", "kidney_right", "spleen", "liver", "urinary_bladder", "heart")
"""Organs without thin parts."""
NECK_MM = 10.0
"""What is thinner than this joins nothing."""
_LEAST_SHARE = 0.5
"""Thick parts of this share of the largest are the organ too: in a slab, a kidney may be in two pieces."""


def without_necks(frames: BinaryMask, pixel_mm: tuple[float, float], neck_mm: float = NECK_MM) -> BinaryMask:
    """An organ without the thick parts that are joined to its largest one by thin necks only.

    Args:
        frames: the organ, slices first (D, H, W).
        pixel_mm: size of a pixel.
        neck_mm: necks that are thinner are cut.
    """
    cores = np.stack([_core(frame, pixel_mm, neck_mm / 2) for frame in frames])
    labelled, count = ndimage.label(cores)
    if count < 2:
        return frames
    sizes = np.bincount(labelled.ravel())
    sizes[0] = 0
    kept = sizes >= _LEAST_SHARE * sizes.max()
    if kept[1:].all():
        return frames
    left = frames.copy()
    for index in np.flatnonzero((cores & ~kept[labelled]).any(axis=(1, 2))):
        left[index] &= kept[labelled[index][_nearest(cores[index], pixel_mm)]]
    return _joined_to(left, cores & kept[labelled])


def _joined_to(frames: BinaryMask, cores: BinaryMask) -> BinaryMask:
    """The connected parts that hold a core: the thin ends of what was cut off hold none."""
    parts, _ = ndimage.label(frames)
    holds = np.zeros(parts.max() + 1, dtype=bool)
    holds[np.unique(parts[cores])] = True
    return np.asarray(holds[parts] & frames)


def _nearest(core: SliceMask, pixel_mm: tuple[float, float]) -> tuple[np.ndarray, ...]:
    """Row and column of the core's pixel that is nearest to each pixel of a slice."""
    found = ndimage.distance_transform_edt(
        ~core, sampling=pixel_mm, return_distances=False, return_indices=True
    )
    return tuple(found)


def _core(frame: SliceMask, pixel_mm: tuple[float, float], depth_mm: float) -> SliceMask:
    """Pixels that lie deeper than this in a slice's part of the organ."""
    depth = ndimage.distance_transform_edt(np.pad(frame, 1), sampling=pixel_mm)[1:-1, 1:-1]
    return np.asarray(depth > depth_mm)
