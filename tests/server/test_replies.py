"""What comes back: every reply mode, every way to give an image, and all of MONAI Label's other routes."""

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import pytest
import requests
from PIL import Image
from requests_toolbelt.multipart.decoder import MultipartDecoder

from phantoms import marker_volume
from scripted.client import infer, mask_of
from scripted.predictor import SLOW
from scripted.studies import phantom_of

pytestmark = pytest.mark.server

PHANTOM = marker_volume("LPS")
INSIDE = np.argwhere(PHANTOM.marker_mask)[0].tolist()
BOX = [PHANTOM.box_low_ijk.tolist(), PHANTOM.box_high_ijk.tolist()]


def test_the_mode_image_is_the_file(server, tmp_path):
    response = infer(server, output="image", box=BOX)
    assert np.array_equal(mask_of(response, tmp_path), PHANTOM.marker_mask)
    assert "filename" in response.headers["content-disposition"]


def test_the_mode_json_is_the_document(server):
    document = infer(server, output="json", box=BOX, label="liver").json()
    assert document["label_names"] == {"liver": 1}
    assert document["notice"] == "research use only"


@pytest.mark.parametrize("output", ["all", None])
def test_the_mode_all_is_both_as_parts_of_a_form(server, output):
    response = infer(server, output=output, box=BOX)
    assert response.headers["content-type"].startswith("multipart/form-data")
    params, image = MultipartDecoder.from_response(response).parts
    assert b'name="params"' in params.headers[b"Content-Disposition"]
    assert json.loads(params.content)["label_names"] == {"object": 1}
    assert b'name="image"' in image.headers[b"Content-Disposition"]
    assert b"filename=" in image.headers[b"Content-Disposition"]


def test_the_result_file_is_gone_after_the_reply(server, studies):
    home = next(studies.parent.glob("server*"))
    infer(server, output="image", box=BOX)
    deadline_s = time.monotonic() + 60
    while list(home.rglob("medvl-result-*")):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_an_uploaded_scan_is_segmented_and_not_kept(server, studies, tmp_path):
    upload = {"file": ("anything.nii.gz", (studies / "marker.nii.gz").read_bytes())}
    response = infer(server, "", "image", files=upload, box=BOX)
    assert np.array_equal(mask_of(response, tmp_path), PHANTOM.marker_mask)
    assert "anything" not in requests.get(f"{server}/datastore/?output=all", timeout=60).text


def test_a_picture_uploaded_as_cvat_does_comes_back_as_a_picture(server, studies):
    upload = {"file": ("frame.png", (studies / "picture.png").read_bytes())}
    response = infer(server, "", "image", files=upload, roi=[8, 4, 40, 20], foreground=[[15, 8]])
    assert np.asarray(Image.open(io.BytesIO(response.content))).shape == (40, 60)


def test_a_session_is_one_users_image(server, studies, tmp_path):
    upload = {"files": ("scan.nii.gz", (studies / "marker.nii.gz").read_bytes())}
    created = requests.put(f"{server}/session/", files=upload, timeout=60).json()
    session = {"session_id": created["session_id"]}
    response = infer(server, "", "image", box=BOX, **session)
    assert np.array_equal(mask_of(response, tmp_path), PHANTOM.marker_mask)
    assert requests.delete(f"{server}/session/{session['session_id']}", timeout=60).status_code == 200
    assert infer(server, "", "image", box=BOX, **session).status_code == 410


def test_a_dicom_folder_is_segmented_on_the_grid_of_the_file_that_clients_download(server, tmp_path):
    content = requests.get(f"{server}/datastore/image?image=series", timeout=60).content
    (tmp_path / "series.nii.gz").write_bytes(content)
    scan = nibabel.load(tmp_path / "series.nii.gz")
    (click, *_) = np.argwhere(np.asarray(scan.dataobj) > 250)
    mask = mask_of(infer(server, "series", "image", foreground=[click.tolist()]), tmp_path)
    assert mask.shape == scan.shape
    assert np.array_equal(mask > 0, np.asarray(scan.dataobj) > 150)


