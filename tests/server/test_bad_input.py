"""Bad input is a clear 4xx over real HTTP, and the server answers the next request."""

import io
import json
import time
import zipfile

import numpy as np
import pytest
import requests

from phantoms import marker_volume
from scripted.client import infer
from scripted.studies import UNREADABLE

pytestmark = pytest.mark.server

PHANTOM = marker_volume("LPS")
INSIDE = np.argwhere(PHANTOM.marker_mask)[0].tolist()
LOW, HIGH = PHANTOM.box_low_ijk.tolist(), PHANTOM.box_high_ijk.tolist()
GOOD = {"foreground": [INSIDE]}


@pytest.fixture(autouse=True)
def _the_server_lives_on(server):
    yield
    assert infer(server, **GOOD).status_code == 200


def detail_of(response: requests.Response, status: int) -> str:
    """The one sentence of a refusal, which shows nothing of the server's inside."""
    assert response.status_code == status, response.text
    detail = response.json()["detail"]
    assert isinstance(detail, str)
    assert detail
    for inside in ("Traceback", "/tmp", "site-packages", ".py", "Error:"):
        assert inside not in detail
    return detail


def test_an_unknown_model_is_not_found_and_the_known_ones_are_named(server):
    assert "interactive" in detail_of(infer(server, model="segmentaton", **GOOD), 404)


def test_a_missing_image_is_not_found(server):
    assert "no_such_scan" in detail_of(infer(server, "no_such_scan", **GOOD), 404)


def test_no_image_at_all_is_refused(server):
    detail_of(infer(server, "", **GOOD), 400)


@pytest.mark.parametrize(
    "image",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "labels/final/marker",
        "a\0b",
        "..\\x",
        "%2e%2e/x",
        "x" * 5000,
    ],
)
def test_an_image_that_is_a_path_is_refused(server, image):
    assert infer(server, image, **GOOD).status_code in {404, 414, 422}


def test_an_absolute_path_of_a_served_file_is_refused(server, studies):
    assert infer(server, str(studies / "marker.nii.gz"), **GOOD).status_code == 422


@pytest.mark.parametrize("key", ["image", "model", "session", "scribbles"])
def test_params_cannot_name_another_image_model_or_session(server, key):
    params = json.dumps(GOOD | {key: "/etc/passwd"})
    assert key in detail_of(infer(server, params=params), 400)


@pytest.mark.parametrize(
    "point",
    [[400, 1, 1], [-2, 1, 1], [1, 1, "x"], [1, None, 1], [1, True, 1], [1, 2], [1e300, 0, 0], "1,2,3"],
)
def test_points_outside_or_that_are_not_numbers_are_refused(server, point):
    detail_of(infer(server, foreground=[point]), 422)


@pytest.mark.parametrize("text", ['{"foreground": [[NaN, 1, 1]]}', '{"foreground": [[Infinity, 1, 1]]}'])
def test_coordinates_that_are_not_finite_are_refused(server, text):
    assert "finite" in detail_of(infer(server, params=text), 422)


def test_an_inverted_box_is_refused_and_slicers_falling_roi_is_not(server):
    assert "inverted" in detail_of(infer(server, box=[HIGH, LOW]), 422)
    falling = [value for pair in zip(HIGH, LOW, strict=True) for value in pair]
    assert infer(server, roi=falling).status_code == 200


@pytest.mark.parametrize(
    "options", [{}, {"foreground": []}, {"background": [[1, 1, 1]]}, {"box": []}, {"roi": []}]
)
def test_an_empty_prompt_is_refused_with_what_to_send(server, options):
    assert "foreground click" in detail_of(infer(server, **options), 422)


def test_ten_thousand_points_are_refused(server):
    assert "10000" in detail_of(infer(server, foreground=[[1, 1, 1]] * 10_000), 422)


def test_a_million_points_are_refused(server):
    assert infer(server, foreground=[[1, 1, 1]] * 1_000_000).status_code in {400, 413, 422}


@pytest.mark.parametrize("image", UNREADABLE)
def test_a_file_that_is_no_scan_is_refused_with_the_reason(server, image):
    detail_of(infer(server, image, foreground=[[1, 1, 1]]), 422)


@pytest.mark.parametrize("params", ["{", "[]", "7", "null", "foreground=1", '"text"', "[" * 100_000])
def test_params_that_are_not_a_json_object_are_refused(server, params):
    assert "JSON object" in detail_of(infer(server, params=params), 400)


def test_an_unknown_option_is_refused_with_the_known_ones(server):
    detail = detail_of(infer(server, foregrounds=[INSIDE]), 400)
    assert "'foregrounds'" in detail
    assert "foreground" in detail


