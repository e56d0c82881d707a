"""POST, GET and DELETE /train/ as OHIF and 3D Slicer use them."""

from collections import deque

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from monailabel.interfaces.app import MONAILabelApp
from monailabel.utils.async_tasks import utils

from lib.server.answers import install_error_answers
from lib.server.datastore import StudiesDatastore
from lib.server.train_route import train_router
from lib.settings import Settings
from lib.trainers.medvl import TRAINER, MedVLTrainer


class App(MONAILabelApp):
    def __init__(self, folder):  # nothing of MONAI Label's own is made
        self._trainers = {TRAINER: MedVLTrainer(Settings(weights_dir=folder / "weights"))}
        self._datastore = StudiesDatastore(folder / "studies")

    def datastore(self):
        return self._datastore

    def info(self):
        return {"trainers": self._trainers}


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setattr(utils, "background_tasks", {})
    monkeypatch.setattr(utils, "background_processes", {})
    app = FastAPI()
    fake = App(tmp_path)
    app.include_router(train_router(lambda: fake))
    install_error_answers(app)
    return TestClient(app, raise_server_exceptions=False)


def test_a_training_without_labels_is_one_sentence_and_starts_nothing(client):
    for answer in (client.post("/train/medvl", json={}), client.post("/train/", json={})):
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(
            "Training needs final labels of scans of at least 2 patients"
        )
    assert client.get("/train/").status_code == 404


def test_ohifs_options_by_model_are_checked_too(client):
    answer = client.post("/train/", json={"medvl": {"max_epochs": 0}})
    assert (answer.status_code, "max_epochs" in answer.json()["detail"]) == (422, True)


def test_a_trainer_that_is_not_there_is_a_404(client):
    answer = client.post("/train/segmentation", json={})
    assert answer.status_code == 404
    assert "there are: medvl" in answer.json()["detail"]


def test_a_second_training_is_refused_with_since_when_the_first_runs(client, monkeypatch):
    monkeypatch.setattr(MedVLTrainer, "check", lambda *_: None)
    task = {"id": "1", "status": "RUNNING", "start_ts": "2026-01-02 03:04:05", "details": deque(["x"])}
    utils.background_tasks["train"] = [task]
    answer = client.post("/train/medvl", json={})
    assert answer.status_code == 429
    assert "running since 2026-01-02 03:04:05" in answer.json()["detail"]
    assert client.get("/train/").json()["status"] == "RUNNING"


def test_stopping_where_nothing_runs_is_no_error(client):
    answer = client.delete("/train/")
    assert (answer.status_code, answer.json()) == (200, None)
