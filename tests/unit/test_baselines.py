"""Region growing from a click, and the boxes that the model gets slice by slice."""

import numpy as np
import pytest

from lib.train.baselines import box_oracle_prompt, confidence_connected
from lib.train.metrics import dice
from lib.volume import Modality, Volume


def scan_with_block(shape, low, high, rng, channels=1):
    """A block of 60 HU in 0 HU, noise of 5 HU, and a slab of the same value that does not touch it."""
    block = np.zeros(shape, dtype=bool)
    block[tuple(slice(first, last) for first, last in zip(low, high, strict=True))] = True
    values = 60.0 * block + rng.normal(0, 5, shape)
    values[:3] = 60
    voxels = np.repeat(values[None], channels, axis=0).astype(np.float32)
    return Volume(voxels, np.diag([0.7, 1.3, 4.0, 1.0]), Modality.CT), block


@pytest.mark.parametrize("channels", [1, 3])
def test_a_click_grows_over_its_object_and_not_over_the_next(rng, channels):
    volume, block = scan_with_block((50, 40, 12), (10, 8, 3), (30, 32, 9), rng, channels)
    grown = confidence_connected(volume, (20, 20, 5))
    assert dice(block, grown) > 0.9
    assert not grown[:3].any()


def test_the_click_is_taken_in_voxel_order_not_reversed(rng):
    """A scan of three different lengths, so that a reversed index would lie outside or elsewhere."""
    volume, _ = scan_with_block((50, 40, 12), (10, 8, 3), (30, 32, 9), rng)
    grown = confidence_connected(volume, (45, 3, 1))
    assert grown[45, 3, 1]
    assert not grown[20, 20, 5]


def test_a_picture_of_one_slice_can_be_grown(rng):
    volume, block = scan_with_block((50, 40, 1), (10, 8, 0), (30, 32, 1), rng, channels=3)
    assert dice(block, confidence_connected(volume, (20, 20, 0))) > 0.9


def test_the_oracle_boxes_every_slice_of_the_object_and_says_nothing_else(rng):
    volume, block = scan_with_block((50, 40, 12), (10, 8, 3), (30, 32, 9), rng)
    prompt = box_oracle_prompt(block, volume.affine, axis=2)
    assert len(prompt.boxes) == 6
    assert len(prompt.clicks) == 0
    assert prompt.earlier is None
    low, high = prompt.boxes[0].bounds_ijk(volume.affine)
    assert (low.tolist(), high.tolist()) == ([10, 8, 3], [29, 31, 3])