@pytest.mark.parametrize("output", ["video", "dicom_seg"])
def test_a_reply_mode_that_is_not_offered_is_refused(server, output):
    assert infer(server, output=output, **GOOD).status_code in {400, 422}


@pytest.mark.parametrize("session_id", ["3a00f6e1-ba5c-47f8-b3c4-9ae59a18d730", "never-was", "../..", "a\0b"])
def test_a_session_that_is_gone_is_a_410(server, session_id):
    assert "session" in detail_of(infer(server, "", session_id=session_id, **GOOD), 410)


def test_an_expired_session_is_a_410_and_its_image_does_not_come_from_elsewhere(server, studies):
    upload = (studies / "marker.nii.gz").read_bytes()
    lasting, expired = (
        requests.put(
            f"{server}/session/?expiry={expiry_s}", files={"files": ("scan.nii.gz", upload)}, timeout=60
        ).json()["session_id"]
        for expiry_s in (600, 1)
    )
    time.sleep(2.2)
    assert infer(server, "", session_id=lasting, **GOOD).status_code == 200
    detail_of(infer(server, "marker", session_id=expired, **GOOD), 410)


def test_an_upload_that_is_no_scan_is_refused(server):
    response = infer(server, "", files={"file": ("scan.nii.gz", b"hello")}, **GOOD)
    detail_of(response, 422)


def test_a_scribble_on_another_grid_is_refused(server, studies):
    label = ("label.bin", bytes(1000))
    assert "1000 bytes" in detail_of(infer(server, files={"label": label}), 422)
    other = ("label.nii.gz", (studies / "oblique.nii.gz").read_bytes())
    detail_of(infer(server, files={"label": other}), 422)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/datastore/?image=../evil"),
        ("PUT", "/datastore/?image=/tmp/evil"),
        ("PUT", "/datastore/image?image=..%2F..%2Fevil"),
        ("PUT", "/datastore/label?image=marker&tag=../.."),
        ("PUT", "/datastore/label?image=../marker"),
        ("GET", "/datastore/image?image=../../etc/passwd"),
        ("GET", "/datastore/label?label=../x&tag=final"),
        ("GET", "/datastore/label?label=marker&tag=../../"),
        ("DELETE", "/datastore/?id=../x"),
    ],
)
def test_names_that_lead_out_of_the_datastore_are_refused(server, studies, method, path):
    files = {"file": ("x.nii.gz", b"x"), "label": ("x.nii.gz", b"x")} if method == "PUT" else None
    before = sorted(studies.rglob("*"))
    response = requests.request(method, f"{server}{path}", files=files, timeout=60)
    assert response.status_code in {400, 404, 422}
    assert sorted(studies.rglob("*")) == before
    assert not list(studies.parent.glob("evil*"))


@pytest.mark.parametrize("name", ["..", "/"])
def test_an_uploaded_file_name_that_is_none_is_refused(server, name):
    response = requests.put(f"{server}/datastore/", files={"file": (name, b"x")}, timeout=60)
    assert response.status_code in {400, 422}


def test_an_archive_cannot_write_outside_its_session(server, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../evil.txt", b"x")
    upload = {"files": ("scan.zip", buffer.getvalue())}
    response = requests.put(f"{server}/session/?uncompress=true", files=upload, timeout=60)
    assert "archive" in detail_of(response, 422)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/activelearning/unknown", 404),
        ("GET", "/datastore/image?image=nobody", 404),
        ("GET", "/datastore/?output=everything", 422),
        ("PUT", "/datastore/label?image=nobody", 404),
        ("GET", "/session/00000000-0000-0000-0000-000000000000", 404),
        ("POST", "/reload", 405),
        ("PUT", "/model/interactive", 404),
        ("GET", "/logs/", 404),
        ("POST", "/infer/wsi/interactive?image=/etc/passwd", 404),
        ("GET", "/ohif/../../../etc/passwd", 404),
    ],
)
def test_other_routes_answer_bad_input_with_a_4xx(server, method, path, status):
    files = {"label": ("x.nii.gz", b"x")} if method == "PUT" else None
    response = requests.request(method, f"{server}{path}", files=files, timeout=60)
    assert response.status_code in {status, 404, 405}


def test_json_in_other_forms_that_is_none_is_refused(server):
    response = requests.put(
        f"{server}/datastore/label?image=marker",
        files={"label": ("x.nii.gz", b"x")},
        data={"params": "{"},
        timeout=60,
    )
    assert "JSON" in detail_of(response, 400)


def test_pages_of_other_sites_may_not_call_the_server(server):
    response = requests.get(f"{server}/info/", headers={"Origin": "https://evil.example"}, timeout=60)
    assert "access-control-allow-origin" not in response.headers
