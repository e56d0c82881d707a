"""Open questions from known masks, and what answers to them are worth."""

from collections import Counter

import pytest

from lib.predict.cropped import CroppedMask
from lib.predict.evidence import Seen
from lib.train.open_questions import OpenQuestion, open_questions
from lib.train.open_scores import OpenRow, asked_open, most_frequent, relative_error, summarise_open
from lib.train.questions import Facts
from lib.vocabulary import QuestionKind, Side, parse_question
from patients import Patient
from scripted.regions import ScriptedByName


def _facts(changes=None, orientation="LPS"):
    patient = Patient(orientation, changes)
    absent = Seen(CroppedMask.empty(patient.volume.shape), 1.0)
    return Facts("one", patient.volume, patient.seen | {"gallbladder": absent}, "portal venous")


def _row(question, said=""):
    return OpenRow("one", "phantom", question, said)


VOLUME = OpenQuestion(
    "What is the volume of the liver?",
    QuestionKind.SIZE,
    "volume",
    "1500 ml",
    1500.0,
)
SIDE = OpenQuestion(
    "Where is the spleen?", QuestionKind.LOCATION, "place",
    "abdomen, on the patient's left", side=Side.LEFT,
)  # fmt: skip
LARGER = OpenQuestion(
    "Which is larger, the liver or the spleen?",
    QuestionKind.COMPARISON,
    "larger",
    "liver",
    is_word=True,
)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "ASR"])
def test_every_question_is_read_as_what_it_asks_whatever_the_voxel_order(orientation):
    questions = open_questions(_facts(orientation=orientation))
    assert {one.form for one in questions} >= {"volume", "length", "diameter", "density", "place", "side",
                                               "count", "larger", "higher", "phase"}  # fmt: skip
    read = [parse_question(one.text) for one in questions]
    assert [one.kind for one in read] == [one.kind for one in questions]
    assert not any(one.is_closed for one in read)


@pytest.mark.parametrize("orientation", ["RAS", "ASR"])
def test_who_has_the_masks_of_the_reference_says_its_numbers_sides_and_names(orientation):
    facts = _facts(orientation=orientation)
    masks = {name: one.mask.full() if one.mask.count else None for name, one in facts.seen.items()}
    rows = asked_open("one", "phantom", open_questions(facts), facts.volume, ScriptedByName(masks))
    means = summarise_open(rows)["phantom"]
    assert (means["numbers_within_10"], means["laterality"], means["words_right"]) == (1, 1, 1)
    assert means["number_error_median"] < 0.01
    assert means["rouge_l"] > 0.9


def test_what_is_cut_off_has_no_size_and_lesions_are_not_asked_for():
    cut = _facts({"liver": ((70.0, 0.0, 120.0), (65.0, 50.0, 82.0))})
    sizes = [one.text for one in open_questions(cut) if one.kind is QuestionKind.SIZE]
    assert sizes
    assert not any("liver" in text for text in sizes)
    assert not any("lesion" in one.text for one in open_questions(cut))


def test_questions_of_a_case_are_the_same_each_time():
    facts = _facts()
    assert open_questions(facts) == open_questions(facts)


@pytest.mark.parametrize(
    ("said", "within", "error"),
    [("1500 ml", 1, 0), ("1640 ml", 1, 140 / 1500), ("1000 ml", 0, 1 / 3), ("", 0, 1), ("yes", 0, 1)],
)
def test_a_number_is_close_within_a_tenth_and_none_at_all_is_far_off(said, within, error):
    metrics = _row(VOLUME, said).metrics
    assert metrics["numbers_within_10"] == within
    assert metrics["number_error_median"] == pytest.approx(error)
    assert relative_error(0.0, 0.0) == 0
    assert relative_error(2.0, 0.0) == 1


@pytest.mark.parametrize(
    ("said", "right"), [("abdomen, on the patient's left", 1), ("abdomen, on the patient's right", 0),
                        ("left or right", 0), ("", 0)],
)  # fmt: skip
def test_a_side_is_right_only_if_it_is_the_one_that_is_said(said, right):
    assert _row(SIDE, said).metrics["laterality"] == right
    assert "laterality" not in _row(VOLUME, said).metrics


def test_one_of_two_is_right_only_by_its_name():
    assert _row(LARGER, "liver").metrics["words_right"] == 1
    assert _row(LARGER, "spleen").metrics["words_right"] == 0


def test_the_most_frequent_answer_to_a_number_is_the_one_in_the_middle():
    questions = [
        OpenQuestion(f"What is the volume of the {name}?", QuestionKind.SIZE, "volume",
                     f"{ml} ml", float(ml))
        for name, ml in (("liver", 1500), ("spleen", 200), ("stomach", 300))
    ]  # fmt: skip
    sides = [SIDE, SIDE]
    said = list(most_frequent([_row(one) for one in [*questions, *sides, LARGER]], "majority"))
    assert Counter(row.kind for row in said) == {"phantom/majority": 6}
    assert [row.said for row in said[:2]] == ["300 ml", "300 ml"]
    means = summarise_open(said)["phantom/majority"]
    assert means["numbers_within_10"] == pytest.approx(1 / 3)
    assert means["number_error_median"] == pytest.approx(0.5)
