"""Perturbed pictures, and masks brought back from them."""

import numpy as np
import pytest

from lib.transforms.perturb import Perturbation, perturbed, restored
from lib.volume import Modality, Volume

CHANGES = [
    Perturbation(mirrored=True),
    Perturbation(part=(0.25, 0.1, 0.9, 0.7)),
    Perturbation(mirrored=True, part=(0.0, 0.5, 0.33, 1.0)),
    Perturbation(gamma=0.7, tint=(1.1, 0.9, 1.0)),
]


@pytest.fixture
def picture(rng):
    return Volume(rng.integers(0, 255, (3, 41, 30, 1)).astype(np.uint8), np.eye(4), Modality.DISPLAY)


@pytest.mark.parametrize("change", CHANGES)
def test_a_mask_drawn_on_a_changed_picture_comes_back_to_its_pixels(picture, change):
    number = np.arange(41 * 30, dtype=np.float64).reshape(1, 41, 30, 1)
    seen = perturbed(Volume(number, np.eye(4), Modality.MR), Perturbation(change.mirrored, change.part))
    back = restored(seen.voxels[0, :, :, 0], change, (41, 30), float("nan"))
    shown = np.isfinite(back)
    assert np.array_equal(back[shown], number[0, :, :, 0][shown])
    assert shown.sum() == seen.voxels[0].size


def test_no_change_gives_the_picture_itself(picture):
    assert perturbed(picture, Perturbation()) is picture


def test_intensities_stay_in_the_range_that_is_shown(picture):
    seen = perturbed(picture, Perturbation(gamma=0.5, tint=(1.5, 1.5, 1.5)))
    assert seen.voxels.min() >= 0
    assert seen.voxels.max() <= 255
    assert seen.voxels.mean() > picture.voxels.mean()


def test_the_smallest_part_still_has_a_pixel(picture):
    assert perturbed(picture, Perturbation(part=(0.999, 0.999, 1.0, 1.0))).shape == (1, 1, 1)
