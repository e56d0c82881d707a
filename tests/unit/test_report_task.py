"""The model report, from a request as clients form it to what they read."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport

from lib.configs.report import REPORT, report_tasks
from lib.formats import write_volume
from lib.infers.images import ImageReader
from lib.response import ModelCard
from phantoms import marker_volume
from scripted.regions import ScriptedByName
from scripted.studies import write_picture

PHANTOM = marker_volume("ASR", oblique_degrees=20.0)
NAMES = ("spleen", "kidney_right", "body")
BODY = PHANTOM.volume.voxels[0] > -500


@pytest.fixture
def by_name():
    return ScriptedByName({"spleen": None, "kidney_right": PHANTOM.marker_mask, "body": BODY})


@pytest.fixture
def ask(tmp_path, by_name):
    write_volume(PHANTOM.volume, tmp_path / "ct.nii.gz")
    write_picture(tmp_path / "picture.png")
    card = ModelCard("scripted", "cd" * 32)
    images = ImageReader(lambda: [tmp_path], 2**28)
    task = report_tasks(lambda: by_name, NAMES, images, lambda: card, "0.1.0")[REPORT]
    files = []

    def run(image, **options):
        path, document = task({"image": str(tmp_path / image), "model": REPORT} | options)
        files.append(Path(path))
        return Path(path), document

    yield run
    for path in files:
        path.unlink()


def test_the_report_comes_with_the_masks_that_it_rests_on(ask):
    path, document = ask("ct.nii.gz")
    assert set(document) >= {
        "task",
        "text",
        "findings",
        "impression",
        "label_names",
        "model",
        "latencies",
        "notice",
    }
    (finding,) = document["findings"]
    assert (finding["label"], finding["index"]) == ("kidney_right", 1)
    assert document["label_names"] == {"kidney_right": 1}
    assert finding["centre_ras_mm"] == pytest.approx(PHANTOM.marker_centre_mm, abs=0.05)
    mask = np.asarray(nibabel.load(path).dataobj)
    assert np.array_equal(mask == finding["index"], PHANTOM.marker_mask)
    assert document["notice"] == "research use only"
    assert "spleen" not in document["text"]


def test_what_is_no_ct_gets_an_empty_mask_and_a_report_that_says_so(ask, by_name):
    path, document = ask("picture.png")
    assert path.exists()
    assert "not assessable" in document["text"]
    assert document["findings"] == []
    assert document["label_names"] == {}
    assert by_name.asked == []


def test_options_that_viewers_add_do_no_harm(ask):
    path, document = ask(
        "ct.nii.gz", result_extension=".nrrd", result_dtype="uint8", restore_label_idx=False, label="liver"
    )
    assert path.suffix == ".nrrd"
    assert document["task"] == "report"


def test_fhir_is_added_where_it_is_asked_for(ask):
    _, plain = ask("ct.nii.gz")
    assert "fhir" not in plain
    _, document = ask("ct.nii.gz", fhir=True, study_uid="1.2.3")
    read = DiagnosticReport.model_validate(document["fhir"])
    assert read.imagingStudy[0].identifier.value == "urn:oid:1.2.3"
    assert [one["reference"] for one in document["fhir"]["result"]] == ["#finding-1"]
    assert document["text"] == plain["text"]
