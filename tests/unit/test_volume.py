import numpy as np
import pytest

from lib.errors import VolumeError
from lib.volume import Modality, Volume
from phantoms import marker_volume


def _volume(voxels=None, affine=None, modality=Modality.CT):
    voxels = np.zeros((1, 3, 4, 5), np.int16) if voxels is None else voxels
    return Volume(voxels, np.eye(4) if affine is None else affine, modality)


def test_shape_and_spacing_are_along_i_j_k():
    volume = _volume(affine=np.diag([-2.0, 3.0, 0.5, 1.0]))
    assert (volume.shape, volume.spacing_mm) == ((3, 4, 5), (2.0, 3.0, 0.5))


@pytest.mark.parametrize("shape", [(1, 3, 4, 0), (2, 3, 4, 5), (0, 3, 4, 5)])
def test_a_scan_without_voxels_or_with_two_channels_is_refused(shape):
    with pytest.raises(VolumeError, match="1 or 3 channels and at least one voxel"):
        _volume(np.zeros(shape, np.int16))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_refused(value):
    voxels = np.zeros((1, 3, 4, 5), np.float32)
    voxels[0, 1, 2, 3] = value
    with pytest.raises(VolumeError, match="not finite"):
        _volume(voxels)


def test_a_singular_affine_is_refused():
    with pytest.raises(VolumeError, match="singular"):
        _volume(affine=np.diag([1.0, 0.0, 1.0, 1.0]))


def test_voxels_and_affine_cannot_be_changed_afterwards():
    volume = _volume()
    for array in (volume.voxels, volume.affine):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7


def test_the_digest_depends_on_values_place_and_meaning_only():
    volume = marker_volume().volume
    same = Volume(np.asfortranarray(volume.voxels), volume.affine.copy(), volume.modality)
    brighter = Volume(volume.voxels + np.int16(1), volume.affine, volume.modality)
    elsewhere = Volume(volume.voxels, volume.affine + np.eye(4) * [[1.0], [1], [1], [0]], volume.modality)
    other_meaning = Volume(volume.voxels, volume.affine, Modality.MR)
    assert same.digest == volume.digest
    assert len({v.digest for v in (volume, brighter, elsewhere, other_meaning)}) == 4
