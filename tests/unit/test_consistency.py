"""The guard: what a sentence says must be what its mask says."""

import pytest

from lib.predict.consistency import checked, claims_in, problems_of
from lib.text import Finding, Size
from lib.vocabulary import Side


def _finding(text, **changes):
    measured = {
        "label": "kidney_right",
        "index": 3,
        "confidence": 0.9,
        "volume_ml": 161.6,
        "mean_hu": 143.2,
        "sd_hu": 21.7,
        "extent_mm": (61.0, 58.4, 104.0),
        "centre_ras_mm": (60.0, -20.0, 40.0),
        "side": Side.RIGHT,
        "size": Size.NORMAL,
        "length_mm": 108.3,
    }
    return Finding(text=text, **(measured | changes))


@pytest.mark.parametrize(
    "sentence",
    [
        "The right kidney is of normal size (length 108 mm, 162 ml, mean 143 HU).",
        "The right kidney measures 161.6 cc and is 10.8 cm long.",
        "The right kidney has 143 HU (SD 22 HU), a height of 104 mm and a width of 61 mm.",
        "The right kidney is seen.",
    ],
)
def test_what_is_the_measurement_rounded_passes_unchanged(sentence):
    assert problems_of(_finding(sentence)) == ()
    assert checked(_finding(sentence)).finding.text == sentence


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("The right kidney has 190 ml.", "The right kidney has 162 ml."),
        ("The left kidney has 162 ml.", "The right kidney has 162 ml."),
        ("Left kidney: length 12.1 cm.", "Right kidney: length 10.8 cm."),
        ("The right kidney has -20 HU and 99 ml.", "The right kidney has 143 HU and 162 ml."),
    ],
)
def test_a_wrong_number_or_side_is_put_right(wrong, right):
    result = checked(_finding(wrong))
    assert result.finding.text == right
    assert result.problems


@pytest.mark.parametrize(
    "sentence",
    [
        "The right kidney is enlarged.",
        "No right kidney is seen.",
        "The right kidney holds 3 stones.",
        "The right kidney has lost 40% of its function.",
        "The right kidney is partly in the scan.",
        "Right kidney 77 mm.",
        "The left and the right kidney are seen.",
    ],
)
def test_what_no_measurement_can_put_right_is_dropped(sentence):
    assert checked(_finding(sentence)).finding is None


def test_two_lengths_are_a_lesions_long_and_short_axis():
    lesion = {"long_axis_mm": 23.4, "short_axis_mm": 16.8, "size": None, "length_mm": None}
    fine = _finding("A cyst of 23 x 17 mm lies in the right kidney.", **lesion)
    assert problems_of(fine) == ()
    wrong = checked(_finding("A cyst of 2.9 x 1.1 cm lies in the right kidney.", **lesion))
    assert wrong.finding.text == "A cyst of 2.3 x 1.7 cm lies in the right kidney."


def test_a_side_is_not_said_of_what_lies_in_the_middle():
    assert checked(_finding("The left bladder has 162 ml.", side=None)).finding is None


def test_names_that_hold_numbers_are_not_measurements():
    assert claims_in("The L3 and T12 vertebrae are seen.") == []
    assert [claim.unit for claim in claims_in("L3 has 12 ml and -4.5 HU.")] == ["ml", "hu"]


def test_a_small_bowel_is_not_a_small_organ():
    assert problems_of(_finding("The small bowel has 162 ml.", size=None, side=None)) == ()
