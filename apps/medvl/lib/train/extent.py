"""Where a mask is."""

import numpy as np

from lib.shapes import BinaryMask


def extent(mask: BinaryMask) -> tuple[slice, slice, slice]:
    """The tight window around the voxels that are set; the mask must not be empty."""
    i, j, k = (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return (
        slice(int(i[0]), int(i[-1]) + 1),
        slice(int(j[0]), int(j[-1]) + 1),
        slice(int(k[0]), int(k[-1]) + 1),
    )
