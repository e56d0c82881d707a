"""MONAI Label's own Python client, unmodified, as scripts and 3D Slicer use it."""

import nibabel
import numpy as np
import pytest
from monailabel.client.client import MONAILabelClient, MONAILabelClientException

from phantoms import marker_volume

pytestmark = pytest.mark.server

PHANTOM = marker_volume("LPS")
BOX = [PHANTOM.box_low_ijk.tolist(), PHANTOM.box_high_ijk.tolist()]


@pytest.fixture
def client(server, tmp_path):
    return MONAILabelClient(server, tmpdir=str(tmp_path), client_id="ann")


def test_a_mask_and_its_document_come_together(client):
    file, params = client.infer("interactive", "marker", {"box": BOX, "label": "liver"})
    assert np.array_equal(np.asarray(nibabel.load(file).dataobj), PHANTOM.marker_mask)
    assert params["label_names"] == {"liver": 1}


def test_a_client_without_an_id_or_options_of_its_own_is_served(server, tmp_path):
    client = MONAILabelClient(server, tmpdir=str(tmp_path))
    file, _ = client.infer(
        "interactive", "marker", {"foreground": np.argwhere(PHANTOM.marker_mask)[:1].tolist()}
    )
    assert np.array_equal(np.asarray(nibabel.load(file).dataobj), PHANTOM.marker_mask)


def test_a_refusal_reaches_the_client_as_the_sentence(client):
    with pytest.raises(MONAILabelClientException) as refusal:
        client.infer("interactive", "marker", {"foreground": [[999, 0, 0]]})
    assert "422" in refusal.value.msg
    assert "outside the scan" in refusal.value.msg


def test_a_session_with_a_scan_of_its_own(client, studies):
    session = client.create_session(str(studies / "marker.nii.gz"))["session_id"]
    assert client.get_session(session)["name"] == session
    file, _ = client.infer("interactive", "", {"box": BOX}, session_id=session)
    assert np.array_equal(np.asarray(nibabel.load(file).dataobj), PHANTOM.marker_mask)
    client.remove_session(session)
    with pytest.raises(MONAILabelClientException):
        client.get_session(session)


def test_a_scan_given_as_a_file(client, studies):
    file, _ = client.infer("interactive", "", {"box": BOX}, file=str(studies / "marker.nii.gz"))
    assert np.array_equal(np.asarray(nibabel.load(file).dataobj), PHANTOM.marker_mask)


def test_a_scribble_given_as_a_file(client, tmp_path):
    strokes = np.zeros(PHANTOM.volume.shape, dtype=np.uint8)
    strokes[tuple(np.argwhere(PHANTOM.marker_mask)[3])] = 1
    nibabel.save(nibabel.Nifti1Image(strokes, PHANTOM.volume.affine), tmp_path / "strokes.nii.gz")
    file, _ = client.infer("interactive", "marker", {}, label_in=str(tmp_path / "strokes.nii.gz"))
    assert np.array_equal(np.asarray(nibabel.load(file).dataobj), PHANTOM.marker_mask)


def test_an_image_and_a_label_go_up_and_the_label_comes_down(client, studies):
    scan = str(studies / "marker.nii.gz")
    assert client.upload_image(scan, "from_client") == {"image": "from_client"}
    assert client.save_label("from_client", scan, params={"label_info": []})["label"] == "from_client"
    down = client.download_label("from_client", "final")
    assert np.array_equal(np.asarray(nibabel.load(down).dataobj), np.asarray(nibabel.load(scan).dataobj))
    assert "final" in client.datastore()["objects"]["from_client"]["labels"]
    (studies / "from_client.nii.gz").unlink()


def test_the_next_sample_and_the_state_of_training(client):
    assert client.next_sample("random", {})["id"] in client.datastore()["objects"]
    assert client.train_status(check_if_running=True) is False
