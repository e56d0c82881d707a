"""Test-time scaling: what several readings agree on, within a budget, without ground truth."""

import numpy as np
import pytest

from lib.predict.candidate import Candidate
from lib.predict.scaling import (
    Scaling,
    candidates,
    consensus,
    pairwise_overlaps,
    perturbation,
    read_picture_scaled,
)
from lib.volume import Modality, Volume
from scripted.pictures import ScriptedReader


@pytest.fixture
def picture():
    pixels = np.zeros((1, 60, 50, 1), dtype=np.uint8)
    pixels[:, 20:30, 10:25] = 200
    return Volume(pixels, np.eye(4), Modality.DISPLAY)


def _square(begin, conditions=(1.0,), iou=0.8, kind=0):
    logits = np.full((40, 40), -4, dtype=np.float32)
    logits[begin : begin + 10, 5:15] = 4
    modality = [0.1, 0.1]
    modality[kind] = 0.9
    return Candidate(kind, tuple(modality), conditions, logits, iou)


def test_one_path_from_one_look_is_the_plain_reading(picture):
    reader = ScriptedReader()
    found = read_picture_scaled(reader, picture)
    assert np.array_equal(found.mask, picture.voxels[0, :, :, 0] > 150)
    assert (found.agreement, found.candidates, len(reader.looks)) == (1.0, 1, 1)


def test_each_look_is_encoded_once_for_all_its_paths(picture):
    reader = ScriptedReader()
    assert len(list(candidates(reader, picture, Scaling(paths=4, perturbations=3)))) == 12
    assert len(reader.looks) == 3


def test_a_reading_that_the_others_do_not_agree_with_is_outvoted():
    found = consensus([_square(10), _square(10), _square(25, iou=0.95)])
    assert np.array_equal(found.mask, _square(10).mask)
    assert found.agreement < 0.7


def test_agreement_falls_with_the_votes_on_the_condition():
    same = consensus([_square(10, (0.9, 0.1)), _square(10, (0.8, 0.2))])
    split = consensus([_square(10, (0.9, 0.1)), _square(10, (0.4, 0.6))])
    assert same.agreement == pytest.approx(1.0)
    assert split.agreement == pytest.approx(0.5)
    assert np.argmax(split.conditions) == 0


def test_another_kind_of_picture_is_not_mixed_in():
    found = consensus([_square(10), _square(10), _square(25, kind=1)])
    assert found.kind == 0
    assert not found.mask[30].any()


def test_what_a_look_does_not_show_is_left_to_the_others():
    partial = _square(10)
    partial.logits[:12] = np.nan
    assert np.array_equal(consensus([_square(10), partial]).mask, _square(10).mask)


def test_no_reading_is_begun_after_the_time_is_up_but_there_is_always_one(picture):
    found = read_picture_scaled(ScriptedReader(), picture, Scaling(4, 4, seconds=1e-9))
    assert found.candidates == 1
    assert found.mask.any()


def test_a_small_target_is_looked_at_more_closely_and_a_large_one_is_not():
    small = perturbation(2, _square(10))
    begin_i, _, end_i, _ = small.part
    assert end_i - begin_i < 0.7
    assert begin_i * 40 <= 10
    assert end_i * 40 >= 20
    whole = Candidate(0, (1.0,), (), np.full((40, 40), 4, dtype=np.float32), 0.9)
    assert perturbation(2, whole).part == (0.0, 0.0, 1.0, 1.0)


def test_two_empty_masks_agree():
    assert pairwise_overlaps([np.zeros((3, 3), bool), np.zeros((3, 3), bool)]) == [1.0, 1.0]
