import numpy as np
import pytest

from lib.errors import PromptError
from lib.prompt import MAX_POINTS, Clicks, Prompt, box_from_voxels, clicks_from_voxels
from phantoms import ALL_ORIENTATIONS, marker_volume

NONE = np.zeros((0, 3))


@pytest.mark.parametrize("letters", ALL_ORIENTATIONS)
def test_a_box_around_the_marker_finds_the_same_voxels_again_when_oblique(letters):
    phantom = marker_volume(letters, (0.8, 1.1, 4.0), oblique_degrees=19)
    volume = phantom.volume
    box = box_from_voxels(phantom.box_low_ijk, phantom.box_high_ijk, volume.shape, volume.affine)
    low, high = box.bounds_ijk(volume.affine)
    assert (low.tolist(), high.tolist()) == (phantom.box_low_ijk.tolist(), phantom.box_high_ijk.tolist())


def test_a_box_drawn_on_one_orientation_covers_the_marker_in_another():
    drawn, shown = marker_volume("LPS", oblique_degrees=12), marker_volume("SRA", oblique_degrees=12)
    box = box_from_voxels(drawn.box_low_ijk, drawn.box_high_ijk, drawn.volume.shape, drawn.volume.affine)
    low, high = box.bounds_ijk(shown.volume.affine)
    assert (low.tolist(), high.tolist()) == (shown.box_low_ijk.tolist(), shown.box_high_ijk.tolist())


def test_clicks_become_millimetres_positive_ones_first():
    volume = marker_volume("LPS", (2.0, 2.0, 5.0)).volume
    clicks = clicks_from_voxels(
        np.array([[3, 4, 5]]), np.array([[0, 0, 0], [1, 0, 0]]), volume.shape, volume.affine
    )
    assert clicks.positive.tolist() == [True, False, False]
    assert clicks.points_mm[0] == pytest.approx((volume.affine @ [3, 4, 5, 1])[:3])
    assert clicks.points_mm[2] - clicks.points_mm[1] == pytest.approx([-2.0, 0, 0])


@pytest.mark.parametrize("point", [[-1, 0, 0], [40, 0, 0], [0, 0, 28], [120.5, -80.0, 300.0]])
def test_a_click_outside_the_scan_is_refused_with_its_coordinates(point):
    volume = marker_volume("RAS").volume
    with pytest.raises(PromptError, match="lies outside the scan; allowed are 0 to") as error:
        clicks_from_voxels(np.array([[1, 1, 1], point]), NONE, volume.shape, volume.affine)
    assert str([float(part) for part in point]) in str(error.value)


@pytest.mark.parametrize("point", [[-0.5, 0, 0], [39.5, 35.5, 27.5]])
def test_a_click_on_the_outer_half_of_an_edge_voxel_is_inside(point):
    volume = marker_volume("RAS").volume
    assert len(clicks_from_voxels(np.array([point]), NONE, volume.shape, volume.affine)) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_coordinates_that_are_not_numbers_are_refused(value):
    volume = marker_volume().volume
    with pytest.raises(PromptError, match="finite"):
        clicks_from_voxels(NONE, np.array([[0, value, 0]]), volume.shape, volume.affine)
    with pytest.raises(PromptError, match="finite"):
        box_from_voxels(np.array([0, value, 0]), np.array([1, 1, 1]), volume.shape, volume.affine)


def test_too_many_points_are_refused_before_they_cost_time():
    volume = marker_volume().volume
    half = np.ones((MAX_POINTS // 2, 3))
    assert len(clicks_from_voxels(half, half, volume.shape, volume.affine)) == MAX_POINTS
    with pytest.raises(PromptError, match=f"got {MAX_POINTS + 1}"):
        clicks_from_voxels(np.ones((MAX_POINTS + 1, 3)), NONE, volume.shape, volume.affine)


def test_an_inverted_box_is_refused_with_both_corners():
    volume = marker_volume().volume
    with pytest.raises(
        PromptError, match=r"inverted: its low corner \[5\.0, 2\.0, 2\.0\].*\[4\.0, 9\.0, 9\.0\]"
    ):
        box_from_voxels(np.array([5, 2, 2]), np.array([4, 9, 9]), volume.shape, volume.affine)


def test_a_box_reaching_outside_the_scan_is_refused():
    volume = marker_volume("RAS").volume
    with pytest.raises(PromptError, match="Box corner"):
        box_from_voxels(np.array([0, 0, 0]), np.array([40, 2, 2]), volume.shape, volume.affine)


def test_a_prompt_without_anything_positive_is_empty():
    negative = Clicks(np.zeros((1, 3)), np.array([False]))
    nothing_drawn = np.zeros((2, 2, 2), bool)
    assert Prompt().is_empty
    assert Prompt(clicks=negative, scribble=negative, earlier=nothing_drawn, text="  ").is_empty


def test_a_prompt_with_a_click_box_scribble_mask_or_text_is_not_empty():
    click = Clicks(np.zeros((1, 3)), np.array([True]))
    box = box_from_voxels(np.zeros(3), np.ones(3), (2, 2, 2), np.eye(4))
    drawn = np.ones((2, 2, 2), bool)
    prompts = [
        Prompt(clicks=click),
        Prompt(boxes=(box,)),
        Prompt(scribble=click),
        Prompt(earlier=drawn),
        Prompt(text="the liver"),
    ]
    assert not any(prompt.is_empty for prompt in prompts)
