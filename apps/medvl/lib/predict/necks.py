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


def without_necks(
    frames: BinaryMask, pixel_mm: tuple[float, float], spacing_mm: float, neck_mm: float = NECK_MM
) -> BinaryMask:
    """An organ without the thick parts that are joined to its largest one by thin necks only.

    Args:
        frames: the organ, slices first (D, H, W).
        pixel_mm: size of a pixel.
        spacing_mm: from slice to slice.
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
    nearest = ndimage.distance_transform_edt(
        ~cores, sampling=(spacing_mm, *pixel_mm), return_distances=False, return_indices=True
    )
    return np.asarray(frames & kept[labelled[tuple(nearest)]])


def _core(frame: SliceMask, pixel_mm: tuple[float, float], depth_mm: float) -> SliceMask:
    """Pixels that lie deeper than this in a slice's part of the organ."""
    depth = ndimage.distance_transform_edt(np.pad(frame, 1), sampling=pixel_mm)[1:-1, 1:-1]
    return np.asarray(depth > depth_mm)
