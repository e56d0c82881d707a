"""Reports as FHIR R4: a strict reader takes them, nothing dangles, and they say what was measured."""

import base64
import json
import re

import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport

from lib.formats.dicom_seg import Algorithm
from lib.formats.dicom_seg_codes import load_structure_codes
from lib.formats.fhir import diagnostic_report
from lib.text import Finding, Report

MODEL = Algorithm("medvl-lite", "0.1.0", "ab" * 32)
STUDY = "1.2.826.0.1.3680043.8.498.1"
LABELS = {"kidney_right": 2, "aorta": 3, "lesion": 4, "kidney_cyst_left": 5, "never heard of": 6}
AXES = {"long_axis_mm": 23.1, "short_axis_mm": 16.9}


def _finding(label, **changes):
    return Finding(
        text=f"A sentence on {label} & < 3.",
        label=label,
        index=LABELS[label],
        confidence=0.9,
        volume_ml=161.6,
        mean_hu=143.25,
        sd_hu=20.0,
        extent_mm=(60.0, 60.0, 100.0),
        centre_ras_mm=(60.0, 0.0, 0.0),
        **changes,
    )


KIDNEY = _finding("kidney_right", length_mm=108.3)
REPORT = Report(
    "CT of the abdomen.",
    (
        KIDNEY,
        _finding("aorta"),
        _finding("lesion", **AXES),
        _finding("kidney_cyst_left", **AXES),
        _finding("never heard of"),
    ),
    ("One lesion.", "Normal size of the right kidney."),
)
BLANK = Report("This image is not assessable: it is blank.", (), (), is_assessable=False)


def _as_fhir(report, study_uid=None):
    return diagnostic_report(report, load_structure_codes(), "research use only", MODEL, study_uid)


def _observations(document):
    found = [one for one in document["contained"] if one["resourceType"] == "Observation"]
    return {one["code"]["text"]: one for one in found}


@pytest.mark.parametrize("report", [REPORT, BLANK])
@pytest.mark.parametrize("study_uid", [None, STUDY])
def test_a_strict_reader_takes_it_and_loses_nothing(report, study_uid):
    document = _as_fhir(report, study_uid)
    read = DiagnosticReport.model_validate_json(json.dumps(document, allow_nan=False))
    assert json.loads(read.model_dump_json()) == json.loads(json.dumps(document))


def test_each_finding_is_an_observation_that_the_report_refers_to():
    document = _as_fhir(REPORT)
    observations = _observations(document)
    assert [one["reference"] for one in document["result"]] == [f"#{o['id']}" for o in observations.values()]
    assert list(observations) == [label.replace("_", " ") for label in LABELS]
    kidney = observations["kidney right"]
    assert kidney["valueString"] == KIDNEY.text
    assert {one["status"] for one in (document, *observations.values())} == {"preliminary"}
    ids = {one["id"] for one in document["contained"]}
    assert set(re.findall(r'"reference": "#([^"]+)"', json.dumps(document))) == ids


def test_measurements_are_quantities_in_ucum():
    kidney = _observations(_as_fhir(REPORT))["kidney right"]
    said = {
        one["code"]["coding"][0]["display"]: one["valueQuantity"]
        for one in kidney["component"]
        if "coding" in one["code"]
    }
    system = "http://unitsofmeasure.org"
    assert said["Volume"] == {"value": 161.6, "unit": "mL", "system": system, "code": "mL"}
    assert said["Length"]["value"] == 108.3
    assert said["Attenuation Coefficient"]["code"] == "[hnsf'U]"
    assert all(quantity["system"] == system for quantity in said.values())
    (confidence,) = [one for one in kidney["component"] if one["code"].get("text") == "Confidence"]
    assert confidence["valueQuantity"]["value"] == 0.9


def test_the_site_and_its_side_are_coded_and_a_lesion_is_no_site():
    observations = _observations(_as_fhir(REPORT))
    site = observations["kidney right"]["bodySite"]
    assert [one["code"] for one in site["coding"]] == ["64033007", "64033007:272741003=24028007"]
    assert site["text"] == "Right kidney"
    assert observations["aorta"]["bodySite"]["coding"][0]["code"] == "15825003"
    assert "bodySite" not in observations["lesion"]
    assert observations["lesion"]["valueCodeableConcept"]["coding"][0]["code"] == "52988006"
    cyst = observations["kidney cyst left"]
    assert cyst["valueCodeableConcept"]["text"] == "A sentence on kidney_cyst_left & < 3."
    assert cyst["bodySite"]["text"] == "Left kidney"
    assert "bodySite" not in observations["never heard of"]


def test_the_conclusion_is_the_impression_and_the_whole_text_is_attached():
    document = _as_fhir(REPORT)
    assert document["conclusion"] == "Research use only. One lesion. Normal size of the right kidney."
    (form,) = document["presentedForm"]
    assert form["contentType"].startswith("text/plain")
    text = base64.b64decode(form["data"]).decode()
    assert text == f"{REPORT.text}\nResearch use only.\n"
    assert "&amp; &lt; 3." in document["text"]["div"]


def test_the_study_is_named_where_it_is_known_and_a_patient_never():
    (study,) = _as_fhir(REPORT, STUDY)["imagingStudy"]
    assert study["identifier"] == {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"}
    unknown = _as_fhir(REPORT)
    assert "imagingStudy" not in unknown
    assert "subject" not in unknown


def test_what_measured_and_its_weights_are_named():
    document = _as_fhir(REPORT)
    (device,) = [one for one in document["contained"] if one["resourceType"] == "Device"]
    assert device["deviceName"][0]["name"] == "medvl-lite"
    assert [one["value"] for one in device["version"]] == ["0.1.0", "ab" * 32]


def test_what_is_not_assessable_has_a_conclusion_and_no_observation():
    document = _as_fhir(BLANK)
    assert "contained" not in document
    assert document["conclusion"] == "Research use only. This image is not assessable: it is blank."
