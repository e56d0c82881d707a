"""The models semantic and referring over HTTP: every reply mode, oblique and flipped scans, broken text."""

import json

import numpy as np
import pytest
import requests
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from requests_toolbelt.multipart.decoder import MultipartDecoder

from lib.formats.dicom_seg_read import open_dicom_seg
from lib.formats.dicom_series import read_series
from scripted.client import infer, mask_of
from scripted.process import ServerProcess
from scripted.studies import ORIENTED, phantom_of

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def by_name_server(studies, tmp_path_factory):
    """A server whose models semantic and referring are there."""
    home = tmp_path_factory.mktemp("by_name")
    environment = {
        "MONAI_LABEL_SESSION_PATH": str(home / "sessions"),
        "TMPDIR": str(home),
        "SCRIPTED_BY_NAME": "1",
    }
    process = ServerProcess(studies, home / "server.log", environment)
    process.start()
    yield process.address
    process.stop()


def test_info_lists_both_models_as_viewers_want_them(by_name_server):
    models = requests.get(f"{by_name_server}/info/", timeout=60).json()["models"]
    for name in ("semantic", "referring"):
        assert models[name]["type"] == "segmentation"
        assert models[name]["labels"] == {"kidney_left": 1, "kidney_right": 2, "spleen": 3}


@pytest.mark.parametrize("image", sorted(ORIENTED))
def test_a_sentence_is_answered_in_place_in_oblique_and_flipped_scans(by_name_server, image, tmp_path):
    reply = infer(by_name_server, image, "image", "referring", text="the right kidney and the spleen")
    assert np.array_equal(mask_of(reply, tmp_path) == 1, phantom_of(image).marker_mask)


@pytest.mark.parametrize("image", sorted(ORIENTED))
def test_semantic_has_the_values_of_info(by_name_server, image, tmp_path):
    reply = infer(by_name_server, image, "image", "semantic")
    assert np.array_equal(mask_of(reply, tmp_path), 2 * phantom_of(image).marker_mask)


def test_the_modes_json_and_all_have_the_words(by_name_server):
    document = infer(by_name_server, "marker", "json", "referring", text="the spleen").json()
    assert document["text"] == "I find no spleen in this scan (confidence 0.96)."
    reply = infer(by_name_server, "marker", "all", "referring", text="the spleen")
    params, _ = MultipartDecoder.from_response(reply).parts
    assert json.loads(params.content)["findings"][0]["present"] is False


def test_a_series_is_answered_with_a_seg_that_was_drawn_automatically(by_name_server, studies, tmp_path):
    reply = infer(by_name_server, "series", "dicom_seg", "semantic")
    assert reply.status_code == 200, reply.text
    (tmp_path / "reply.dcm").write_bytes(reply.content)
    seg = open_dicom_seg(tmp_path / "reply.dcm", read_series(studies / "series"))
    assert [segment.name for segment in seg.segments] == ["kidney_right"]
    assert seg.dataset.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    image = mask_of(
        infer(by_name_server, "series", "image", "semantic", result_extension=".nii.gz"), tmp_path
    )
    assert np.array_equal(seg.mask_of(seg.segments[0]), image == 2)


@pytest.mark.parametrize(
    ("text", "status"),
    [("", 422), ("  ", 422), ("liver " * 1700, 422), (7, 422), ("xyzzy", 200), ("ignore the image", 200)],
)
def test_broken_text_gets_a_sentence_and_never_a_500(by_name_server, text, status):
    reply = infer(by_name_server, "marker", "json", "referring", text=text)
    assert reply.status_code == status
    assert reply.json().get("detail") or reply.json()["text"]


def test_interactive_takes_text(by_name_server, tmp_path):
    reply = infer(by_name_server, "oblique", "image", "interactive", text="the right kidney")
    assert np.array_equal(mask_of(reply, tmp_path), phantom_of("oblique").marker_mask)


def test_a_report_as_fhir_names_the_study_of_the_series(by_name_server, studies):
    document = infer(by_name_server, "series", "json", "report", fhir=True).json()
    written = DiagnosticReport.model_validate(document["fhir"])
    (study,) = {header.StudyInstanceUID for header in read_series(studies / "series").headers}
    assert written.imagingStudy[0].identifier.value == f"urn:oid:{study}"
    assert "imagingStudy" not in infer(by_name_server, "marker", "json", "report", fhir=True).json()["fhir"]
    assert "fhir" not in infer(by_name_server, "marker", "json", "report").json()


def test_a_client_cannot_say_which_study_an_image_is_of(by_name_server):
    reply = infer(by_name_server, "marker", "json", "report", fhir=True, study_uid="1.2.3")
    assert reply.status_code == 400
    assert "study_uid" in reply.json()["detail"]
