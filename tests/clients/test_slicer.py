"""3D Slicer's own MONAI Label module, unmodified, on our server; only Slicer itself is a stand-in."""

import os
import shutil
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from monailabel.client.client import MONAILabelClient

from lib.formats import write_mask, write_volume
from lib.mask import Mask
from lib.model.weights import default_name, default_weights_dir
from phantoms import marker_volume
from scripted.process import ServerProcess
from scripted.slicer import DialogError, running_slicer

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

PHANTOMS = {
    "flipped": marker_volume("RAS"),
    "oblique": marker_volume("ASR", oblique_degrees=20.0),
}
OWN = marker_volume("LPS", spacing_mm=(0.9, 1.25, 4.0))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slicer")
    for name, phantom in PHANTOMS.items():
        (folder / "studies").mkdir(exist_ok=True)
        write_volume(phantom.volume, folder / "studies" / f"{name}.nii.gz")
    write_volume(OWN.volume, folder / "own.nii.gz")
    return folder


@pytest.fixture(scope="module")
def server(home):
    """Ours, with the segmenter that tests can foresee."""
    environment = {"MONAI_LABEL_SESSION_PATH": str(home / "sessions"), "TMPDIR": str(home)}
    process = ServerProcess(home / "studies", home / "server.log", environment)
    process.start()
    yield process.address
    process.stop()


@pytest.fixture
def slicer(server, tmp_path):
    """The module, connected; nothing runs by itself when a scan is opened."""
    with running_slicer(tmp_path / "slicer", server, autoRunSegmentationOnNextSample=False) as (widget, _):
        yield widget


def choose_label(slicer, name):
    slicer.ui.labelComboBox.currentText = name
    slicer.onSelectLabel()
    assert slicer.ui.labelComboBox.currentText == name


def click(slicer, point_mm):
    slicer.dgPositivePointListNode.AddControlPoint(point_mm)
    slicer.onUpdateDeepgrow()


def voxels(slicer, name):
    """A segment in the order i, j, k."""
    segment = slicer._segmentNode.segmentation.segments[name]
    return np.zeros(1) if segment.voxels is None else segment.voxels.transpose(2, 1, 0)


def final_label(server, image, folder):
    reply = requests.get(f"{server}/datastore/label", params={"label": image, "tag": "final"}, timeout=60)
    assert reply.status_code == 200, reply.text
    (folder / "final.nii.gz").write_bytes(reply.content)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "final.nii.gz"))).transpose(2, 1, 0)


def label_info(server, image):
    listed = requests.get(f"{server}/datastore/?output=all", timeout=60).json()
    return listed["objects"][image]["labels"]["final"]["info"]["label_info"]


def test_the_menus_offer_what_the_server_lists(slicer):
    info = slicer.logic.info()
    assert slicer.ui.deepgrowModelSelector.items == ["interactive"]
    assert slicer.ui.labelComboBox.items == info["labels"]
    assert slicer.ui.strategyBox.items == list(info["strategies"])
    assert slicer.ui.trainerBox.items == list(info["trainers"])
    assert not slicer.isTrainingRunning()


def test_each_scan_is_offered_once_and_saved_as_it_was_drawn(slicer, server, tmp_path):
    for _ in PHANTOMS:
        slicer.onNextSampleButton()
        image = slicer.current_sample["id"]
        phantom = PHANTOMS[image]
        choose_label(slicer, "spleen")
        click(slicer, phantom.marker_centre_mm)
        np.testing.assert_array_equal(voxels(slicer, "spleen"), phantom.marker_mask)
        slicer.onSaveLabel()
        names = {entry["name"]: entry["idx"] for entry in label_info(server, image)}
        expected = np.where(phantom.marker_mask, names["spleen"], 0)
        np.testing.assert_array_equal(final_label(server, image, tmp_path), expected)
    with pytest.raises(DialogError, match="Unlabeled samples or images not found"):
        slicer.onNextSampleButton()


