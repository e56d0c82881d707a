"""The real server and network: users at once, `/info/` meanwhile, and MONAI Label's own launcher."""

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import requests
from monailabel.client.client import MONAILabelClient, MONAILabelClientException

from conftest import REPOSITORY
from lib.formats import write_volume
from lib.model.weights import WeightsState, default_name, default_weights_dir, find_entry, weights_state
from phantoms import marker_volume
from scripted.client import infer, mask_of
from scripted.process import ServerProcess

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

SHAPE = (40, 36, 8)
SCANS = {"one": marker_volume("LPS", shape=SHAPE), "two": marker_volume("RAI", (2.0, 1.0, 4.0), 15.0, SHAPE)}


@pytest.fixture(scope="module", autouse=True)
def _weights():
    name, folder = default_name(), default_weights_dir()
    if weights_state(find_entry(name, folder), folder) is not WeightsState.VERIFIED:
        pytest.skip(f"the weights {name} are not installed; run: medvl weights fetch")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for name, phantom in SCANS.items():
        write_volume(phantom.volume, folder / f"{name}.nii.gz")
    return folder


class RealServer(ServerProcess):
    def command(self) -> list[str]:
        medvl = str(Path(sys.executable).with_name("medvl"))
        return [medvl, "serve", "--studies", str(self.studies), "--port", str(self.port)]


class PlainLauncher(ServerProcess):
    """MONAI Label's own."""

    def command(self) -> list[str]:
        launcher = [sys.executable, "-m", "monailabel.main", "start_server", "--host", "127.0.0.1"]
        app = str(REPOSITORY / "apps" / "medvl")
        return [*launcher, "--app", app, "--studies", str(self.studies), "--port", str(self.port)]


def running(kind, scans, home):
    process = kind(scans, home / "log", {"MONAI_LABEL_SESSION_PATH": str(home / "sessions")})
    process.start()
    yield process.address
    process.stop()


@pytest.fixture(scope="module")
def real_server(scans, tmp_path_factory):
    yield from running(RealServer, scans, tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def plain_server(scans, tmp_path_factory):
    yield from running(PlainLauncher, scans, tmp_path_factory.mktemp("plain"))


def box_of(name: str) -> list[list[int]]:
    phantom = SCANS[name]
    return [phantom.box_low_ijk.tolist(), phantom.box_high_ijk.tolist()]


def click_of(name: str) -> list[int]:
    voxels = np.argwhere(SCANS[name].marker_mask)
    return voxels[len(voxels) // 2].tolist()


def overlap(mask: np.ndarray, name: str) -> float:
    marker = SCANS[name].marker_mask
    return 2 * float((marker & (mask > 0)).sum()) / float(marker.sum() + (mask > 0).sum())


def test_users_at_once_on_one_scan_and_on_two_get_what_they_would_get_alone(real_server, tmp_path):
    """Together first, so that nothing is in a cache yet; `/info/` answers all the while."""
    work = {
        "ann": [("one", {"box": box_of("one")}), ("one", {"box": box_of("one"), "background": [[0, 0, 0]]})],
        "bob": [("one", {"foreground": [click_of("one")]})],
        "cleo": [("two", {"box": box_of("two")})],
        "dan": [("two", {"roi": [v for pair in zip(*box_of("two"), strict=True) for v in pair]})],
    }

    def results_of(user: str, client_id: str) -> list[np.ndarray]:
        folder = tmp_path / client_id
        folder.mkdir()
        replies = (
            infer(real_server, scan, "image", client_id=client_id, **given) for scan, given in work[user]
        )
        return [mask_of(reply, folder) for reply in replies]

    together: dict[str, list[np.ndarray]] = {}
    threads = [
        threading.Thread(target=lambda user=user: together.update({user: results_of(user, user)}))
        for user in work
    ]
    for thread in threads:
        thread.start()
    answered = 0
    while any(thread.is_alive() for thread in threads):
        assert requests.get(f"{real_server}/info/", timeout=60).ok
        answered += 1
        time.sleep(0.02)
    for user in work:
        alone = results_of(user, f"{user}-alone")
        assert all(np.array_equal(one, other) for one, other in zip(together[user], alone, strict=True))
    assert answered > 5  # how long each waits is for the benchmark to say


@pytest.mark.parametrize("name", SCANS)
def test_the_network_draws_the_marker_where_it_is(real_server, tmp_path, name):
    mask = mask_of(infer(real_server, name, "image", box=box_of(name)), tmp_path)
    assert overlap(mask, name) > 0.6


def test_monai_labels_own_client_segments_under_medvl_serve(real_server, tmp_path):
    client = MONAILabelClient(real_server, tmpdir=str(tmp_path))
    file, params = client.infer("interactive", "one", {"box": box_of("one"), "label": "liver"})
    assert params["label_names"] == {"liver": 1}
    assert params["model"]["name"] == default_name()
    assert file.endswith(".nii.gz")


def test_monai_labels_own_launcher_serves_the_app(plain_server, tmp_path):
    client = MONAILabelClient(plain_server, tmpdir=str(tmp_path))
    assert client.info()["models"]["interactive"]["type"] == "deepgrow"
    _, params = client.infer("interactive", "one", {"box": box_of("one")})
    assert params["label_names"] == {"object": 1}
    with pytest.raises(MONAILabelClientException) as refusal:
        client.infer("interactive", "one", {"foreground": [[400, 1, 1]]})
    assert "422" in refusal.value.msg
    assert "outside" in refusal.value.msg


@pytest.mark.parametrize("path", ["/etc/passwd", "{scans}/../../../etc/passwd"])
def test_under_monai_labels_own_launcher_a_client_cannot_name_a_path(plain_server, scans, path):
    params = json.dumps({"image": path.format(scans=scans), "foreground": [[1, 1, 1]]})
    response = infer(plain_server, "one", params=params)
    assert response.status_code == 404
