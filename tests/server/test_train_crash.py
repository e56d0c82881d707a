"""The whole loop with a real server: labels, training, publishing, kill -9 at random moments."""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

from lib.formats import write_mask, write_volume
from lib.mask import Mask
from lib.model.sources import file_sha256
from lib.model.versions import list_versions, roll_back, serving_number, serving_version, version_path
from lib.model.weights import WeightsState, default_weights_dir, list_entries, weights_state
from lib.volume import Modality, Volume
from scripted.process import ServerProcess

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(3600)]

WEIGHTS = "medvl-lite"
AFFINE = np.diag([3.0, 3.0, 6.0, 1.0])
QUICK = {"max_epochs": 2, "steps_per_epoch": 2, "train_batch_size": 1}


@dataclass
class RealServer(ServerProcess):
    """`medvl serve` itself."""

    def command(self) -> list[str]:
        medvl = str(Path(sys.executable).with_name("medvl"))
        head = [medvl, "serve", "--studies", str(self.studies), "--port", str(self.port)]
        pairs = zip(self.conf[::2], self.conf[1::2], strict=True)
        return [*head, *(word for pair in pairs for word in ("--conf", *pair))]


@pytest.fixture
def weights_dir(tmp_path) -> Path:
    installed = default_weights_dir()
    if weights_state(list_entries(installed)[WEIGHTS], installed) is not WeightsState.VERIFIED:
        pytest.skip("the default weights are not installed; `make setup` fetches them")
    folder = tmp_path / "weights"
    folder.mkdir()
    for suffix in (".safetensors", ".json"):
        (folder / f"{WEIGHTS}{suffix}").symlink_to(installed / f"{WEIGHTS}{suffix}")
    return folder


@pytest.fixture
def server(tmp_path, weights_dir):
    studies = tmp_path / "studies"
    studies.mkdir()
    for number, low in enumerate((6, 14, 20), start=1):
        label_map = np.zeros((40, 40, 4), dtype=np.uint8)
        label_map[low : low + 10, 8:20, 0:3] = 1
        hu = np.where(label_map > 0, 90.0, -60.0).astype(np.float32)
        write_volume(Volume(hu[None], AFFINE, Modality.CT), studies / f"block_{number:03d}.nii.gz")
        write_mask(Mask(label_map, AFFINE, {"block": 1}), tmp_path / f"block_{number:03d}.nii.gz")
    conf = ("weights_dir", str(weights_dir), "weights", WEIGHTS)
    process = RealServer(studies, tmp_path / "log", {"TMPDIR": str(tmp_path)}, conf)
    yield process
    process.stop()


def save_labels(server, folder) -> None:
    for number in (1, 2, 3):
        name = f"block_{number:03d}"
        answer = requests.put(
            f"{server.address}/datastore/label?image={name}",
            files={"label": (f"{name}.nii.gz", (folder / f"{name}.nii.gz").read_bytes())},
            data={"params": json.dumps({"label_info": [{"name": "odd block", "idx": 1}]})},
            timeout=60,
        )
        assert answer.ok, answer.text


def wait_for_end(server) -> dict:
    while (task := requests.get(f"{server.address}/train/", timeout=60).json())["status"] in (
        "SUBMITTED",
        "RUNNING",
    ):
        time.sleep(0.5)
    return task


def assert_whole(weights_dir) -> None:
    serving_version(WEIGHTS, weights_dir)
    for version in list_versions(WEIGHTS, weights_dir):
        assert file_sha256(version_path(WEIGHTS, version.number, weights_dir)) == version.sha256


def click(server) -> str:
    """Segments a block; gives the hash of the weights that drew it."""
    answer = requests.post(
        f"{server.address}/infer/interactive?image=block_001&output=json",
        data={"params": json.dumps({"foreground": [[10, 12, 1]], "label": "block"})},
        timeout=300,
    )
    assert answer.ok, answer.text
    return answer.json()["model"]["weights_sha256"]