def test_a_scan_comes_over_the_network_where_the_servers_folder_cannot_be_seen(
    slicer, server, home, monkeypatch
):
    requests.delete(f"{server}/datastore/label", params={"id": "oblique", "tag": "final"}, timeout=60)
    seen = os.path.exists
    hidden = str(home / "studies")
    monkeypatch.setattr(os.path, "exists", lambda path: not str(path).startswith(hidden) and seen(path))
    slicer.onNextSampleButton()
    assert slicer.current_sample["id"] == "oblique"
    choose_label(slicer, "liver")
    click(slicer, PHANTOMS["oblique"].marker_centre_mm)
    np.testing.assert_array_equal(voxels(slicer, "liver"), PHANTOMS["oblique"].marker_mask)


def test_a_scan_of_the_users_own_goes_up_as_a_session_and_is_kept_when_it_is_saved(server, home, tmp_path):
    with running_slicer(tmp_path / "slicer", server) as (slicer, scene):
        scene.load(home / "own.nii.gz", "own")
        slicer.updateGUIFromParameterNode()
        choose_label(slicer, "kidney_left")
        click(slicer, OWN.marker_centre_mm)
        assert slicer.logic.get_session(slicer.current_sample["session_id"])["name"]
        np.testing.assert_array_equal(voxels(slicer, "kidney_left"), OWN.marker_mask)
        assert "own" not in slicer.logic.datastore()["objects"]
        slicer.onSaveLabel()
        assert "final" in slicer.logic.datastore()["objects"]["own"]["labels"]
        assert (final_label(server, "own", tmp_path) > 0).sum() == OWN.marker_mask.sum()


def test_a_box_that_is_dragged_and_a_name_that_the_server_does_not_know(server, home, tmp_path):
    with running_slicer(tmp_path / "slicer", server) as (slicer, scene):
        scene.load(home / "own.nii.gz", "own")
        slicer.updateGUIFromParameterNode()
        slicer._segmentNode.segmentation.AddEmptySegment("Segment_1", "abscess")
        slicer.updateGUIFromParameterNode()
        choose_label(slicer, "abscess")
        corners = [(OWN.volume.affine @ [*c, 1])[:3] for c in (OWN.box_low_ijk, OWN.box_high_ijk)]
        box = slicer.ui.sam2PlaceWidget.currentNode()
        box.centre, box.size = np.mean(corners, axis=0), np.abs(np.subtract(*corners))
        slicer.onUpdateDeepgrow()
        np.testing.assert_array_equal(voxels(slicer, "abscess"), OWN.marker_mask)


def test_taking_a_part_away_leaves_the_rest(server, home, tmp_path):
    with running_slicer(tmp_path / "slicer", server) as (slicer, scene):
        scene.load(home / "own.nii.gz", "own")
        slicer.updateGUIFromParameterNode()
        choose_label(slicer, "liver")
        k = int(OWN.box_high_ijk[2])
        slicer.dgNegativePointListNode.AddControlPoint((OWN.volume.affine @ [0, 0, k, 1])[:3])
        click(slicer, OWN.marker_centre_mm)
        expected = OWN.marker_mask.copy()
        expected[:, :, k] = False  # the scripted segmenter takes the slice of a negative click away
        np.testing.assert_array_equal(voxels(slicer, "liver"), expected)


def test_options_that_the_user_changes_are_sent_and_understood(server, home, tmp_path):
    with running_slicer(tmp_path / "slicer", server) as (slicer, scene):
        scene.load(home / "own.nii.gz", "own")
        slicer.updateGUIFromParameterNode()
        slicer.ui.configTable.choice("axis").currentText = "coronal"
        sent = slicer.getParamsFromConfig("infer", "interactive")
        assert sent["axis"] == "coronal"
        assert sent["propagation"] == slicer.logic.info()["models"]["interactive"]["config"]["propagation"][0]
        choose_label(slicer, "liver")
        click(slicer, OWN.marker_centre_mm)
        np.testing.assert_array_equal(voxels(slicer, "liver"), OWN.marker_mask)


