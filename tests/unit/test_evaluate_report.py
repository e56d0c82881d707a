"""Scores of reports over cases, beside reports that look at no image."""

import numpy as np
import pytest

from lib.predict.compose import composed
from lib.predict.cropped import CroppedMask
from lib.predict.evidence import Seen
from lib.train.evaluate_report import (
    Reference,
    ReportRow,
    evaluate_report,
    reports_as_json,
    summarise_reports,
)
from phantoms import marker_volume
from scripted.regions import ScriptedByName

PHANTOMS = {name: marker_volume(name) for name in ("LPS", "ASR")}
METRICS = {"bleu4", "rouge_l", "meteor", "cider", "finding_f1", "numeric_consistency", "laterality"}


def _reference(name):
    phantom = PHANTOMS[name]
    empty = Seen(CroppedMask.empty(phantom.volume.shape), 1.0)
    masks = {"kidney_right": Seen(CroppedMask.of(phantom.marker_mask), 1.0), "spleen": empty}
    return Reference(name, "expert", phantom.volume, masks)


def _perfect(name):
    return ScriptedByName({"kidney_right": PHANTOMS[name].marker_mask, "spleen": None})


def _rows(by_name, names=("LPS",)):
    return evaluate_report([_reference(name) for name in names], lambda: by_name, lambda _: None)


def test_the_masks_of_the_reference_give_its_report():
    row = _rows(_perfect("LPS"))[0]
    assert row.kind == "expert"
    scores = row.scores
    assert (scores.finding_f1, scores.numeric_consistency, scores.laterality) == (1, 1, 1)
    assert scores.grounding_dice == 1
    assert row.words["bleu4"] > 0.3  # hedged by the scripted confidence or not


def test_reports_that_look_at_no_image_stand_beside_it_under_their_own_kinds():
    rows = {row.kind: row for row in _rows(_perfect("LPS"))}
    assert set(rows) == {"expert", "expert/constant", "expert/template"}
    assert rows["expert/constant"].scores.finding_f1 < 1
    assert rows["expert/template"].scores.numeric_consistency == 0
    assert rows["expert/constant"].scores.grounding_dice is None


def test_a_model_that_finds_nothing_says_nothing():
    row = _rows(ScriptedByName({"kidney_right": None, "spleen": None}))[0]
    assert row.scores.finding_f1 == 0
    assert row.words["rouge_l"] == 0


def test_a_scan_that_fails_is_a_row_and_the_others_are_scored():
    class Failing(ScriptedByName):
        def segment_names(self, volume, names):
            if volume is PHANTOMS["ASR"].volume:
                raise MemoryError("too large")
            return super().segment_names(volume, names)

    by_name = Failing({"kidney_right": PHANTOMS["LPS"].marker_mask, "spleen": None})
    rows = _rows(by_name, ("ASR", "LPS"))
    assert [row.case for row in rows if row.scores is None] == ["ASR"]
    assert rows[-1].error == "MemoryError: too large"
    assert {row.case for row in rows if row.scores is not None} == {"LPS"}


def test_the_json_has_a_mean_for_each_kind_and_a_row_for_each_report():
    failed = ReportRow("broken", "expert", error="it cannot be read")
    rows = [*_rows(_perfect("LPS")), failed]
    document = reports_as_json(rows, "val", "ab" * 32)
    assert document["task"] == "report"
    assert set(document["summary"]["expert"]) >= METRICS
    assert document["summary"]["expert"]["numeric_consistency"] == pytest.approx(1)
    assert document["rows"][0]["label"] == "report"
    assert document["rows"][-1] == {
        "case": "broken",
        "label": "report",
        "kind": "expert",
        "error": "it cannot be read",
    }
    assert np.isfinite(list(summarise_reports(rows)["expert"].values())).all()


def test_a_written_report_stands_beside_the_same_put_together_by_rule():
    class Writer:
        def write(self, facts, looks):
            return [composed(one).replace("is", "is clearly", 1) for one in facts]

    rows = evaluate_report(
        [_reference("LPS")], lambda: _perfect("LPS"), lambda _: None, baselines=False, writer=Writer()
    )
    by_kind = {row.kind: row for row in rows}
    assert set(by_kind) == {"expert", "expert/composed"}
    assert by_kind["expert"].scores.finding_f1 == by_kind["expert/composed"].scores.finding_f1 == 1
    assert by_kind["expert"].metrics["share_written"] > 0
    assert by_kind["expert"].metrics["rouge_l"] < by_kind["expert/composed"].metrics["rouge_l"]
    assert "share_written" not in by_kind["expert/composed"].metrics
