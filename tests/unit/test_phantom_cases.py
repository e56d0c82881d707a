"""Procedural scans are cases like any other: read from files, labelled, and made once."""

from lib.train.dataset import read_case
from lib.train.phantom_cases import PHANTOM, phantom_cases

FEW_VOXELS = 40_000


def test_a_phantom_is_read_back_with_its_structures_on_a_grid_no_finer_than_asked(tmp_path):
    (case,) = phantom_cases([3], tmp_path, print, FEW_VOXELS)
    scan = read_case(case)
    assert scan.volume.voxels[0].size <= FEW_VOXELS * 1.1
    assert scan.label_map.shape == scan.volume.shape
    assert "liver" in scan.objects.values()
    assert case.kind == PHANTOM


def test_a_phantom_that_was_written_is_not_made_again(tmp_path):
    told: list[str] = []
    first = phantom_cases([3, 4], tmp_path, told.append, FEW_VOXELS)
    assert told == ["making phantom_0003", "making phantom_0004"]
    again = phantom_cases([3, 4], tmp_path, told.append, FEW_VOXELS)
    assert len(told) == 2
    assert again == first
