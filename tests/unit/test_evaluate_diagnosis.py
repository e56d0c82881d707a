"""Scores of diagnoses over pictures, beside couplings, baselines and the oracle."""

import json

import numpy as np
import pytest
from PIL import Image

from lib.errors import NotFoundError
from lib.predict.scaling import Scaling
from lib.train.evaluate_diagnosis import (
    DiagnosisRow,
    diagnoses_as_json,
    evaluate_diagnosis,
    summarise_diagnoses,
)
from lib.train.picture_data import load_picture_cases, split_held_out, view_of
from scripted.pictures import ScriptedReader


@pytest.fixture
def folder(tmp_path):
    """Two pictures with a bright square, one whose mask is missing, and a CT."""
    pixels = np.tile(np.linspace(0, 90, 80), (60, 1))
    pixels[10:30, 20:50] = 220
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "picture.png")
    Image.fromarray(((pixels > 150) * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    row = {
        "image": "picture.png",
        "mask": "mask.png",
        "modality": "endoscopy",
        "target": "polyp",
        "split": "val",
    }
    rows = [
        row | {"case": "a", "condition": "colorectal polyp", "patient": "p1"},
        row | {"case": "b", "condition": None},
        row | {"case": "c", "condition": "Unknown", "mask": "gone.png"},
        row | {"case": "ct", "image": "ct.nii.gz", "modality": "ct"},
    ]
    (tmp_path / "manifest.json").write_text(json.dumps(rows))
    return tmp_path


def _rows(folder, reader):
    return evaluate_diagnosis(load_picture_cases(folder, "val"), reader, Scaling(2, 2), lambda _: None)


def test_pictures_of_a_manifest_come_with_their_condition_where_the_source_knows_it(folder):
    cases = load_picture_cases(folder, "val")
    assert [case.condition for case in cases] == ["colorectal polyp", None, None]
    assert cases[0].patient == "p1"
    with pytest.raises(NotFoundError, match="train"):
        load_picture_cases(folder, "train")


def test_a_perfect_reader_scores_one_and_the_unknown_condition_is_not_scored(folder):
    summary = summarise_diagnoses(_rows(folder, ScriptedReader(kind=1)))
    assert summary["endoscopy"] == {"giou": 1.0, "ciou": 1.0, "accuracy": 1.0}
    assert summary["endoscopy/no_steps"] == {"accuracy": 0.0}
    assert summary["endoscopy/majority"] == {"accuracy": 1.0}
    assert summary["endoscopy/seg_token"]["giou"] < 1
    assert {"endoscopy/m2_n2", "endoscopy/consensus", "endoscopy/oracle", "all", "all/points"} <= set(summary)


def test_the_oracle_is_never_worse_than_any_reading(folder):
    rows = _rows(folder, ScriptedReader(kind=1, shifts=(5, 0)))
    summary = summarise_diagnoses(rows)
    assert summary["endoscopy/oracle"]["giou"] == 1
    assert summary["endoscopy"]["giou"] < 1


def test_a_picture_that_fails_is_a_row_and_the_others_are_scored(folder):
    rows = _rows(folder, ScriptedReader(kind=1))
    assert [row.case for row in rows if row.error] == ["c"]
    document = diagnoses_as_json(rows, "val", "ab" * 32)
    assert document["task"] == "diagnosis"
    assert {"case", "label", "kind"} <= set(document["rows"][0])
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_what_is_refused_as_unknown_counts_as_missed(folder):
    summary = summarise_diagnoses(_rows(folder, ScriptedReader(kind=1, distance=2.0)))
    assert summary["endoscopy"] == {"giou": 0.0, "ciou": 0.0, "accuracy": 0.0}


def test_two_empty_masks_overlap_fully_and_weigh_nothing_in_the_sum():
    rows = [DiagnosisRow("a", "x", "xray", 0, 0), DiagnosisRow("b", "x", "xray", 50, 100)]
    assert summarise_diagnoses(rows)["xray"] == {"giou": 0.75, "ciou": 0.5}


def test_patients_are_held_out_whole_and_always_the_same_ones(folder):
    (one, *_) = load_picture_cases(folder, "val")
    many = [type(one)(one.case, "xray", "lungs", None, f"patient {number // 2}") for number in range(200)]
    learned, held = split_held_out(many, 0.2)
    assert 10 < len(held) < 80
    assert not {case.patient for case in learned} & {case.patient for case in held}
    assert split_held_out(many, 0.2)[1] == held
    assert split_held_out(many[:10], 0.9)[1] == []


def test_a_view_is_the_same_whenever_it_is_made(folder):
    (one, *_) = load_picture_cases(folder, "val")
    assert view_of(one, 3) == view_of(one, 3)
    assert view_of(one, 3) != view_of(one, 4)
    assert view_of(one, 0).is_none
