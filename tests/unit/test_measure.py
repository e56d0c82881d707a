"""Measurements of bodies of known size, on grids as scanners make them."""

import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from scipy.spatial.transform import Rotation

from lib.errors import InputError
from lib.predict.cropped import CroppedMask
from lib.predict.measure import (
    axial_diameters,
    extent_mm,
    length_mm,
    measure,
    place_within,
    reaches_edge,
    side_of,
)
from lib.vocabulary import Side
from lib.volume import Modality, Volume

CENTRE_MM = np.array([37.0, -21.0, 112.0])
RADII_MM = np.array([22.0, 13.0, 17.0])
GRIDS = [
    ("RAS", (1.0, 1.0, 1.0), 0.0),
    ("LPS", (0.8, 0.8, 3.0), 0.0),
    ("LPI", (0.7, 1.1, 2.5), 0.0),
    ("PIR", (0.9, 1.2, 2.0), 0.0),
    ("SAL", (1.5, 0.8, 1.1), 0.0),
    ("LAS", (0.8, 0.8, 2.0), 12.0),
]


def _affine(orientation, spacing_mm, degrees):
    """Of a grid whose middle is at the ellipsoid; spacing is that along right, front and top."""
    shape = np.ceil(70 / np.array(spacing_mm)).astype(int)
    affine = np.diag([*spacing_mm, 1.0])
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [degrees, -degrees / 2, degrees / 3], degrees=True).as_matrix()
    affine = turn @ affine
    affine[:3, 3] = CENTRE_MM - affine[:3, :3] @ ((shape - 1) / 2 + 0.21)
    order = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    turned = tuple(int(shape[list(order[:, 0]).index(axis)]) for axis in range(3))
    return affine @ inv_ornt_aff(order, shape), turned


def _ellipsoid(affine, shape, centre_mm=CENTRE_MM, radii_mm=RADII_MM):
    indices = np.moveaxis(np.indices(shape), 0, -1)
    points = indices @ affine[:3, :3].T + affine[:3, 3]
    return (((points - centre_mm) / radii_mm) ** 2).sum(axis=-1) <= 1


@pytest.mark.parametrize(("orientation", "spacing_mm", "degrees"), GRIDS)
def test_an_ellipsoid_has_its_size_and_place_on_any_grid(orientation, spacing_mm, degrees):
    affine, shape = _affine(orientation, spacing_mm, degrees)
    mask = _ellipsoid(affine, shape)
    hu = np.where(mask, 60, -100).astype(np.int16)
    hu[mask.nonzero()[0][0], mask.nonzero()[1][0], mask.nonzero()[2][0]] = 61
    found = measure(CroppedMask.of(mask), Volume(hu[np.newaxis], affine, Modality.CT))
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * RADII_MM.prod() / 1000, rel=0.03)
    assert found.mean_hu == pytest.approx(60, abs=0.01)
    assert 0 < found.sd_hu < 0.1
    assert found.centre_ras_mm == pytest.approx(CENTRE_MM, abs=0.4)
    assert found.extent_mm == pytest.approx(2 * RADII_MM, abs=max(spacing_mm))
    assert not found.is_partial


@pytest.mark.parametrize(("orientation", "spacing_mm", "degrees"), GRIDS)
def test_long_and_short_axis_are_those_of_the_largest_axial_slice(orientation, spacing_mm, degrees):
    affine, shape = _affine(orientation, spacing_mm, degrees)
    found = axial_diameters(CroppedMask.of(_ellipsoid(affine, shape)), affine)
    tolerance_mm = 1.3 if degrees == 0 else 2.0  # an oblique slice cuts the ellipsoid askew
    assert found.long_mm == pytest.approx(44, abs=tolerance_mm)
    assert found.short_mm == pytest.approx(26, abs=tolerance_mm)
    ends = np.array(found.ends_ras_mm)
    assert abs((ends[1] - ends[0]) @ (ends[3] - ends[2])) < 1e-6
    assert np.linalg.norm(ends[:2].mean(axis=0) - CENTRE_MM) < 3


