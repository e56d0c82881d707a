"""What MONAI Label's own integration tests ask of a server, asked of ours, on a CPU and with its own client.

MONAI Label's tests end early without a GPU and look at the status only. These are written anew from what they
are about: info, session, inference of each kind of task, batch inference, training.
"""

import shutil
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import requests
import skimage
from monailabel.client.client import MONAILabelClient, MONAILabelClientException

from lib.formats import read_volume, write_volume
from lib.model.weights import WeightsState, default_name, default_weights_dir, find_entry, weights_state
from phantoms import marker_volume
from scripted.process import ServerProcess

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

SHAPE = (40, 36, 8)
SCANS = {
    "spleen_3": marker_volume("LPS", shape=SHAPE),
    "spleen_8": marker_volume("RAI", (2.0, 1.0, 4.0), 15.0, SHAPE),
}
JOB_TIMEOUT_S = 600
PROMPTED = {"deepgrow", "deepedit", "vista3d"}


class RealServer(ServerProcess):
    def command(self) -> list[str]:
        medvl = str(Path(sys.executable).with_name("medvl"))
        return [medvl, "serve", "--studies", str(self.studies), "--port", str(self.port)]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for name, phantom in SCANS.items():
        write_volume(phantom.volume, folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def address(scans, tmp_path_factory):
    name, folder = default_name(), default_weights_dir()
    if weights_state(find_entry(name, folder), folder) is not WeightsState.VERIFIED:
        pytest.skip(f"the weights {name} are not installed; run: medvl weights fetch")
    home = tmp_path_factory.mktemp("conformance")
    process = RealServer(scans, home / "log", {"MONAI_LABEL_SESSION_PATH": str(home / "sessions")})
    process.start()
    yield process.address
    process.stop()


@pytest.fixture
def client(address, tmp_path):
    return MONAILabelClient(address, tmpdir=str(tmp_path), client_id="conformance")


@pytest.fixture
def info(client):
    return client.info()


def box_of(name: str) -> list[list[int]]:
    return [SCANS[name].box_low_ijk.tolist(), SCANS[name].box_high_ijk.tolist()]


def finished(address: str, job: str) -> dict:
    """The job's state when it has ended."""
    deadline = time.monotonic() + JOB_TIMEOUT_S
    while time.monotonic() < deadline:
        state = requests.get(f"{address}{job}", timeout=60).json()
        if state["status"] not in {"SUBMITTED", "RUNNING"}:
            return state
        time.sleep(0.5)
    pytest.fail(f"{job} has not ended: {state}")


def test_info_says_what_clients_build_their_panels_from(info):
    assert info["name"]
    assert info["version"]
    assert isinstance(info["labels"], list)
    assert info["labels"]
    assert "config" not in info, "3D Slicer refuses a server with it"
    for part in ("models", "trainers", "strategies", "scoring", "train_stats", "datastore"):
        assert isinstance(info[part], dict), part
    assert info["models"]
    assert info["strategies"]
    assert {"total", "completed"} <= set(info["datastore"])


def test_every_model_says_how_it_is_asked_and_numbers_its_labels_without_gaps(info):
    for name, model in info["models"].items():
        assert {"type", "labels", "dimension", "description", "config"} <= set(model), name
        labels = model["labels"]
        if isinstance(labels, dict):
            assert sorted(labels.values()) == list(range(1, len(labels) + 1)), name
            assert "background" not in labels, name


def test_a_session_holds_an_image_until_it_is_removed(client, address, scans):
    scan = scans / "spleen_3.nii.gz"
    session = client.create_session(str(scan))["session_id"]
    assert client.get_session(session)["name"] == session
    image = requests.get(f"{address}/session/{session}?image=true", timeout=60)
    assert image.content == scan.read_bytes()
    client.remove_session(session)
    with pytest.raises(MONAILabelClientException):
        client.get_session(session)
    assert requests.get(f"{address}/session/{session}", timeout=60).status_code == 404


@pytest.mark.parametrize("image", SCANS)
def test_every_prompted_model_draws_on_the_scans_own_grid(client, info, scans, image):
    names = [name for name, model in info["models"].items() if model["type"] in PROMPTED]
    assert names
    for name in names:
        file, params = client.infer(name, image, {"box": box_of(image), "label": "spleen"})
        mask, scan = nibabel.load(file), nibabel.load(scans / f"{image}.nii.gz")
        assert mask.shape == scan.shape
        assert np.allclose(mask.affine, scan.affine)
        assert np.asarray(mask.dataobj).any()
        assert params["label_names"] == {"spleen": 1}


def test_every_automatic_model_answers_without_anything_drawn(client, info):
    names = [name for name, model in info["models"].items() if model["type"] == "segmentation"]
    if not names:
        pytest.skip("no automatic model is offered: its weights are not installed, or it is not built in yet")
    for name in names:
        options = {"text": "spleen"} if "text" in info["models"][name]["config"] else {}
        file, params = client.infer(name, "spleen_3", options)
        assert nibabel.load(file).shape == SHAPE
        assert isinstance(params, dict)


def others(info) -> list[str]:
    """Models that answer in words."""
    names = [name for name, model in info["models"].items() if model["type"] == "others"]
    if not names:
        pytest.skip("no model that answers in words is offered: its weights are not installed")
    return names


def test_every_model_that_answers_in_words_gives_them_and_a_mask_on_the_scans_grid(client, info):
    for name in others(info):
        options = (
            {"question": "Is the spleen visible?"} if "question" in info["models"][name]["config"] else {}
        )
        file, params = client.infer(name, "spleen_3", options)
        assert nibabel.load(file).shape == SHAPE
        assert isinstance(params["text"], str), name
        assert params["text"], name
        assert isinstance(params["label_names"], dict), name


@pytest.mark.parametrize("photograph", ["coffee.png", "chelsea.png"])
def test_a_photograph_that_is_no_medical_image_is_said_to_be_none(client, info, photograph):
    path = Path(skimage.__file__).parent / "data" / photograph
    session = client.create_session(str(path))["session_id"]
    for name in others(info):
        file, params = client.infer(name, "", {"question": "Is there a tumour?"}, session_id=session)
        assert not read_volume(Path(file)).voxels.any(), name
        assert params["findings"] == [], name
        assert "not assessable" in params["text"], name
    client.remove_session(session)


@pytest.mark.parametrize("output", ["image", "json", "all"])
def test_every_kind_of_reply_is_formed_as_clients_read_it(address, output):
    form = {"params": f'{{"box": {box_of("spleen_3")}, "result_extension": ".nrrd"}}'}
    query = {"image": "spleen_3", "output": output}
    reply = requests.post(f"{address}/infer/interactive", params=query, data=form, timeout=120)
    assert reply.status_code == 200, reply.text
    kinds = {"image": "nrrd", "json": "application/json", "all": "multipart/form-data"}
    assert kinds[output] in reply.headers["content-type"] or reply.content.startswith(b"NRRD")


def test_batch_inference_labels_every_image_and_a_second_run_does_nothing(address, client):
    options = {"box": [[4, 4, 1], [20, 20, 6]], "multi_gpu": True, "device": "cuda", "max_workers": 1}
    url = f"{address}/batch/infer/interactive?images=all"
    begun = requests.post(url, json=options, timeout=60)
    assert begun.status_code == 200, begun.text
    first = finished(address, "/batch/infer")
    assert first["status"] == "DONE", first
    objects = client.datastore()["objects"]
    assert all("original" in objects[name]["labels"] for name in SCANS)
    stamps = {name: objects[name]["labels"]["original"]["info"]["ts"] for name in SCANS}
    assert requests.post(url, json=options, timeout=60).status_code == 200
    second = finished(address, "/batch/infer")
    assert second["status"] == "DONE"
    assert any("skipped" in line for line in second["details"])
    again = client.datastore()["objects"]
    assert {name: again[name]["labels"]["original"]["info"]["ts"] for name in SCANS} == stamps


def test_a_batch_for_a_model_that_is_not_there_is_not_begun(address):
    assert requests.post(f"{address}/batch/infer/nothing", json={}, timeout=60).status_code == 404


def test_training_begins_shows_its_state_and_stops(client, info, scans, tmp_path):
    if "medvl" not in info["trainers"]:
        pytest.skip("no trainer is offered by this server")
    for name, phantom in SCANS.items():
        label = tmp_path / f"{name}.nii.gz"
        mask = nibabel.Nifti1Image(phantom.marker_mask.astype(np.uint8), phantom.volume.affine)
        nibabel.save(mask, label)
        saved = client.save_label(name, str(label), params={"label_info": [{"name": "spleen", "idx": 1}]})
        assert saved["label"] == name
    begun = client.train_start("medvl", {"max_epochs": 1})
    assert begun["status"] in {"SUBMITTED", "RUNNING"}
    assert client.train_status()["status"] in {"SUBMITTED", "RUNNING", "DONE", "ERROR"}
    client.train_stop()
    deadline = time.monotonic() + 60
    while client.train_status(check_if_running=True) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert client.train_status(check_if_running=True) is False
    assert "interactive" in client.info()["models"]
    shutil.rmtree(scans / "labels" / "final")
