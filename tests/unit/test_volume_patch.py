"""A patch shows every voxel where it is in the patient, whatever way the file was written."""

import numpy as np
import pytest

from lib.geometry import world_to_voxel
from lib.transforms.volume_patch import PatchSpec, volume_patch
from lib.volume import Modality, Volume

SPEC = PatchSpec((1.5, 1.5, 3.0), (-1000.0, 1000.0), (64, 64, 64))
MARKER_IJK = (9, 3, 14)


def marked_scan(turn: np.ndarray, spacing=(2.0, 3.0, 2.5)) -> Volume:
    """Air with a bright marker of 3 x 3 x 3 voxels near one corner."""
    voxels = np.full((1, 12, 14, 18), -1000, dtype=np.int16)
    i, j, k = MARKER_IJK
    voxels[0, i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = 1000
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = (12.0, -30.0, 77.0)
    return Volume(voxels, affine, Modality.CT)


def rotation(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


@pytest.mark.parametrize(
    "turn", [np.eye(3), np.diag([-1.0, -1.0, 1.0]), np.eye(3)[[2, 0, 1]], rotation(25.0)], ids=str
)
def test_a_marker_stays_at_its_millimetres(turn):
    scan = marked_scan(turn)
    patch = volume_patch(scan, SPEC)
    weights = patch.voxels.numpy()
    where = np.argwhere(weights > 0.5).mean(axis=0)
    expected = scan.affine[:3, :3] @ MARKER_IJK + scan.affine[:3, 3]
    found = patch.affine[:3, :3] @ where + patch.affine[:3, 3]
    assert np.abs(found - expected).max() < 1.6
    assert (np.diag(patch.affine)[:3] == SPEC.spacing_mm).all()
    assert 0 <= weights.min() < weights.max() <= 1


def test_a_patch_is_no_larger_than_the_scan_needs_but_a_multiple_of_what_is_wanted():
    scan = marked_scan(np.eye(3))
    plain = volume_patch(scan, SPEC).voxels.shape
    assert tuple(plain) == (16, 27, 16)  # 22 x 39 x 42.5 mm from the first centre to the last
    whole = PatchSpec(SPEC.spacing_mm, SPEC.hu_range, (64, 64, 64), (32, 32, 16))
    assert tuple(volume_patch(scan, whole).voxels.shape) == (32, 32, 16)
    least = PatchSpec(SPEC.spacing_mm, SPEC.hu_range, (8, 8, 8))
    assert tuple(volume_patch(scan, least).voxels.shape) == (8, 8, 8)


def test_a_patch_around_a_point_has_it_in_its_middle():
    scan = marked_scan(np.eye(3))
    centre = (30.0, -21.0, 112.0)
    patch = volume_patch(scan, PatchSpec(SPEC.spacing_mm, SPEC.hu_range, (9, 9, 9)), centre)
    middle = world_to_voxel(np.array([centre]), patch.affine)[0]
    np.testing.assert_allclose(middle, (4, 4, 4), atol=1e-6)
    assert patch.voxels[4, 4, 4] == 1
