"""A simulated user on one slice: boxes, clicks and scribbles in canvas pixels, careful and careless ones.

The evaluation's user (`lib.train.clicks`) works in 3D and always clicks in the thickest part of a mistake.
Here half of the clicks fall anywhere in the thicker half of the mistake, as people's do.
"""

import numpy as np
from scipy import ndimage

from lib.shapes import BoxPx, PointsPx, SliceMask

LOOSEST_BOX_PX = 5.0
"""LiteMedSAM was trained with boxes enlarged by up to so much on each side."""
_CARELESS = 0.5
"""Share of clicks that do not fall into the thickest part."""


def box_of(mask: SliceMask) -> BoxPx:
    """The edges of the smallest box around a mask that is not empty: x0, y0, x1, y1."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1], dtype=np.float64)


def loosened(box: BoxPx, rng: np.random.Generator, side: int, most_px: float = LOOSEST_BOX_PX) -> BoxPx:
    """A box enlarged on each side at random, within the canvas."""
    grown = box + rng.uniform(0, most_px, size=4) * np.array([-1, -1, 1, 1])
    return np.clip(grown, 0.0, float(side))


def click_in(region: SliceMask, rng: np.random.Generator) -> PointsPx:
    """One click (1, 2) as (x, y), in the region's thickest part or anywhere in its thicker half."""
    distance = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    least = distance.max() / 2 if rng.random() < _CARELESS else distance.max()
    row, col = rng.choice(np.argwhere(distance >= least))
    return np.array([[col + 0.5, row + 0.5]])


def correction(target: SliceMask, drawn: SliceMask, rng: np.random.Generator) -> tuple[PointsPx, bool] | None:
    """The next click into the largest mistake and whether it is on the object; None if nothing is wrong."""
    labelled, count = ndimage.label(target != drawn, structure=np.ones((3, 3)))
    if not count:
        return None
    sizes = np.bincount(labelled.ravel())
    sizes[0] = 0
    point = click_in(labelled == sizes.argmax(), rng)
    return point, bool(target[int(point[0, 1]), int(point[0, 0])])


def scribble_in(mask: SliceMask, count: int, rng: np.random.Generator) -> PointsPx:
    """Points (count, 2) along a stroke between two pixels of a mask, moved onto the mask where it leaves."""
    pixels = np.argwhere(mask)
    start, end = rng.choice(pixels, size=2)
    line = np.rint(np.linspace(start, end, count)).astype(int)
    _, nearest = ndimage.distance_transform_edt(~mask, return_indices=True)
    on_mask = nearest[:, line[:, 0], line[:, 1]].T
    return on_mask[:, ::-1] + 0.5


def worn(mask: SliceMask, rng: np.random.Generator) -> SliceMask:
    """A mask as an imperfect step before could have left it: moved, thinner, thicker or cut; never empty."""
    kind = rng.integers(4)
    if kind == 0:
        changed = np.roll(mask, rng.integers(-4, 5, size=2), axis=(0, 1))
    elif kind == 1:
        changed = ndimage.binary_erosion(mask, iterations=int(rng.integers(1, 4)))
    elif kind == 2:
        changed = ndimage.binary_dilation(mask, iterations=int(rng.integers(1, 4)))
    else:
        changed = mask & _half_plane(mask, rng)
    return changed if changed.any() else mask


def _half_plane(mask: SliceMask, rng: np.random.Generator) -> SliceMask:
    """Pixels on one side of a line through a pixel of the mask."""
    row, col = rng.choice(np.argwhere(mask))
    angle = rng.uniform(0, 2 * np.pi)
    rows, cols = np.indices(mask.shape)
    return (rows - row) * np.sin(angle) + (cols - col) * np.cos(angle) >= 0
