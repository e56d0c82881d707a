"""Scores of shapes whose agreement can be worked out on paper."""

import numpy as np
import pytest

from lib.train.metrics import area_under_clicks, dice, mean_of, overlap, surface_dice

ANISOTROPIC = (1.0, 0.8, 2.5)


def sphere(shape, spacing, centre_mm, radius_mm):
    axes = (np.arange(length) * step for length, step in zip(shape, spacing, strict=True))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return ((grid - centre_mm) ** 2).sum(axis=-1) <= radius_mm**2


def block(shape, low, high):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(first, last) for first, last in zip(low, high, strict=True))] = True
    return mask


def spheres_nsd(radius, shift, tolerance):
    """The share of a sphere within a tolerance of its copy moved by `shift`, from the law of cosines."""
    cosines = [
        (shift**2 + radius**2 - (radius + sign * tolerance) ** 2) / (2 * radius * shift) for sign in (1, -1)
    ]
    low, high = np.clip(cosines, -1, 1)
    return (high - low) / 2


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("shift_mm", "tolerance_mm"), [(7.0, 4.0), (10.0, 4.0), (12.0, 3.0)])
def test_surface_dice_of_shifted_spheres_is_what_geometry_says(axis, shift_mm, tolerance_mm):
    """Surfaces made of voxels lie a little nearer to each other than smooth ones, hence the slack."""
    spacing = tuple(step / 2 for step in ANISOTROPIC)
    shape, radius, centre = (112, 140, 46), 16.0, np.array([20.0, 20.0, 20.0])
    moved = centre.copy()
    moved[axis] += shift_mm
    first, second = (sphere(shape, spacing, at, radius) for at in (centre, moved))
    value = surface_dice(first, second, spacing, tolerance_mm)
    assert value == pytest.approx(spheres_nsd(radius, shift_mm, tolerance_mm), abs=0.08)


@pytest.mark.parametrize("axis", [0, 1])
def test_spheres_one_millimetre_apart_agree_at_two_and_five_millimetres_apart_do_not(axis):
    shape, centre = (70, 88, 30), np.array([33.0, 33.6, 35.0])
    near, far = centre.copy(), centre.copy()
    near[axis] += 1.0
    far[axis] += 5.0
    reference, nearby, distant = (sphere(shape, ANISOTROPIC, at, 24.0) for at in (centre, near, far))
    assert dice(reference, nearby) < 0.99
    assert surface_dice(reference, nearby, ANISOTROPIC, 2.0) == 1.0
    assert surface_dice(reference, distant, ANISOTROPIC, 2.0) < 0.6


def test_surface_dice_of_shifted_blocks_weighs_faces_by_their_area_in_millimetres():
    """30 x 40 x 50 mm, moved by 6 mm along i; what is within 2 mm of an edge shared with the other counts."""
    spacing, shape = (1.0, 0.5, 2.5), (60, 100, 28)
    low, high = (10, 8, 3), (40, 88, 23)
    reference = block(shape, low, high)
    prediction = block(shape, (16, 8, 3), (46, 88, 23))
    a, b, c, shift, tolerance = 30.0, 40.0, 50.0, 6.0, 2.0
    unmatched = (b - 2 * tolerance) * (c - 2 * tolerance) + b * c + (shift - tolerance) * 2 * (b + c)
    expected = 1 - unmatched / (2 * (a * b + b * c + a * c))
    assert surface_dice(reference, prediction, spacing, tolerance) == pytest.approx(expected, abs=0.02)


def test_a_shift_of_one_thick_slice_is_more_than_the_tolerance_and_one_thin_voxel_is_less():
    shape, spacing = (60, 60, 30), (0.5, 0.5, 5.0)
    reference = block(shape, (10, 10, 8), (40, 40, 20))
    along_k = surface_dice(reference, np.roll(reference, 1, axis=2), spacing, 2.0)
    along_i = surface_dice(reference, np.roll(reference, 3, axis=0), spacing, 2.0)
    assert along_i == 1.0
    assert along_k < 0.9


