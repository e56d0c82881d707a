"""Scores of diagnoses of CTs against what the same rules make of the reference's masks."""

import json

import pytest
from typer.testing import CliRunner

from lib.cli.evaluate import app
from lib.errors import InputError
from lib.predict.cropped import CroppedMask
from lib.predict.evidence import Seen
from lib.predict.report_scan import seeks_lesions
from lib.train.evaluate_report import Reference, ReportRow
from lib.train.evaluate_scan_diagnosis import (
    evaluate_scan_diagnosis,
    scan_diagnosis_as_json,
    scores_of,
    summarise_scan_diagnoses,
)
from patients import Patient
from scripted.regions import ScriptedByName

LARGE_SPLEEN = {"spleen": ((-80.0, -20.0, 10.0), (42.0, 55.0, 60.0))}
SMALL_SPLEEN = {"spleen": ((-90.0, -20.0, 10.0), (18.0, 20.0, 24.0))}


def _reference(changes=None, orientation="LPS", lesion=None):
    patient = Patient(orientation, changes)
    if lesion is not None:
        patient.add("lesion", patient.ball(*lesion))
    absent = Seen(CroppedMask.empty(patient.volume.shape), 1.0)
    return Reference("one", "expert", patient.volume, patient.seen | {"gallbladder": absent})


def _finds(reference, **others):
    """Draws the reference's structures, or others in their place; no lesion."""
    seen = {name: one for name, one in reference.seen.items() if not seeks_lesions((name,))} | others
    return ScriptedByName({name: one.mask.full() if one and one.mask.count else None
                           for name, one in seen.items()})  # fmt: skip


def _scores(reference, by_name, *, baselines=False):
    return summarise_scan_diagnoses(
        evaluate_scan_diagnosis([reference], lambda: by_name, lambda _: None, baselines=baselines)
    )


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "ASR"])
def test_the_masks_of_the_reference_give_its_diagnosis_whatever_the_voxel_order(orientation):
    reference = _reference(LARGE_SPLEEN, orientation)
    assert _scores(reference, _finds(reference))["expert"] == dict.fromkeys(
        ("giou", "ciou", "accuracy", "structure_accuracy", "sensitivity", "specificity", "precision",
         "abnormal_f1"), 1.0)  # fmt: skip


def test_who_looks_at_no_image_finds_nothing_abnormal():
    reference = _reference(LARGE_SPLEEN)
    scores = _scores(reference, _finds(reference), baselines=True)
    majority, blank = scores["expert/majority"], scores["expert/blank"]
    assert (majority["sensitivity"], majority["specificity"], majority["accuracy"]) == (0, 1, 0)
    assert "giou" not in majority
    assert (blank["structure_accuracy"], blank["accuracy"], blank["ciou"]) == (0, 0, 0)
    assert blank["giou"] == pytest.approx(1 / 6)  # the gallbladder is absent: nothing to draw, nothing drawn
    assert "precision" not in blank


def test_the_normal_is_the_leading_condition_of_who_has_nothing_abnormal():
    reference = _reference()
    scores = _scores(reference, _finds(reference), baselines=True)
    assert scores["expert"]["accuracy"] == scores["expert/majority"]["accuracy"] == 1
    assert scores["expert/blank"]["accuracy"] == 0
    assert "sensitivity" not in scores["expert"]


def test_a_mask_that_hides_an_enlargement_misses_it_and_nothing_else():
    reference = _reference(LARGE_SPLEEN)
    scores = _scores(reference, _finds(reference, spleen=_reference().seen["spleen"]))["expert"]
    assert (scores["sensitivity"], scores["specificity"], scores["abnormal_f1"]) == (0, 1, 0)
    assert scores["structure_accuracy"] == pytest.approx(3 / 4)
    assert scores["accuracy"] == 0
    assert scores["giou"] < 1


def test_enlarged_for_small_is_abnormal_and_yet_the_wrong_finding():
    reference = _reference(LARGE_SPLEEN)
    small = _reference(SMALL_SPLEEN).seen["spleen"]
    scores = _scores(reference, _finds(reference, spleen=small))["expert"]
    assert (scores["sensitivity"], scores["precision"], scores["abnormal_f1"]) == (1, 1, 0)


def test_what_is_called_abnormal_and_is_not_costs_precision():
    reference = _reference()
    large = _reference(LARGE_SPLEEN).seen["spleen"]
    scores = _scores(reference, _finds(reference, spleen=large))["expert"]
    assert (scores["precision"], scores["specificity"]) == (0, pytest.approx(3 / 4))


def test_what_is_not_found_is_not_judged_and_so_wrong_though_it_is_normal():
    reference = _reference()
    scores = _scores(reference, _finds(reference, liver=None))["expert"]
    assert scores["specificity"] == pytest.approx(3 / 4)


def test_a_lesion_makes_its_organ_abnormal_and_weights_that_know_none_miss_it():
    reference = _reference(lesion=((70.0, 0.0, 0.0), (15.0, 15.0, 15.0)))
    (row,) = evaluate_scan_diagnosis([reference], lambda: _finds(reference), lambda _: None, baselines=False)
    document = scan_diagnosis_as_json(row)
    assert document["right_abnormal"] == ["liver lesion"]
    assert document["abnormal"] == []
    assert (document["sensitivity"], document["accuracy"]) == (0, 0)
    assert document["giou"] == pytest.approx(6 / 7)  # the lesion's mask is missing
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_counts_of_all_scans_of_a_kind_are_added_up():
    ill, well = _reference(LARGE_SPLEEN), _reference()
    hidden = _finds(ill, spleen=well.seen["spleen"])
    rows = [
        *evaluate_scan_diagnosis([ill], lambda: hidden, lambda _: None, baselines=False),
        *evaluate_scan_diagnosis([well], lambda: _finds(well), lambda _: None, baselines=False),
    ]
    assert scores_of(rows)["structure_accuracy"] == pytest.approx(7 / 8)
    assert scores_of(rows)["accuracy"] == 0.5


def test_a_scan_that_fails_is_a_row_and_the_others_are_scored():
    class Failing(ScriptedByName):
        def segment_names(self, volume, names):
            raise MemoryError("too large")

    unreadable = ReportRow("gone", "expert", error="it cannot be read")
    told = []
    rows = evaluate_scan_diagnosis([unreadable, _reference()], lambda: Failing({"liver": None}), told.append)
    assert [row.error for row in rows] == ["it cannot be read", "MemoryError: too large"]
    assert scan_diagnosis_as_json(rows[0]) == {
        "case": "gone",
        "label": "ct",
        "kind": "expert",
        "error": "it cannot be read",
    }
    assert told == []
    assert summarise_scan_diagnoses(rows) == {}


def test_nothing_to_diagnose_is_refused():
    result = CliRunner().invoke(app, ["diagnosis"])
    assert isinstance(result.exception, InputError)
    assert "--phantoms" in str(result.exception)
