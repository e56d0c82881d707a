"""The simulated user of training: what it gives is on the object, on the canvas, and where the mistake is."""

import numpy as np
import pytest

from lib.train.slice_prompts import box_of, click_in, correction, loosened, scribble_in, worn

SIDE = 64
SEEDS = range(20)


def ring() -> np.ndarray:
    rows, cols = np.indices((SIDE, SIDE))
    radius = np.hypot(rows - 30, cols - 24)
    return (radius < 18) & (radius > 11)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_click_lies_on_a_ring_and_not_in_its_hole(seed):
    ((x, y),) = click_in(ring(), np.random.default_rng(seed))
    assert ring()[int(y), int(x)]
    assert (x % 1, y % 1) == (0.5, 0.5)


def test_a_box_holds_all_pixels_to_their_outer_edges():
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[10:12, 5:9] = True
    assert box_of(mask).tolist() == [5, 10, 9, 12]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_loosened_box_holds_the_tight_one_and_stays_on_the_canvas(seed):
    tight = np.array([0.0, 3.0, 20.0, 64.0])
    x0, y0, x1, y1 = loosened(tight, np.random.default_rng(seed), SIDE)
    assert 0 <= x0 <= tight[0]
    assert 0 <= y0 <= tight[1]
    assert tight[2] <= x1 <= 25
    assert y1 == 64


def test_a_correction_goes_to_the_larger_mistake_with_its_sign():
    target, drawn = np.zeros((SIDE, SIDE), dtype=bool), np.zeros((SIDE, SIDE), dtype=bool)
    target[5:9, 5:9] = True  # missed, 16 pixels
    drawn[40:50, 40:50] = True  # wrong, 100 pixels
    found = correction(target, drawn, np.random.default_rng(0))
    assert found is not None
    ((x, y),), positive = found
    assert not positive
    assert 40 <= x < 50
    assert 40 <= y < 50


def test_a_perfect_mask_needs_no_correction():
    assert correction(ring(), ring(), np.random.default_rng(0)) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_scribble_stays_on_a_ring_though_its_line_crosses_the_hole(seed):
    points = scribble_in(ring(), 8, np.random.default_rng(seed))
    assert points.shape == (8, 2)
    assert ring()[points[:, 1].astype(int), points[:, 0].astype(int)].all()


@pytest.mark.parametrize("seed", range(60))
def test_a_worn_mask_is_never_empty(seed):
    thin = np.zeros((SIDE, SIDE), dtype=bool)
    thin[20, 20:23] = True
    assert worn(thin, np.random.default_rng(seed)).any()
