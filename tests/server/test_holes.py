"""What MONAI Label's server is known to let through, tried on ours over real HTTP.

The slow half tries the same attacks on MONAI Label itself, so that an attack that no longer works is
noticed.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from lib.cli.server_process import free_port
from scripted.attacks import ATTACKS, EVIL_SITE, Target
from scripted.client import infer
from scripted.process import TESTS

pytestmark = pytest.mark.server

BARE_APP = TESTS / "scripted" / "upstream_app"
START_TIMEOUT_S = 280


@pytest.fixture
def target(server, studies):
    return Target(server, studies, "marker", "interactive")


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_no_known_attack_succeeds(target, attack):
    assert not attack(target)


def test_a_page_of_another_site_is_refused_with_the_reason(target):
    reply = target.call("POST", "/activelearning/random", headers={"Origin": EVIL_SITE})
    assert reply.status_code == 403
    assert "cors_origins" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/train/medvl", {"train_ds": "/etc/passwd"}),
        ("/train/", {"medvl": {"val_ds": "/etc/passwd"}}),
        ("/train/medvl", {"bundle_path": "/tmp"}),
        ("/train/medvl", {"tracking_uri": "http://evil.example"}),
        ("/batch/infer/interactive", {"logging": "DEBUG"}),
    ],
)
def test_options_that_name_files_or_code_of_the_server_are_the_operators(target, path, options):
    reply = target.call("POST", path, json=options)
    assert reply.status_code == 400, reply.text
    assert "operator" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/train/medvl", {"name": "../../evil"}),
        ("/batch/infer/interactive", {"images": ["/etc/passwd"]}),
        ("/batch/infer/interactive", {"images": ["marker", "../x"]}),
        ("/batch/infer/interactive", {"label_tag": "../.."}),
    ],
)
def test_names_in_a_jobs_options_that_lead_elsewhere_are_refused(target, path, options):
    reply = target.call("POST", path, json=options)
    assert reply.status_code == 422, reply.text


def test_leaving_the_type_of_the_options_out_gets_nothing_past_the_check(target):
    reply = target.call("POST", "/train/medvl", data=b'{"train_ds": "/etc/passwd"}')
    assert reply.status_code in {400, 422}, reply.text


def test_options_nested_without_end_are_refused(target):
    nested = "[" * 20 + "]" * 20
    headers = {"Content-Type": "application/json"}
    assert target.call("POST", "/train/", data=nested, headers=headers).status_code == 400


def test_a_label_kept_by_an_inference_stays_in_its_folder(target):
    options = {"foreground": [[1, 1, 1]], "save_label": True, "label_tag": "../.."}
    assert infer(target.address, **options).status_code == 422


def test_the_server_listens_for_its_own_computer_only(target):
    port = int(target.address.rsplit(":", 1)[-1])
    listening = Path("/proc/net/tcp").read_text().splitlines()
    places = [line.split()[1] for line in listening[1:] if line.split()[3] == "0A"]
    mine = [place for place in places if int(place.split(":")[1], 16) == port]
    assert mine
    assert all(place.startswith("0100007F") for place in mine)


@pytest.fixture(scope="module")
def bare_target(tmp_path_factory, studies):
    """MONAI Label's own server, as its users start it, but on loopback."""
    home = tmp_path_factory.mktemp("bare")
    folder = home / "studies"
    folder.mkdir()
    shutil.copy(studies / "marker.nii.gz", folder)
    app = home / "app"
    shutil.copytree(BARE_APP, app)
    port = free_port()
    options = ["--app", app, "--studies", folder, "--host", "127.0.0.1", "--port", port]
    command = [sys.executable, "-m", "monailabel.main", "start_server", *map(str, options)]
    environment = os.environ | {"MONAI_LABEL_SESSION_PATH": str(home / "sessions"), "HOME": str(home)}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, cwd=home, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process, home / "log")
        yield Target(address, folder, "marker", "interactive", "medvl")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            if requests.get(f"{address}/info/", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    pytest.fail(log.read_text()[-2000:])


KNOWN = {name: attack for name, attack in ATTACKS.items() if name != "zip_slip"}
"""Python's own unpacking of ZIP leaves such names out; of TAR it does not."""


@pytest.mark.slow
@pytest.mark.parametrize("attack", KNOWN.values(), ids=KNOWN.keys())
def test_every_attack_succeeds_on_monai_label_itself(bare_target, attack):
    assert attack(bare_target), "the attack does not work, so its test proves nothing"
