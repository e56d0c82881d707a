"""Reports as FHIR: what a receiving system needs is there, and nothing dangles."""

import json

from lib.formats.dicom_seg_codes import load_structure_codes
from lib.formats.fhir import diagnostic_report
from lib.text import Finding, Report

KIDNEY = Finding(
    text="The right kidney is of normal size (162 ml).",
    label="kidney_right",
    index=2,
    confidence=0.9,
    volume_ml=161.6,
    mean_hu=143.25,
    sd_hu=20.0,
    extent_mm=(60.0, 60.0, 100.0),
    centre_ras_mm=(60.0, 0.0, 0.0),
    length_mm=108.3,
)


def test_each_finding_is_an_observation_that_the_report_refers_to():
    report = Report("CT of the abdomen.", (KIDNEY,), ("Normal size of the right kidney.",))
    document = diagnostic_report(report, load_structure_codes(), "research use only")
    (observation,) = document["contained"]
    assert document["result"] == [{"reference": f"#{observation['id']}"}]
    assert observation["valueString"] == KIDNEY.text
    assert observation["bodySite"]["coding"][0]["code"] == "64033007"
    said = {one["code"]["coding"][0]["display"]: one["valueQuantity"] for one in observation["component"]}
    assert said["Volume"] == {
        "value": 161.6,
        "unit": "mL",
        "system": "http://unitsofmeasure.org",
        "code": "mL",
    }
    assert said["Length"]["value"] == 108.3
    assert document["status"] == observation["status"] == "preliminary"
    assert document["conclusion"].startswith("Research use only. CT of the abdomen.")
    assert json.loads(json.dumps(document)) == document


def test_what_is_not_assessable_has_a_conclusion_and_no_observation():
    report = Report("This image is not assessable: it is blank.", (), (), is_assessable=False)
    document = diagnostic_report(report, load_structure_codes(), "research use only")
    assert "contained" not in document
    assert "not assessable" in document["conclusion"]