def test_scribbles_as_bare_voxels_first_axis_fastest_are_strokes(server, tmp_path):
    strokes = np.zeros(PHANTOM.volume.shape, dtype=np.uint8)
    strokes[tuple(INSIDE)] = 3
    label = {"label": ("label.bin", strokes.tobytes(order="F"))}
    response = infer(server, output="image", files=label)
    assert np.array_equal(mask_of(response, tmp_path), PHANTOM.marker_mask)


def test_an_oblique_scan_gives_the_marker_at_its_voxels(server, tmp_path):
    phantom = phantom_of("oblique")
    box = [phantom.box_low_ijk.tolist(), phantom.box_high_ijk.tolist()]
    assert np.array_equal(mask_of(infer(server, "oblique", "image", box=box), tmp_path), phantom.marker_mask)


def test_a_mask_is_kept_as_a_label_when_asked(server):
    assert infer(server, box=BOX, save_label=True, label_tag="kept").status_code == 200
    assert requests.get(f"{server}/datastore/label?label=marker&tag=kept", timeout=60).status_code == 200
    assert requests.delete(f"{server}/datastore/label?id=marker&tag=kept", timeout=60).status_code == 200


def test_info_is_as_viewers_need_it(server):
    info = requests.get(f"{server}/info/", timeout=60).json()
    model = info["models"]["interactive"]
    assert (model["type"], model["dimension"]) == ("deepgrow", 3)
    assert isinstance(info["labels"], list)
    assert "config" not in info
    assert info["datastore"]["total"] >= 4
    assert info["strategies"].keys() >= {"random"}


def test_the_next_sample_is_an_image_that_can_be_downloaded(server):
    sample = requests.post(f"{server}/activelearning/random", json={"client_id": "ann"}, timeout=60).json()
    response = requests.head(f"{server}/datastore/image?image={sample['id']}", timeout=60)
    assert response.status_code == 200


def test_an_image_and_its_label_go_up_and_come_down_again(server, studies):
    content = (studies / "marker.nii.gz").read_bytes()
    up = requests.put(
        f"{server}/datastore/?image=fresh", files={"file": ("C:\\x\\scan.nii.gz", content)}, timeout=60
    )
    assert up.json() == {"image": "fresh"}
    label = {"label": ("label.nii.gz", content)}
    params = {"params": json.dumps({"label_info": [{"name": "liver", "idx": 1}], "client_id": "ann"})}
    saved = requests.put(f"{server}/datastore/label?image=fresh", files=label, data=params, timeout=60)
    assert saved.json() == {"image": "fresh", "label": "fresh"}
    down = requests.get(f"{server}/datastore/label?label=fresh&tag=final", timeout=60)
    assert down.content == content
    assert requests.delete(f"{server}/datastore/?id=fresh", timeout=60).status_code == 200


def test_ohif_is_served_with_its_nested_files_and_its_own_addresses(server):
    page = requests.get(f"{server}/ohif/", timeout=60)
    assert page.status_code == 200
    assert "<html" in page.text.lower()
    assert requests.get(f"{server}/ohif/monai-label?StudyInstanceUIDs=1.2", timeout=60).text == page.text
    icon = requests.get(f"{server}/ohif/assets/android-chrome-144x144.png", timeout=60)
    assert icon.headers["content-type"] == "image/png"


def test_every_answer_has_a_number_that_the_log_knows(server):
    assert len(infer(server, box=BOX).headers["x-request-id"]) == 12


def test_a_full_server_says_when_to_try_again_and_still_answers_questions(server):
    """Two run and six wait, as the fixture starts it."""
    with ThreadPoolExecutor(9) as pool:
        replies = [pool.submit(infer, server, text=SLOW, box=BOX) for _ in range(9)]
        assert requests.get(f"{server}/info/", timeout=60).ok
        assert not all(reply.done() for reply in replies)
    statuses = sorted(reply.result().status_code for reply in replies)
    assert statuses == [200] * 8 + [503]
    (full,) = (reply.result() for reply in replies if reply.result().status_code == 503)
    assert int(full.headers["retry-after"]) > 0
