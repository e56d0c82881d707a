"""The simulated user on objects and mistakes whose thickest part is known."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, label

from lib.geometry import voxel_to_world, world_to_voxel
from lib.train.clicks import (
    Click,
    clicks_in_order,
    next_click,
    slice_boxes,
    start_boxes,
    thickest_voxel,
)

OBLIQUE = np.array([[0.0, 0.7, 1.2, -30.0], [-0.8, 0.0, 0.4, 12.0], [0.1, -0.2, 4.8, 5.0], [0, 0, 0, 1.0]])
"""Oblique and anisotropic, with flipped and swapped axes: nothing that a wrong axis order would survive."""


def rng():
    return np.random.default_rng(42)


def blobs(shape, *spheres):
    """A mask of spheres (centre, radius), in voxels."""
    grid = np.stack(np.meshgrid(*(np.arange(length) for length in shape), indexing="ij"), axis=-1)
    return np.any([((grid - centre) ** 2).sum(axis=-1) <= radius**2 for centre, radius in spheres], axis=0)


def empty(mask):
    return np.zeros_like(mask)


def test_the_first_click_is_the_centre_of_the_object_and_positive():
    reference = blobs((40, 30, 20), ((25, 12, 9), 6))
    assert next_click(reference, empty(reference), rng()) == Click((25, 12, 9), positive=True)


def test_a_click_lands_in_the_thickest_part_of_the_largest_component():
    """A long rod has more voxels than the thick ball and wins; its bulge is where it is thickest."""
    reference = blobs((60, 40, 16), ((50, 33, 8), 4), ((13, 6, 8), 3))
    reference[2:58, 5:8, 7:10] = True
    click = next_click(reference, empty(reference), rng())
    components, _ = label(reference, structure=np.ones((3, 3, 3)))
    rod = components == components[2, 6, 8]
    assert rod.sum() > (reference & ~rod).sum() > 0
    assert rod[click.ijk]
    distance = distance_transform_edt(np.pad(rod, 1))[1:-1, 1:-1, 1:-1]
    assert distance[click.ijk] == distance.max()
    assert click == Click((13, 6, 8), positive=True)


def test_missed_object_gets_a_positive_and_excess_a_negative_click():
    reference = blobs((40, 30, 20), ((10, 15, 10), 6))
    excess = reference | blobs((40, 30, 20), ((30, 15, 10), 5))
    assert next_click(reference, excess, rng()) == Click((30, 15, 10), positive=False)
    missed = reference & ~blobs((40, 30, 20), ((10, 15, 10), 3))
    assert next_click(reference, missed, rng()) == Click((10, 15, 10), positive=True)


def test_mistakes_that_touch_at_a_corner_are_one_component():
    reference = np.zeros((20, 20, 20), dtype=bool)
    reference[1:6, 1:6, 1:6] = True
    reference[6:11, 6:11, 6:11] = True
    reference[14:20, 13:19, 12:18] = True
    click = next_click(reference, empty(reference), rng())
    assert max(click.ijk) < 11, "the two cubes that touch (250 voxels) are larger than the one alone (216)"


def test_a_perfect_mask_gets_no_click():
    reference = blobs((20, 20, 20), ((9, 9, 9), 5))
    assert next_click(reference, reference.copy(), rng()) is None


def test_equally_thick_voxels_are_chosen_among_by_the_seed_and_always_the_same():
    reference = np.zeros((40, 9, 9), dtype=bool)
    reference[2:38, 2:7, 2:7] = True
    chosen = {next_click(reference, empty(reference), np.random.default_rng(seed)).ijk for seed in range(20)}
    assert len(chosen) > 5
    assert all((j, k) == (4, 4) for _, j, k in chosen)
    again = [next_click(reference, empty(reference), rng()) for _ in range(3)]
    assert again[0] == again[1] == again[2]


def test_the_border_of_the_scan_is_an_edge_of_the_object():
    reference = np.zeros((20, 20, 20), dtype=bool)
    reference[:8, :, :] = True
    i, j, k = next_click(reference, empty(reference), rng()).ijk
    assert i in (3, 4)
    assert 3 <= j <= 16
    assert 3 <= k <= 16


def test_in_a_picture_the_click_is_in_the_middle_although_there_is_one_slice():
    reference = blobs((60, 40, 1), ((31, 18, 0), 9))
    assert next_click(reference, empty(reference), rng()) == Click((31, 18, 0), positive=True)


@pytest.mark.parametrize("max_voxels", [10**9, 5000, 200])
def test_a_coarse_search_still_lands_inside_the_object_near_its_middle(max_voxels):
    component = blobs((70, 50, 30), ((40, 22, 14), 12))
    found = thickest_voxel(component, component.shape, rng(), max_voxels)
    assert component[found]
    assert np.abs(np.array(found) - (40, 22, 14)).max() <= (0 if max_voxels > 10**6 else 6)


def test_a_coarse_search_falls_back_to_every_voxel_where_the_object_is_thinner_than_its_step():
    diagonal = np.zeros((30, 30, 30), dtype=bool)
    diagonal[0, 0:2, 1] = diagonal[1:30, 29, 29] = True
    diagonal[0, 1, 0] = True
    found = thickest_voxel(diagonal, diagonal.shape, rng(), max_voxels=100)
    assert diagonal[found]


def test_clicks_become_millimetres_in_the_order_in_which_they_were_made():
    made = [Click((1, 2, 3), True), Click((7, 0, 2), False), Click((4, 4, 4), True)]
    clicks = clicks_in_order(made, OBLIQUE)
    assert clicks.positive.tolist() == [True, False, True]
    assert np.allclose(
        clicks.points_mm, voxel_to_world(np.array([[1, 2, 3], [7, 0, 2], [4, 4, 4.0]]), OBLIQUE)
    )
    assert len(clicks_in_order([], OBLIQUE)) == 0


def cone():
    """Grows along k from a point at slice 3 to 9 x 17 at slice 11, off centre."""
    mask = np.zeros((40, 40, 16), dtype=bool)
    for k in range(3, 12):
        mask[20 - (k - 3) // 2 : 21 + (k - 3) // 2, 12 - (k - 3) : 13 + (k - 3), k] = True
    return mask


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_start_is_the_middle_slice_s_box_and_the_range_of_slices_with_the_plane_left_free(axis):
    mask = np.moveaxis(cone(), 2, axis)
    on_middle, reach = (box.bounds_ijk(OBLIQUE) for box in start_boxes(mask, OBLIQUE, axis))
    in_plane = [other for other in range(3) if other != axis]
    assert on_middle[0][axis] == on_middle[1][axis] == 7
    assert on_middle[0][in_plane].tolist() == [18, 8]
    assert on_middle[1][in_plane].tolist() == [22, 16]
    assert (reach[0][axis], reach[1][axis]) == (3, 11)
    assert reach[0][in_plane].tolist() == [0, 0]
    assert reach[1][in_plane].tolist() == [39, 39]


def test_the_box_of_an_object_in_two_parts_is_drawn_on_a_slice_that_shows_it():
    mask = np.zeros((20, 20, 30), dtype=bool)
    mask[4:7, 4:7, 2:5] = True
    mask[10:17, 11:16, 19:25] = True
    on_middle, reach = (box.bounds_ijk(OBLIQUE) for box in start_boxes(mask, OBLIQUE, axis=2))
    assert on_middle[0].tolist() == [10, 11, 19]
    assert on_middle[1].tolist() == [16, 15, 19]
    assert (reach[0][2], reach[1][2]) == (2, 24)


def test_an_object_on_one_slice_starts_with_that_slice_s_box_alone():
    mask = np.zeros((20, 20, 9), dtype=bool)
    mask[4:7, 3:9, 5] = True
    (box,) = start_boxes(mask, OBLIQUE, axis=2)
    low, high = box.bounds_ijk(OBLIQUE)
    assert (low.tolist(), high.tolist()) == ([4, 3, 5], [6, 8, 5])


def test_each_slice_has_the_tight_box_of_its_own():
    mask = cone()
    mask[:, :, 6] = False
    boxes = slice_boxes(mask, OBLIQUE, axis=2)
    bounds = [box.bounds_ijk(OBLIQUE) for box in boxes]
    assert [int(low[2]) for low, _ in bounds] == [3, 4, 5, 7, 8, 9, 10, 11]
    for low, high in bounds:
        assert low[2] == high[2]
        rows, columns = np.nonzero(mask[:, :, low[2]])
        assert (low[0], high[0], low[1], high[1]) == (rows.min(), rows.max(), columns.min(), columns.max())


def test_boxes_are_given_in_world_millimetres():
    (first, *_) = slice_boxes(cone(), OBLIQUE, axis=2)
    assert np.allclose(world_to_voxel(first.corners_mm, OBLIQUE), [[20, 12, 3], [20, 12, 3]])
