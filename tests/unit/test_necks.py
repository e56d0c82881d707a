"""What hangs on a compact organ by a thin neck is another organ."""

import numpy as np
import pytest

from lib.predict.necks import without_necks

PIXEL_MM = (1.0, 1.0)


def discs(*discs_px: tuple[int, int, int]) -> np.ndarray:
    """Four slices of the same discs: row, column, radius."""
    rows, cols = np.indices((80, 80))
    frame = np.zeros((80, 80), dtype=bool)
    for row, col, radius in discs_px:
        frame |= (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
    return np.stack([frame] * 4)


def test_a_loop_of_bowel_that_touches_a_kidney_is_cut_off_whole():
    kidney, bowel = discs((30, 30, 18)), discs((58, 30, 9))
    joined = kidney | bowel
    joined[:, 46:52, 28:33] = True
    cut = without_necks(joined, PIXEL_MM)
    assert not (cut & bowel & ~kidney)[:, 52:].any()
    assert (cut & kidney).sum() == kidney.sum()


def test_a_loop_that_is_joined_on_one_slice_only_goes_from_all():
    kidney, bowel = discs((30, 30, 18)), discs((60, 30, 9))
    joined = kidney | bowel
    joined[1, 46:54, 28:33] = True
    cut = without_necks(joined, PIXEL_MM)
    assert not (cut & bowel).any()


def test_an_organ_keeps_its_thin_ends():
    organ = discs((30, 30, 18))
    organ[0] = discs((30, 30, 3))[0]
    organ[:, 29:32, 40:60] = True
    assert (without_necks(organ, PIXEL_MM) == organ).all()


def test_two_large_pieces_of_one_organ_stay():
    pieces = discs((20, 20, 12), (60, 60, 10))
    assert (without_necks(pieces, PIXEL_MM) == pieces).all()


@pytest.mark.parametrize("radius", [0, 2])
def test_what_is_thin_everywhere_or_empty_stays_as_it_is(radius):
    thin = discs((20, 20, radius), (60, 60, radius)) if radius else np.zeros((4, 80, 80), dtype=bool)
    assert (without_necks(thin, PIXEL_MM) == thin).all()


def test_pixels_and_slices_are_measured_in_millimetres():
    kidney, bowel = discs((30, 30, 18)), discs((58, 30, 9))
    joined = kidney | bowel
    joined[:, 46:52, 28:33] = True
    assert (without_necks(joined, (4.0, 4.0)) == joined).all()  # a neck of 20 mm is none


def test_the_thin_ends_of_what_is_cut_off_go_with_it():
    kidney, bowel = discs((30, 30, 18)), discs((58, 30, 9))
    bowel[0] = discs((58, 30, 3))[0]
    joined = kidney | bowel
    joined[2, 46:52, 28:33] = True
    assert not (without_necks(joined, PIXEL_MM) & bowel & ~kidney).any()
