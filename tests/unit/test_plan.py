"""Prompts laid out on slices."""

import numpy as np
import pytest

from lib.errors import PromptError
from lib.predict.plan import FrameBox, make_plan
from lib.prompt import Prompt, box_from_voxels, clicks_from_voxels
from phantoms import marker_volume

VOLUME = marker_volume("LPS").volume  # 40 x 36 x 28, shown as it lies in memory: rows are j, columns i


def box(low, high):
    return box_from_voxels(np.array(low), np.array(high), VOLUME.shape, VOLUME.affine)


def test_a_3d_box_stands_on_its_middle_slice_and_bounds_all_others():
    plan = make_plan(VOLUME, Prompt(boxes=(box((3, 4, 10), (20, 30, 21)),)), None)
    assert plan.boxes == {15: FrameBox(row0=4, col0=3, row1=30, col1=20)}
    assert (plan.first, plan.last, plan.is_bounded) == (10, 21, True)
    assert plan.bounds == FrameBox(4, 3, 30, 20)


def test_beside_a_2d_box_a_3d_box_only_sets_limits():
    boxes = (box((5, 6, 12), (9, 10, 12)), box((0, 0, 10), (39, 35, 21)))
    plan = make_plan(VOLUME, Prompt(boxes=boxes), None)
    assert plan.boxes == {12: FrameBox(6, 5, 10, 9)}
    assert (plan.first, plan.last) == (10, 21)


def test_a_2d_box_leaves_the_other_slices_open():
    plan = make_plan(VOLUME, Prompt(boxes=(box((5, 6, 12), (9, 10, 12)),)), None)
    assert (plan.first, plan.last, plan.is_bounded) == (0, 27, False)
    assert plan.bounds == FrameBox(0, 0, 35, 39)


@pytest.mark.parametrize(("low", "high", "axis"), [((5, 3, 3), (5, 9, 9), 0), ((3, 5, 3), (9, 5, 9), 1)])
def test_a_box_drawn_on_another_plane_is_read_on_that_plane(low, high, axis):
    assert make_plan(VOLUME, Prompt(boxes=(box(low, high),)), None).plane.axis == axis


def test_boxes_on_two_planes_are_read_on_the_usual_one():
    boxes = (box((5, 3, 3), (5, 9, 9)), box((3, 5, 3), (9, 5, 9)))
    assert make_plan(VOLUME, Prompt(boxes=boxes), None).plane.axis == 2


def test_an_axis_that_the_user_chose_stays():
    assert make_plan(VOLUME, Prompt(boxes=(box((5, 3, 3), (5, 9, 9)),)), 2).plane.axis == 2


def test_a_click_between_voxels_belongs_to_the_nearest():
    clicks = clicks_from_voxels(np.array([[3.4, 4.6, 27.4]]), np.zeros((0, 3)), VOLUME.shape, VOLUME.affine)
    (click,) = make_plan(VOLUME, Prompt(clicks=clicks), None).clicks
    assert (click.index, click.row, click.col, click.positive) == (27, 5, 3, True)


def test_an_earlier_mask_without_a_voxel_and_a_negative_click_say_nothing():
    clicks = clicks_from_voxels(np.zeros((0, 3)), np.array([[1, 1, 1]]), VOLUME.shape, VOLUME.affine)
    with pytest.raises(PromptError, match="The prompt is empty"):
        make_plan(VOLUME, Prompt(clicks=clicks, earlier=np.zeros(VOLUME.shape, dtype=bool)), None)
