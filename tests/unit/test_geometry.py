import numpy as np
import pytest

from lib.errors import VolumeError
from lib.geometry import (
    LPS_FROM_RAS,
    checked_affine,
    is_orthogonal,
    orientation,
    spacing_mm,
    voxel_to_world,
    world_axes,
    world_to_voxel,
)
from phantoms import ALL_ORIENTATIONS, marker_volume, tilted


@pytest.mark.parametrize("letters", ALL_ORIENTATIONS)
@pytest.mark.parametrize("degrees", [0.0, 17.0])
def test_voxel_to_world_and_back_is_the_identity(letters, degrees, rng):
    affine = marker_volume(letters, (0.7, 1.3, 5.0), degrees).volume.affine
    points_ijk = rng.uniform(-10, 60, size=(50, 3))
    assert world_to_voxel(voxel_to_world(points_ijk, affine), affine) == pytest.approx(points_ijk, abs=1e-9)


@pytest.mark.parametrize("letters", ALL_ORIENTATIONS)
def test_the_marker_is_at_the_same_millimetre_in_every_orientation(letters):
    phantom, reference = marker_volume(letters, oblique_degrees=17), marker_volume("RAS", oblique_degrees=17)
    found_mm = voxel_to_world(np.argwhere(phantom.marker_mask).astype(float), phantom.volume.affine).mean(
        axis=0
    )
    assert found_mm == pytest.approx(reference.marker_centre_mm, abs=1e-9)


@pytest.mark.parametrize("letters", ALL_ORIENTATIONS)
def test_orientation_names_where_the_axes_point_also_when_oblique(letters):
    assert orientation(marker_volume(letters, oblique_degrees=20).volume.affine) == letters


def test_world_axes_name_axis_and_direction():
    affine = marker_volume("PIR").volume.affine
    assert world_axes(affine) == ((1, -1), (2, -1), (0, 1))


def test_one_voxel_along_i_of_an_lps_scan_goes_to_the_patients_left():
    affine = marker_volume("LPS", (2.0, 3.0, 4.0)).volume.affine
    step_mm = np.diff(voxel_to_world(np.array([[0.0, 0, 0], [1.0, 0, 0]]), affine), axis=0)
    assert step_mm == pytest.approx(np.array([[-2.0, 0, 0]]))


@pytest.mark.parametrize(("letters", "expected"), [("LPS", (0.7, 1.3, 5.0)), ("SAR", (5.0, 1.3, 0.7))])
def test_spacing_follows_the_voxel_axes_of_an_oblique_scan(letters, expected):
    affine = marker_volume(letters, (0.7, 1.3, 5.0), 33).volume.affine
    assert spacing_mm(affine) == pytest.approx(expected)


def test_lps_from_ras_is_its_own_inverse():
    assert np.array_equal(LPS_FROM_RAS @ LPS_FROM_RAS, np.eye(4))


def test_a_tilted_gantry_is_not_orthogonal_and_an_oblique_scan_is():
    volume = marker_volume(oblique_degrees=25).volume
    assert is_orthogonal(volume.affine)
    assert not is_orthogonal(tilted(volume, 0.5).affine)


@pytest.mark.parametrize(
    "affine",
    [np.zeros((4, 4)), np.eye(3), np.diag([1.0, 1.0, 0.0, 1.0]), np.diag([1.0, np.nan, 1.0, 1.0])],
    ids=["zeros", "3x3", "singular", "nan"],
)
def test_an_affine_without_geometry_is_refused(affine):
    with pytest.raises(VolumeError, match="The scan has no usable geometry"):
        checked_affine(affine, "The scan")


def test_a_microscopic_spacing_is_not_mistaken_for_a_singular_affine():
    assert checked_affine(np.diag([0.01, 0.01, 0.02, 1.0]), "The scan").dtype == np.float64
