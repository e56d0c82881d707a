"""What a click or a box is worth without the model, and the model without propagation; scored beside it.

* `confidence_connected`: what region growing, as every viewer has it, makes of the first click.
* `box_oracle`: the model, given the reference's tight box on every slice and no propagation; what is
  missing to 1 is the model's failure to see within a slice, what is missing to this is propagation's.

What is said of a `blank` scan is worth nothing either.
"""

import numpy as np
import SimpleITK as sitk

from lib.prompt import Prompt
from lib.shapes import Affine, BinaryMask
from lib.train.clicks import slice_boxes
from lib.volume import Volume

_AIR_HU = -1000
CONFIDENCE_CONNECTED = "confidence_connected"
BOX_ORACLE = "box_oracle"

MULTIPLIER = 2.0
"""Standard deviations around the mean that still belong to the region."""
ITERATIONS = 2
"""How often mean and deviation are taken again, from the region grown so far."""
RADIUS_VOXELS = 2
"""The first mean and deviation are those of the cube of 5 x 5 x 5 voxels around the click."""


def confidence_connected(volume: Volume, seed_ijk: tuple[int, int, int]) -> BinaryMask:
    """Grows one click by SimpleITK's ConfidenceConnected filter, with fixed parameters and no smoothing.

    Args:
        volume: the scan; of a colour picture the mean of the channels is used.
        seed_ijk: the click, in voxels.
    """
    grey = volume.voxels.mean(axis=0, dtype=np.float32)
    # SimpleITK reads an array's axes from the last to the first.
    grown = sitk.ConfidenceConnected(
        sitk.GetImageFromArray(grey), [seed_ijk[::-1]], ITERATIONS, MULTIPLIER, RADIUS_VOXELS, 1
    )
    return sitk.GetArrayFromImage(grown).astype(bool)


def box_oracle_prompt(reference: BinaryMask, affine: Affine, axis: int) -> Prompt:
    """The tight box on every slice that shows the object, for a segmentation without propagation."""
    return Prompt(boxes=slice_boxes(reference, affine, axis))


def blank(volume: Volume) -> Volume:
    """A scan of the same size that shows nothing but air."""
    return Volume(np.full_like(volume.voxels, _AIR_HU), volume.affine, volume.modality)