def test_labels_become_a_better_model_that_serves_without_a_restart(server, weights_dir, tmp_path):
    server.start()
    refused = requests.post(f"{server.address}/train/medvl", json={}, timeout=60)
    assert (refused.status_code, "at least 2 patients" in refused.text) == (422, True)
    save_labels(server, tmp_path)
    before = click(server)
    info = requests.get(f"{server.address}/info/", timeout=60).json()
    assert "odd block" not in info["labels"]
    assert info["train_stats"]["medvl"]["total_time"]
    started = requests.post(f"{server.address}/train/medvl", json=QUICK, timeout=60)
    assert started.ok, started.text
    again = requests.post(f"{server.address}/train/medvl", json=QUICK, timeout=60)
    assert again.status_code == 429
    task = wait_for_end(server)
    assert task["status"] == "DONE", task["details"]
    info = requests.get(f"{server.address}/info/", timeout=60).json()
    assert "odd block" in info["labels"]
    assert "odd block" in info["models"]["interactive"]["labels"]
    number = serving_number(WEIGHTS, weights_dir)
    assert info["train_stats"]["medvl"]["published"] == number
    assert (click(server) != before) == (number > 0)
    if number:
        roll_back(WEIGHTS, weights_dir)
        assert click(server) == before


def test_a_stopped_training_leaves_the_model_and_the_next_one_goes_on(server, weights_dir, tmp_path):
    server.start()
    save_labels(server, tmp_path)
    options = QUICK | {"max_epochs": 500}
    requests.post(f"{server.address}/train/medvl", json=options, timeout=60)
    while not list(weights_dir.rglob("checkpoint.pt")):
        time.sleep(0.2)
        assert wait_alive(server)
    stopped = requests.delete(f"{server.address}/train/", timeout=60).json()
    assert (stopped["status"], bool(stopped["details"])) == ("STOPPED", True)
    stats = requests.get(f"{server.address}/info/", timeout=60).json()["train_stats"]["medvl"]
    assert stats["message"] == "stopped before its end"
    assert serving_number(WEIGHTS, weights_dir) == 0
    click(server)
    (progress,) = weights_dir.rglob("progress.json")
    done = len(json.loads(progress.read_text())["epochs"])
    requests.post(f"{server.address}/train/medvl", json=options, timeout=60)
    while len(json.loads(progress.read_text())["epochs"]) < done + 1:
        time.sleep(0.2)
        assert wait_alive(server)
    requests.delete(f"{server.address}/train/", timeout=60)


def wait_alive(server) -> bool:
    return requests.get(f"{server.address}/train/", timeout=60).json()["status"] in ("SUBMITTED", "RUNNING")


def test_training_ends_when_its_server_is_killed(server, weights_dir, tmp_path):
    server.start()
    save_labels(server, tmp_path)
    requests.post(f"{server.address}/train/medvl", json=QUICK | {"max_epochs": 500}, timeout=60)
    while not list(weights_dir.rglob("checkpoint.pt")):
        time.sleep(0.2)
    children = psutil.Process(server.process.pid).children(recursive=True)
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    assert children
    _, alive = psutil.wait_procs(children, timeout=300)
    assert not alive
    assert serving_number(WEIGHTS, weights_dir) == 0


def test_kill_9_at_20_random_moments_of_training_loses_nothing(server, weights_dir, tmp_path, rng):
    server.start()
    save_labels(server, tmp_path)
    labels = {path.name: file_sha256(path) for path in (server.studies / "labels" / "final").iterdir()}
    for _ in range(20):
        answer = requests.post(f"{server.address}/train/medvl", json=QUICK, timeout=60)
        assert answer.ok, answer.text
        time.sleep(float(rng.uniform(0, 25)))
        server.kill()
        assert_whole(weights_dir)
        server.start()
        found = {path.name: file_sha256(path) for path in (server.studies / "labels" / "final").iterdir()}
        assert found == labels
        click(server)
    requests.post(f"{server.address}/train/medvl", json=QUICK, timeout=60)
    assert wait_for_end(server)["status"] == "DONE"
    assert_whole(weights_dir)