def test_a_button_pressed_before_anything_is_placed_says_what_to_do(server, home, tmp_path):
    with running_slicer(tmp_path / "slicer", server) as (slicer, scene):
        scene.load(home / "own.nii.gz", "own")
        slicer.updateGUIFromParameterNode()
        choose_label(slicer, "liver")
        with pytest.raises(DialogError, match="foreground"):
            slicer.onUpdateDeepgrow()


class MedvlServe(ServerProcess):
    """Ours as users start it, with its weights."""

    def command(self):
        medvl = str(Path(sys.executable).with_name("medvl"))
        conf = [
            word
            for key, value in zip(self.conf[::2], self.conf[1::2], strict=True)
            for word in ("--conf", key, value)
        ]
        return [medvl, "serve", "--studies", str(self.studies), "--port", str(self.port), *conf]


@pytest.fixture(scope="module")
def trainable(tmp_path_factory):
    """A server with its weights, two patients and their labels, and a third patient without any."""
    home = tmp_path_factory.mktemp("trainable")
    weights = home / "weights"
    weights.mkdir()
    for path in default_weights_dir().glob(f"{default_name()}.*"):
        shutil.copy(path, weights)
    if not any(weights.iterdir()):
        pytest.skip("the default weights are not here; `make setup` fetches them")
    (home / "studies").mkdir()
    for patient in ("patient_001", "patient_002", "patient_003"):
        write_volume(OWN.volume, home / "studies" / f"{patient}.nii.gz")
    environment = {"MONAI_LABEL_SESSION_PATH": str(home / "sessions"), "TMPDIR": str(home)}
    process = MedvlServe(
        home / "studies", home / "server.log", environment, ("weights_dir", str(weights), "device", "cpu")
    )
    process.start()
    write_mask(Mask(OWN.marker_mask.astype(np.uint8), OWN.volume.affine, {"liver": 1}), home / "label.nii.gz")
    client = MONAILabelClient(process.address, tmpdir=str(home))
    for patient in ("patient_001", "patient_002"):
        info = {"label_info": [{"name": "liver", "idx": 1}]}
        client.save_label(patient, str(home / "label.nii.gz"), params=info)
    yield process.address
    process.stop()


@pytest.mark.slow
def test_training_is_started_watched_and_stopped_from_slicer(trainable, tmp_path):
    with running_slicer(tmp_path / "slicer", trainable) as (slicer, _):
        if not slicer.ui.trainerBox.count:
            pytest.skip("the server offers no trainer")
        assert not slicer.isTrainingRunning()
        slicer.onTraining()
        assert slicer.isTrainingRunning()
        assert slicer.isTrainingRunning(check_only=False)["status"] == "RUNNING"
        slicer.timer = MagicMock()
        slicer.monitorTraining()
        assert slicer.timer is not None, "the module took the training for finished"
        with pytest.raises(DialogError, match="A training is running since"):
            slicer.onTraining()
        slicer.onStopTraining()
        wait_until(lambda: not slicer.isTrainingRunning())
        slicer.monitorTraining()
        assert slicer.timer is None


@pytest.mark.slow
def test_all_structures_at_once_come_back_under_their_names(trainable, tmp_path):
    with running_slicer(tmp_path / "slicer", trainable, autoRunSegmentationOnNextSample=False) as (slicer, _):
        if "semantic" not in slicer.ui.segmentationModelSelector.items:
            pytest.skip("the server offers no model `semantic` of type segmentation")
        slicer.onNextSampleButton()
        slicer.ui.segmentationModelSelector.currentText = "semantic"
        slicer.onClickSegmentation()
        assert set(slicer.models["semantic"]["labels"]) <= set(slicer._segmentNode.segmentation.segments)


def wait_until(is_done):
    deadline = time.monotonic() + 60
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.5)