def test_the_long_axis_may_lie_slanted_in_the_slice():
    affine = np.diag([0.7, 0.7, 5.0, 1.0])
    angle = np.radians(33)
    x, y = np.meshgrid(np.arange(120) * 0.7 - 42, np.arange(120) * 0.7 - 42, indexing="ij")
    along, beside = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    mask = np.zeros((120, 120, 3), dtype=bool)
    mask[:, :, 1] = (along / 30) ** 2 + (beside / 10) ** 2 <= 1
    found = axial_diameters(CroppedMask.of(mask), affine)
    assert (found.long_mm, found.short_mm, found.slice_index) == (
        pytest.approx(60, abs=0.8),
        pytest.approx(20, abs=0.8),
        1,
    )
    assert length_mm(CroppedMask.of(mask), affine) == pytest.approx(60, abs=1.0)


def test_the_short_axis_is_a_chord_and_not_the_width():
    """A slanted parallelogram is wider than any line across it at right angles to its long diagonal."""
    mask = np.zeros((100, 60, 1), dtype=bool)
    for row in range(30):
        mask[2 * row + 5 : 2 * row + 25, row + 10, 0] = True
    found = axial_diameters(CroppedMask.of(mask), np.eye(4))
    assert found.long_mm == pytest.approx(np.hypot(78, 29), abs=1.5)
    assert found.short_mm == pytest.approx(9.3, abs=1.2)  # the width is 14.4


def test_one_voxel_is_as_long_as_it_is():
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[2, 2, 2] = True
    found = CroppedMask.of(mask)
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    assert extent_mm(found, affine) == (2.0, 2.0, 4.0)
    assert axial_diameters(found, affine).long_mm == 2.0
    assert length_mm(found, affine) == 4.0


def test_a_slanted_grid_has_smaller_voxels_than_its_spacing_says():
    affine = np.eye(4)
    affine[1, 2] = 1.0  # a tilted gantry
    mask = np.ones((4, 4, 4), dtype=bool)
    volume = Volume(np.zeros((1, 4, 4, 4), np.int16), affine, Modality.CT)
    assert measure(CroppedMask.of(mask), volume).volume_ml == pytest.approx(0.064)


def test_what_reaches_the_edge_of_the_scan_is_partly_in_it():
    mask = np.zeros((20, 20, 10), dtype=bool)
    mask[5:10, 5:10, 2:8] = True
    assert not reaches_edge(CroppedMask.of(mask))
    mask[5:10, 5:10, 8:] = True
    assert reaches_edge(CroppedMask.of(mask))


def test_a_picture_is_not_cut_off_across_its_only_slice():
    mask = np.zeros((20, 20, 1), dtype=bool)
    mask[5:10, 5:10] = True
    assert not reaches_edge(CroppedMask.of(mask))


def test_sides_are_the_patients_and_the_middle_has_none():
    assert side_of((60.0, 0.0, 0.0), 5.0) is Side.RIGHT
    assert side_of((-60.0, 0.0, 0.0), 5.0) is Side.LEFT
    assert side_of((12.0, 0.0, 0.0), 5.0) is None


def test_a_part_is_named_by_where_it_lies_in_the_whole():
    affine, shape = _affine("LPI", (1.0, 1.0, 2.0), 0.0)
    volume = Volume(np.zeros((1, *shape), np.int16), affine, Modality.CT)
    whole = measure(CroppedMask.of(_ellipsoid(affine, shape)), volume)
    part = CroppedMask.of(_ellipsoid(affine, shape, CENTRE_MM + np.array([0, -7, 10]), np.full(3, 4.0)))
    assert place_within(measure(part, volume), whole) == "upper posterior"
    assert place_within(whole, whole) == ""


def test_an_empty_mask_or_one_of_another_grid_is_refused():
    volume = Volume(np.zeros((1, 4, 4, 4), np.int16), np.eye(4), Modality.CT)
    with pytest.raises(InputError, match="0 voxels"):
        measure(CroppedMask.empty((4, 4, 4)), volume)
    with pytest.raises(InputError, match=r"the scan has \(4, 4, 4\)"):
        measure(CroppedMask.of(np.ones((3, 4, 4), dtype=bool)), volume)
    with pytest.raises(InputError, match="no diameter"):
        axial_diameters(CroppedMask.empty((4, 4, 4)), np.eye(4))
