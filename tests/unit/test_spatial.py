"""Slices as pictures and pictures on the canvas, with the way back."""

import numpy as np
import pytest
import torch

from lib.errors import PromptError
from lib.geometry import world_axes
from lib.transforms.spatial import default_axis, fit_canvas, slice_plane
from phantoms import ALL_ORIENTATIONS, marker_volume


@pytest.mark.parametrize("orientation", ALL_ORIENTATIONS)
def test_the_same_anatomy_gives_the_same_pictures_in_every_orientation(orientation):
    reference = marker_volume("LPS", (1.0, 1.5, 4.0), 0.0)
    turned = marker_volume(orientation, (1.0, 1.5, 4.0), 0.0)

    def pictures(phantom):
        volume = phantom.volume
        plane = slice_plane(volume.affine, volume.shape)
        frames = plane.frames(volume.voxels)[0]
        towards_head = world_axes(volume.affine)[plane.axis][1] > 0
        return frames if towards_head else frames[::-1]

    np.testing.assert_array_equal(pictures(turned), pictures(reference))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("orientation", ["RAS", "LPI", "SAR", "PIL"])
def test_a_volume_taken_apart_into_slices_and_put_together_is_the_same(orientation, axis, rng):
    affine = marker_volume(orientation, (0.8, 1.2, 3.0), 20.0).volume.affine
    voxels = rng.integers(0, 99, (5, 6, 7))
    plane = slice_plane(affine, (5, 6, 7), axis)
    np.testing.assert_array_equal(plane.volume_of(plane.frames(voxels)), voxels)


@pytest.mark.parametrize("orientation", ["RAS", "LPI", "SAR", "PIL"])
def test_a_voxel_is_found_on_its_slice_at_its_row_and_column(orientation, rng):
    affine = marker_volume(orientation, (0.8, 1.2, 3.0), 20.0).volume.affine
    voxels = np.zeros((5, 6, 7))
    point = np.array([[3.0, 1.0, 5.0]])
    voxels[3, 1, 5] = 1
    plane = slice_plane(affine, (5, 6, 7))
    index, row, col = plane.to_frame(point)[0].astype(int)
    assert plane.frames(voxels)[index, row, col] == 1


def test_axial_slices_show_the_patients_right_on_the_left_and_anterior_on_top():
    plane = slice_plane(np.diag([1.0, 1.0, 3.0, 1.0]), (4, 4, 2))  # RAS
    voxels = np.zeros((4, 4, 2))
    voxels[3, 3, 0] = 1  # most right, most anterior
    assert plane.frames(voxels)[0, 0, 0] == 1


def test_slices_lie_across_the_coarsest_axis_and_isotropic_scans_are_cut_axially():
    assert default_axis(np.diag([3.0, 1.0, 1.0, 1.0])) == 0
    assert default_axis(np.diag([1.0, 1.0, 1.0, 1.0])) == 2
    sagittal_first = np.array([[0, 0, 1.0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])
    assert default_axis(sagittal_first) == 1  # j runs superior-inferior


def test_a_picture_is_one_slice_whatever_its_spacing():
    assert slice_plane(np.diag([9.0, 1.0, 1.0, 1.0]), (30, 40, 1)).axis == 2


def test_an_axis_that_does_not_exist_is_refused():
    with pytest.raises(PromptError, match="allowed are 0, 1, 2"):
        slice_plane(np.eye(4), (3, 3, 3), 3)


def test_pixels_become_square_on_the_canvas():
    plane = slice_plane(np.diag([1.0, 2.0, 9.0, 1.0]), (100, 100, 3))
    canvas = fit_canvas(plane, 256)
    assert canvas.inner == (256, 128)  # rows are 2 mm apart, columns 1 mm


def test_logits_come_back_to_the_voxels_they_were_painted_from(rng):
    plane = slice_plane(np.diag([1.0, 1.7, 9.0, 1.0]), (60, 43, 3))
    canvas = fit_canvas(plane, 256)
    mask = np.zeros(plane.size, dtype=bool)
    mask[10:30, 20:50] = True
    painted = canvas.paint_logits(np.where(mask, 10.0, -10.0))
    np.testing.assert_array_equal(canvas.read(painted) > 0, mask)


def test_a_voxels_centre_lands_on_the_middle_of_its_painted_pixels():
    plane = slice_plane(np.diag([1.0, 1.0, 9.0, 1.0]), (32, 32, 3))
    canvas = fit_canvas(plane, 256)
    picture = np.zeros((1, 32, 32), dtype=np.float32)
    picture[0, 5, 20] = 1
    painted = canvas.paint(picture)[0]
    rows, cols = torch.where(painted > 0.5)
    x, y = canvas.to_px(np.array([[5.0, 20.0]]))[0]
    assert x == pytest.approx(cols.float().mean().item() + 0.5, abs=0.6)
    assert y == pytest.approx(rows.float().mean().item() + 0.5, abs=0.6)