def test_surface_dice_is_the_same_where_the_object_touches_the_border_of_the_scan():
    inner = block((40, 40, 40), (10, 10, 10), (30, 30, 30)), block((40, 40, 40), (10, 10, 13), (30, 30, 30))
    at_border = tuple(np.ascontiguousarray(mask[10:, 10:30, 10:30]) for mask in inner)
    assert surface_dice(*at_border, (1.0, 1.0, 1.0), 2.0) == pytest.approx(
        surface_dice(*inner, (1.0, 1.0, 1.0), 2.0), abs=1e-6
    )


def test_surface_dice_is_symmetric_and_needs_no_volume_overlap():
    thin, beside = (
        block((30, 30, 30), (5, 5, 10), (25, 25, 11)),
        block((30, 30, 30), (5, 5, 11), (25, 25, 12)),
    )
    assert dice(thin, beside) == 0.0
    assert surface_dice(thin, beside, (1.0, 1.0, 1.0), 2.0) == 1.0
    reference, prediction = (
        block((30, 30, 30), (2, 3, 4), (20, 12, 25)),
        block((30, 30, 30), (6, 3, 9), (29, 12, 20)),
    )
    forth, back = (
        surface_dice(*pair, ANISOTROPIC, 2.0) for pair in ((reference, prediction), (prediction, reference))
    )
    assert forth == pytest.approx(back)


def test_surface_dice_does_not_count_where_dice_is_at_most_a_fifth():
    thin, beside = (
        block((30, 30, 30), (5, 5, 10), (25, 25, 11)),
        block((30, 30, 30), (5, 5, 11), (25, 25, 12)),
    )
    assert overlap(thin, beside, (1.0, 1.0, 1.0), 2.0).nsd == 0.0
    wider = block((30, 30, 30), (5, 5, 10), (25, 25, 12))
    assert overlap(thin, wider, (1.0, 1.0, 1.0), 2.0).nsd == 1.0


def test_a_picture_is_compared_along_its_outline_not_its_flat_sides():
    """40 x 30 pixels against 46 x 30: the two short sides apart, and 4 pixels more of the long ones."""
    reference, prediction = (block((80, 60, 1), (10, 10, 0), (last, 40, 1)) for last in (50, 56))
    missed, length = (30 - 2 * 2) + 30 + 2 * (6 - 2), 2 * (40 + 30) + 2 * (46 + 30)
    value = surface_dice(reference, prediction, (1.0, 1.0, 1.0), 2.0)
    assert value == pytest.approx(1 - missed / length, abs=0.03)


def test_two_empty_masks_agree_and_one_empty_mask_does_not():
    nothing, something = np.zeros((5, 6, 7), dtype=bool), block((5, 6, 7), (1, 1, 1), (3, 3, 3))
    assert overlap(nothing, nothing, ANISOTROPIC, 2.0) == overlap(something, something, ANISOTROPIC, 2.0)
    assert dice(nothing, nothing) == surface_dice(nothing, nothing, ANISOTROPIC, 2.0) == 1.0
    for pair in ((nothing, something), (something, nothing)):
        assert dice(*pair) == surface_dice(*pair, ANISOTROPIC, 2.0) == 0.0


def test_dice_counts_voxels():
    reference, prediction = block((9, 9, 9), (0, 0, 0), (4, 4, 4)), block((9, 9, 9), (2, 0, 0), (6, 4, 4))
    assert dice(reference, prediction) == pytest.approx(2 * 32 / 128)


def test_perfect_scores_after_five_clicks_have_an_area_of_four():
    assert area_under_clicks([1.0] * 5) == 4.0


def test_the_area_is_the_trapezoid_over_the_clicks():
    scores = [0.2, 0.5, 0.55, 0.8, 0.7]
    assert area_under_clicks(scores) == pytest.approx(0.35 + 0.525 + 0.675 + 0.75)
    assert area_under_clicks([0.9]) == 0.0


def test_a_mean_is_over_what_was_measured():
    assert mean_of([1.0, None, 2.0]) == 1.5
    assert mean_of([None]) is None
