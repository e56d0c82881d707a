"""kill -9 while the server segments and saves; after a restart nothing is lost and nothing half written."""

import json
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
import requests

from lib.formats import write_volume
from phantoms import marker_volume
from scripted.client import infer, mask_of
from scripted.process import ServerProcess

pytestmark = pytest.mark.server

PHANTOM = marker_volume("LPS")
BOX = [PHANTOM.box_low_ijk.tolist(), PHANTOM.box_high_ijk.tolist()]
LABELS = {bytes([value]) * 3_000_000 for value in (1, 2, 3)}


def save_labels_until_it_dies(address: str, answered: list[bytes]) -> None:
    with suppress(requests.RequestException):
        while True:
            for content in LABELS:
                requests.put(
                    f"{address}/datastore/label?image=scan",
                    files={"label": ("label.nii", content)},
                    data={"params": json.dumps({"size": len(content)})},
                    timeout=30,
                ).raise_for_status()
                answered.append(content)


@pytest.fixture
def crashing(tmp_path):
    studies = tmp_path / "studies"
    studies.mkdir()
    write_volume(PHANTOM.volume, studies / "scan.nii.gz")
    (tmp_path / "tmp").mkdir()
    environment = {"TMPDIR": str(tmp_path / "tmp"), "MONAI_LABEL_SESSION_PATH": str(tmp_path / "sessions")}
    process = ServerProcess(studies, tmp_path / "log", environment | {"SCRIPTED_SECONDS": "600"})
    yield process
    process.stop()


def test_kill_9_during_inference_and_label_saving_leaves_nothing_half_done(crashing, tmp_path):
    crashing.start()
    files = {"files": ("scan.nii.gz", (crashing.studies / "scan.nii.gz").read_bytes())}
    session = requests.put(f"{crashing.address}/session/", files=files, timeout=60).json()["session_id"]
    answered: list[bytes] = []
    workers = [
        threading.Thread(target=lambda: suppressed_infer(crashing.address)),
        threading.Thread(target=save_labels_until_it_dies, args=(crashing.address, answered)),
    ]
    for worker in workers:
        worker.start()
    while not answered and workers[1].is_alive():
        time.sleep(0.05)
    time.sleep(1)  # amid one of the next
    crashing.kill()
    for worker in workers:
        worker.join()
    assert answered

    crashing.environment["SCRIPTED_SECONDS"] = "0"
    crashing.start()
    label = requests.get(f"{crashing.address}/datastore/label?label=scan&tag=final", timeout=60)
    assert label.content in LABELS
    stored = requests.get(f"{crashing.address}/datastore/?output=all", timeout=60).json()["objects"]
    assert stored["scan"]["labels"]["final"]["info"]["size"] == len(label.content)
    assert not list(crashing.studies.rglob("*.tmp"))
    assert len(list((tmp_path / "tmp").glob("medvl-serve-*"))) == 1
    assert np.array_equal(
        mask_of(infer(crashing.address, "scan", "image", box=BOX), tmp_path), PHANTOM.marker_mask
    )
    again = infer(crashing.address, "", "image", session_id=session, box=BOX)
    assert np.array_equal(mask_of(again, tmp_path), PHANTOM.marker_mask)


def suppressed_infer(address: str) -> None:
    with suppress(requests.RequestException):
        infer(address, "scan", box=BOX)
