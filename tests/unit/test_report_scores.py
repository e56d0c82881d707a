"""The labeller, and the scores of reports against references."""

import numpy as np
import pytest

from lib.predict.cropped import CroppedMask
from lib.text import Finding, Size
from lib.train.report_scores import f1, score_report, tags_of
from lib.vocabulary import Side


def test_the_labeller_reads_structures_states_and_lesions():
    assert tags_of(
        [
            "The spleen is enlarged (512 ml).",
            "The left kidney is small and clearly shorter than its partner.",
            "The right lung is partly in the scan.",
            "The small bowel is seen.",
            "A cyst of 12 x 9 mm lies in the upper part of the right kidney.",
        ]
    ) == {
        ("spleen", "seen"),
        ("spleen", "enlarged"),
        ("kidney_left", "seen"),
        ("kidney_left", "small"),
        ("kidney_left", "shorter"),
        ("lung_right", "seen"),
        ("lung_right", "partial"),
        ("small_bowel", "seen"),
        ("kidney_right", "lesion"),
    }


def test_what_is_denied_is_no_finding():
    assert tags_of(["There is no enlarged spleen.", "No lesion in the liver."]) == frozenset()


def test_f1_of_tags():
    one, other = ("spleen", "seen"), ("liver", "seen")
    assert f1({one, other}, {one}) == pytest.approx(2 / 3)
    assert f1(set(), {one}) == 0
    assert f1(set(), set()) is None


def _mask(begin):
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[begin : begin + 8, 4:12, 4:12] = True
    return CroppedMask.of(mask)


def _finding(text, **changes):
    measured = {
        "label": "kidney_left",
        "index": 1,
        "confidence": 0.9,
        "volume_ml": 150.2,
        "mean_hu": 120.0,
        "sd_hu": 10.0,
        "extent_mm": (60.0, 60.0, 100.0),
        "centre_ras_mm": (-50.0, 0.0, 0.0),
        "side": Side.LEFT,
        "size": Size.NORMAL,
    }
    return Finding(text=text, **(measured | changes))


RIGHT = [_finding("The left kidney is of normal size (150 ml).")]


def test_a_report_that_is_the_reference_scores_full():
    scores = score_report(RIGHT, {"kidney_left": _mask(4)}, RIGHT, {"kidney_left": _mask(4)})
    assert (scores.finding_f1, scores.numeric_consistency, scores.laterality, scores.grounding_dice) == (
        1,
        1,
        1,
        1,
    )
    assert scores.abnormal_f1 is None


def test_numbers_are_held_against_the_reports_own_mask_and_overlap_against_the_references():
    said = [_finding("The left kidney is of normal size (97 ml).", volume_ml=97.3)]
    scores = score_report(said, {"kidney_left": _mask(8)}, RIGHT, {"kidney_left": _mask(4)})
    assert scores.numeric_consistency == 1
    assert scores.grounding_dice == pytest.approx(0.5)


def test_a_report_without_masks_has_its_numbers_held_against_the_references():
    said = [_finding("The left kidney is of normal size (165 ml).")]
    scores = score_report(said, {}, RIGHT, {"kidney_left": _mask(4)})
    assert scores.numeric_consistency == 0
    assert scores.grounding_dice is None
    assert scores.laterality == 1


def test_a_wrong_side_is_noticed():
    said = [_finding("The right kidney is of normal size (150 ml).", side=Side.RIGHT)]
    scores = score_report(said, {"kidney_left": _mask(4)}, RIGHT, {"kidney_left": _mask(4)})
    assert scores.laterality == 0
    assert scores.finding_f1 == 0


def test_what_the_reference_does_not_have_is_a_false_finding_without_overlap():
    spleen = _finding("The spleen is enlarged (150 ml).", label="spleen", size=Size.ENLARGED)
    scores = score_report(
        [*RIGHT, spleen], {"kidney_left": _mask(4), "spleen": _mask(8)}, RIGHT, {"kidney_left": _mask(4)}
    )
    assert scores.finding_f1 == pytest.approx(2 / 4)
    assert scores.abnormal_f1 == 0
    assert scores.grounding_dice == pytest.approx(0.5)


def test_lesions_may_be_numbered_differently():
    said = [_finding("A lesion lies in the liver.", label="lesion_2", side=None)]
    scores = score_report(said, {"lesion_2": _mask(4)}, said, {"lesion_1": _mask(4), "lesion_3": _mask(9)})
    assert scores.grounding_dice == 1
