"""Active learning over real HTTP: what viewers see, several annotators, restarts."""

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from scripted.annotating import write_scan
from scripted.process import ServerProcess

pytestmark = pytest.mark.server

SCANS = 8
TIMEOUT_S = 120
FROM_OHIF = {"Referer": "http://127.0.0.1/ohif/monai-label?StudyInstanceUIDs=1.2"}


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    home = tmp_path_factory.mktemp("annotating")
    studies = home / "studies"
    studies.mkdir()
    for number in range(SCANS):
        write_scan(studies, f"scan{number}", 100 * (number + 1))
    (studies / "0broken.nii.gz").write_bytes(b"not a scan")
    started = ServerProcess(studies, home / "server.log", {"TMPDIR": str(home)})
    started.start()
    yield started
    started.stop()


@pytest.fixture
def address(process):
    """The server, on which nobody works yet and nothing is labelled."""
    if process.process.poll() is not None:
        process.start()
    (process.studies / ".medvl" / "reservations.json").unlink(missing_ok=True)
    for path in (process.studies / "labels").glob("*/*"):
        path.unlink()
    return process.address


def next_sample(address: str, strategy: str = "uncertainty", client_id: str | None = "anna", **kwargs):
    body = {} if client_id is None else {"client_id": client_id}
    return requests.post(f"{address}/activelearning/{strategy}", json=body, timeout=TIMEOUT_S, **kwargs)


def save_label(address: str, image_id: str) -> None:
    label = {"label": ("label.nii.gz", io.BytesIO(b"label"))}
    form = {"params": json.dumps({"client_id": "anna", "label_info": []})}
    url = f"{address}/datastore/label?image={image_id}"
    requests.put(url, files=label, data=form, timeout=TIMEOUT_S).raise_for_status()


def scored(address: str) -> dict[str, float]:
    """Wait for the background, by asking for what it has."""
    url = f"{address}/scoring/uncertainty?run_sync=true"
    return requests.post(url, json={}, timeout=TIMEOUT_S).json()


def test_viewers_are_told_of_all_strategies_and_methods(address):
    info = requests.get(f"{address}/info/", timeout=TIMEOUT_S).json()
    assert list(info["strategies"]) == ["uncertainty", "diverse", "random", "first"]
    assert set(info["scoring"]) == {"uncertainty", "dice"}
    for kind in ("strategies", "scoring"):
        assert all(isinstance(one["description"], str) for one in info[kind].values())


def test_scans_are_scored_without_being_asked_for(process, address):
    deadline, kept = time.monotonic() + TIMEOUT_S, {}
    while len(kept.get("judgements", {})) < SCANS:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        path = process.studies / ".medvl" / "scores.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
    assert next_sample(address).json()["id"] == f"scan{SCANS - 1}"


def test_the_answer_holds_what_slicer_and_ohif_read(address):
    scored(address)
    sample = next_sample(address).json()
    assert sample["id"] == f"scan{SCANS - 1}"
    assert sample["path"].endswith(f"scan{SCANS - 1}.nii.gz")
    assert sample["name"] == f"scan{SCANS - 1}.nii.gz"
    assert sample["uncertainty"] == pytest.approx(0.1 * SCANS)
    assert sample["reserved_until"] > time.time()
    again = requests.get(f"{address}/datastore/image/info?image={sample['id']}", timeout=TIMEOUT_S).json()
    assert again["strategy"]["uncertainty"]["client_id"] == "anna"


@pytest.mark.parametrize("strategy", ["uncertainty", "diverse", "random", "first"])
def test_eight_annotators_at_once_get_eight_different_scans(address, strategy):
    scored(address)
    with ThreadPoolExecutor(SCANS) as pool:
        answers = list(
            pool.map(lambda n: next_sample(address, strategy, f"user{n}").json()["id"], range(SCANS))
        )
    assert sorted(answers) == [f"scan{number}" for number in range(SCANS)]


@pytest.mark.parametrize("client_id", [None, "user-xyz"])
def test_somebody_without_a_name_gets_another_scan_each_time(address, client_id):
    scored(address)
    answers = {next_sample(address, "first", client_id).json()["id"] for _ in range(SCANS)}
    assert len(answers) == SCANS


def test_when_others_have_all_scans_that_is_said_and_a_saved_label_frees_its_scan(process, address):
    scored(address)
    for number in range(SCANS):
        next_sample(address, "first", f"user{number}")
    refused = next_sample(address, "first", "late")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "60")
    assert f"Other annotators work on all {SCANS} scans" in refused.json()["detail"]
    save_label(address, "scan1")
    (process.studies / "labels" / "final" / "scan1.nii.gz").unlink()  # it needs a label again
    assert next_sample(address, "first", "late").json()["id"] == "scan1"


def test_labelled_scans_are_not_offered_and_at_the_end_viewers_get_what_they_can_show(address):
    scored(address)
    for number in range(SCANS):
        save_label(address, f"scan{number}")
    for_slicer = next_sample(address)
    assert for_slicer.status_code == 200
    assert "id" not in for_slicer.json()
    assert "have a final label" in for_slicer.json()["detail"]
    for_ohif = next_sample(address, client_id=None, headers=FROM_OHIF)
    assert for_ohif.status_code == 404


def test_scoring_is_a_job_that_can_be_watched_as_monai_label_has_it(address):
    task = requests.post(f"{address}/scoring/dice", json={}, timeout=TIMEOUT_S).json()
    assert {"id", "status", "request", "start_ts", "details"} <= task.keys()
    deadline = time.monotonic() + TIMEOUT_S
    while task["status"] != "DONE":
        assert time.monotonic() < deadline
        time.sleep(0.1)
        task = requests.get(f"{address}/scoring/", timeout=TIMEOUT_S).json()
    assert task["result"] == {}
    assert requests.get(f"{address}/scoring/?check_if_running=true", timeout=TIMEOUT_S).status_code == 404
    assert requests.get(f"{address}/scoring/?all=true", timeout=TIMEOUT_S).json()[-1]["id"] == task["id"]
    assert requests.delete(f"{address}/scoring/", timeout=TIMEOUT_S).json() is None


@pytest.mark.parametrize(
    "path", ["/scoring/entropy", "/scoring/entropy?run_sync=true", "/activelearning/best"]
)
def test_unknown_methods_and_strategies_are_a_404_that_says_so(address, path):
    reply = requests.post(f"{address}{path}", json={}, timeout=TIMEOUT_S)
    assert reply.status_code == 404
    assert "There is no" in reply.json()["detail"]


def test_kill_9_loses_neither_scores_nor_reservations(process, address):
    before = scored(address)
    taken = next_sample(address, client_id="ben").json()["id"]
    process.kill()
    kept = json.loads((process.studies / ".medvl" / "scores.json").read_text())
    assert len(kept["judgements"]) == SCANS
    process.start()
    assert scored(address) == before
    assert next_sample(address, client_id="cleo").json()["id"] != taken
