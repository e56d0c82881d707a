"""A denied voxel that is visibly something else takes its kind along: bone in a tumour of soft tissue."""

import numpy as np
from scipy import ndimage

from lib.predict.clicks import component_at, occupied
from lib.predict.plan import FrameClick
from lib.predict.scan import EmbeddedScan
from lib.shapes import BinaryMask

DISTINCT = 4.0
"""Robust standard deviations of the mask's brightness, from which a denied voxel is something else."""
LEAST_DIFFERENCE = 0.2
"""And so much of the window's range at least: 80 HU in soft tissue."""
MOST = 0.3
"""Of the mask: what would take more is no foreign body in it."""
_SMOOTH_PX = 0.8
_MAD_TO_SD = 1.4826


def carved(scan: EmbeddedScan, frames: BinaryMask, click: FrameClick) -> BinaryMask | None:
    """A mask without what is as bright as a denied voxel and connected with it, on all slices.

    Args:
        scan: the scan.
        frames: the mask as slices (D, H, W), holding the click.
        click: a negative one.

    Returns:
        A new mask, or None where the voxel looks as the rest of the mask does.
    """
    box = occupied(frames)
    inside = frames[box]
    shown = scan.plane.frames(scan.volume.voxels).mean(axis=0)[box]
    bright = scan.window.apply(shown)
    bright = np.stack([ndimage.gaussian_filter(picture, _SMOOTH_PX) for picture in bright])
    at = tuple(
        index - part.start for index, part in zip((click.index, click.row, click.col), box, strict=True)
    )
    middle = float(np.median(bright[inside]))
    spread = _MAD_TO_SD * float(np.median(np.abs(bright[inside] - middle)))
    difference = float(bright[at]) - middle
    if abs(difference) < max(DISTINCT * spread, LEAST_DIFFERENCE):
        return None
    side = np.sign(difference)
    kind = inside & (side * (bright - middle) > abs(difference) / 2)
    foreign = component_at(kind, at)
    # the voxels at its edge are a mixture of both
    edge = ndimage.binary_dilation(foreign, ndimage.generate_binary_structure(2, 1)[None]) & inside
    if np.count_nonzero(edge) > MOST * np.count_nonzero(inside):
        return None
    kept = frames.copy()
    kept[box] = inside & ~edge
    return kept
