"""Intensity windows by modality."""

import numpy as np
import pytest

from lib.errors import PromptError
from lib.transforms.intensity import CT_WINDOWS, choose_window
from lib.volume import Modality, Volume


def volume(values, modality):
    return Volume(np.asarray(values, dtype=np.float32).reshape(1, -1, 1, 1), np.eye(4), modality)


def test_soft_tissue_is_grey_air_black_and_bone_white_in_a_ct():
    window = choose_window(volume([-1000, 40, 1000], Modality.CT), None)
    np.testing.assert_allclose(window.apply(np.array([[[-1000.0, 40.0, 1000.0]]])), [[[0.0, 0.5, 1.0]]])


def test_an_outlier_does_not_darken_a_magnetic_resonance_image(rng):
    values = np.append(rng.uniform(100, 200, 9999), 1e6)
    window = choose_window(volume(values, Modality.MR), None)
    assert window.low == pytest.approx(100, abs=2)
    assert window.high == pytest.approx(200, abs=2)


def test_a_window_can_follow_a_cts_own_contrast_without_its_air(rng):
    values = np.concatenate([np.full(5000, -1000.0), rng.uniform(20, 120, 9999)])
    window = choose_window(volume(values, Modality.CT), "data")
    assert (window.low, window.high) == (pytest.approx(20, abs=2), pytest.approx(120, abs=2))


def test_pictures_are_shown_as_they_are():
    window = choose_window(volume([30, 90], Modality.DISPLAY), None)
    assert (window.low, window.high) == (0.0, 255.0)


def test_a_constant_image_has_a_window_all_the_same():
    window = choose_window(volume([7, 7, 7], Modality.MR), None)
    assert np.isfinite(window.apply(np.full((1, 1, 1), 7.0))).all()


def test_an_unknown_window_is_refused_with_the_names_that_exist():
    with pytest.raises(PromptError, match="soft_tissue, lung, bone"):
        choose_window(volume([0], Modality.CT), "abdomen")


def test_a_ct_window_is_refused_for_other_images():
    with pytest.raises(PromptError, match="this scan is mr"):
        choose_window(volume([1, 2], Modality.MR), "lung")


def test_windows_that_differ_never_share_an_embedding():
    assert len({window.key for window in CT_WINDOWS.values()}) == len(CT_WINDOWS)
