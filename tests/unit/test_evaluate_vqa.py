"""Questions from known masks, their right answers, and the scores of whoever answers them."""

from collections import Counter

import pytest

from lib.predict.cropped import CroppedMask
from lib.predict.evidence import Seen
from lib.train.evaluate_vqa import (
    Subject,
    VqaRow,
    VqaRows,
    evaluate_vqa,
    mean_by_matter,
    summarise_vqa,
    vqa_as_json,
)
from lib.train.questions import Facts, closed_questions
from patients import Patient
from scripted.regions import ScriptedByName

ABSENT = ("gallbladder", "urinary_bladder", "heart", "trachea")


def _subject(name="one", orientation="LPS", changes=None):
    patient = Patient(orientation, changes)
    empty = Seen(CroppedMask.empty(patient.volume.shape), 1.0)
    seen = patient.seen | dict.fromkeys(ABSENT, empty)
    return Subject("phantom", Facts(name, patient.volume, seen, "portal venous"))


def _perfect(subject):
    masks = {name: one.mask.full() if one.mask.count else None for name, one in subject.facts.seen.items()}
    return ScriptedByName(masks)


@pytest.fixture(scope="module")
def rows():
    subject = _subject()
    return evaluate_vqa([subject], lambda: _perfect(subject), lambda _: None)


def test_who_has_the_masks_of_the_reference_answers_everything_rightly(rows):
    own = [row for row in rows.closed if row.kind == "phantom"]
    assert len(own) > 20
    assert [row.question for row in own if not row.is_right] == []
    assert {row.about for row in own} >= {"presence", "count", "side", "size", "density", "location", "phase"}


def test_who_is_shown_no_image_guesses(rows):
    means = summarise_vqa(rows)
    assert set(means) == {"phantom", "phantom/question_only", "phantom/majority"}
    assert means["phantom/question_only"]["accuracy_closed"] < 0.75
    assert means["phantom/majority"]["accuracy_closed"] < 0.9


def test_yes_and_no_are_asked_for_about_equally_often():
    answers = Counter(
        question.answer
        for number in range(12)
        for question in closed_questions(_subject(f"patient {number}").facts)
        if question.answer in ("yes", "no")
    )
    assert 0.4 < answers["yes"] / (answers["yes"] + answers["no"]) < 0.6


def test_questions_of_a_case_are_the_same_each_time_and_its_own():
    facts = _subject("a").facts
    assert closed_questions(facts) == closed_questions(facts)
    assert closed_questions(facts) != closed_questions(_subject("b").facts)


def test_the_size_of_what_is_cut_off_is_not_asked():
    subject = _subject(changes={"liver": ((70.0, 0.0, 120.0), (65.0, 50.0, 82.0))})
    about = [one.text for one in closed_questions(subject.facts) if str(one.kind) == "size"]
    assert about
    assert not any("liver" in text for text in about)


def test_no_answer_is_a_wrong_one_and_a_failure_is_a_row():
    class Failing(ScriptedByName):
        def segment_names(self, volume, names):
            raise MemoryError("too large")

    subject = _subject()
    knows_nothing = evaluate_vqa([subject], lambda: ScriptedByName({}), lambda _: None, baselines=False)
    assert not any(row.is_right for row in knows_nothing.closed if row.about in ("size", "density", "side"))
    failed = evaluate_vqa([subject], lambda: Failing({"liver": None}), lambda _: None, baselines=False)
    assert [row.error for row in failed.closed] == ["MemoryError: too large"]


def test_the_json_has_the_accuracy_of_each_kind_and_a_row_for_each_question(rows):
    broken = VqaRow("broken", "expert", error="it cannot be read")
    document = vqa_as_json(VqaRows((*rows.closed, broken), rows.open), "val", "ab" * 32)
    assert document["task"] == "vqa"
    assert document["summary"]["phantom"]["accuracy_closed"] == 1
    assert set(document["rows"][0]) == {
        "case",
        "label",
        "kind",
        "question",
        "answer",
        "right_answer",
        "accuracy_closed",
    }
    assert document["rows"][-1]["error"] == "it cannot be read"
    right, asked = mean_by_matter(rows.closed, "phantom")["presence"]
    assert right == asked > 0


def test_open_questions_are_scored_in_the_same_table_and_find_nothing_a_second_time(rows):
    means = summarise_vqa(rows)
    assert means["phantom"]["numbers_within_10"] == means["phantom"]["laterality"] == 1
    assert means["phantom"]["words_right"] == 1
    assert means["phantom"]["bleu1"] > means["phantom/majority"]["bleu1"] > 0
    assert means["phantom/question_only"]["bleu1"] == 0
    document = vqa_as_json(rows, "val", "ab" * 32)
    said = next(row for row in document["rows"] if row["question"].startswith("How long is the"))
    assert said["number_error_median"] < 0.01
    assert said["right_answer"].endswith(" mm")
    model = _perfect(subject := _subject())
    evaluate_vqa([subject], lambda: model, lambda _: None, baselines=False)
    assert len(model.asked) == 1
