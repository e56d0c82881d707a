"""The trainer `medvl`: what is better is published, what is not is not, and each refusal is one sentence."""

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from test_adapt import WEIGHTS, weights_dir  # noqa: F401 - a fixture

from lib.configs import build_trainers, label_names
from lib.errors import CapacityError, InputError
from lib.formats import write_mask, write_volume
from lib.mask import Mask
from lib.model.versions import list_versions, roll_back, serving_number, versions_folder
from lib.server.datastore import StudiesDatastore
from lib.settings import Settings
from lib.train import run_log
from lib.train.adapt import Adapted, Epoch, Progress
from lib.trainers import medvl
from lib.trainers.classes import add_classes, read_classes
from lib.trainers.labelled import labelled_cases, names_in
from lib.trainers.medvl import MedVLTrainer, trainer_folder
from lib.trainers.options import parse_options
from phantoms import dicom_slices, marker_volume, write_dicom

PHANTOM = marker_volume("LPS")


@pytest.fixture
def settings(weights_dir) -> Settings:  # noqa: F811
    return Settings(weights=WEIGHTS, weights_dir=weights_dir)


@pytest.fixture(autouse=True)
def fresh(weights_dir):  # noqa: F811
    """Versions and what the trainer kept are gone before each test."""
    for path in sorted(weights_dir.rglob("*"), reverse=True):
        if not path.is_symlink():
            path.rmdir() if path.is_dir() else path.unlink()


@pytest.fixture
def datastore(tmp_path) -> StudiesDatastore:
    """Three scans of three patients, all labelled."""
    folder = tmp_path / "studies"
    folder.mkdir()
    for name in ("pat_001", "pat_002", "pat_003"):
        write_volume(PHANTOM.volume, folder / f"{name}.nii.gz")
    store = StudiesDatastore(folder)
    for name in store.list_images():
        save_label(store, name, tmp_path, [{"name": "marker thing", "idx": 1}])
    return store


def save_label(store, image_id, folder, label_info) -> None:
    path = folder / "label.nii.gz"
    mask = PHANTOM.marker_mask.astype(np.uint8)
    write_mask(Mask(mask, PHANTOM.volume.affine, {"marker": 1}), path)
    store.save_label(image_id, str(path), "final", {"label_info": label_info})


def scripted(monkeypatch, scores, error=None):
    """In place of the training itself: these scores, epoch by epoch, and parameters to publish."""
    seen = []

    def adapt(split, config, run, watcher):
        seen.append((split, config, run))
        progress = Progress(0.80)
        watcher.went(progress)
        for number, score in enumerate(scores, start=1):
            progress.epochs = [*progress.epochs, Epoch(number, score, {"loss": 1.0})]
            watcher.went(progress)
        if error is not None:
            raise error
        parameters = {"sam_mask_decoder.iou_token.weight": torch.ones(1, 256).half()}
        return Adapted(progress, parameters if progress.best_epoch else None, 0, len(split.train))

    monkeypatch.setattr(medvl, "adapt", adapt)
    return seen


def test_better_weights_are_published_with_their_figures(monkeypatch, settings, datastore):
    scripted(monkeypatch, [0.82, 0.90])
    stats = MedVLTrainer(settings)({}, datastore)
    (version,) = list_versions(WEIGHTS, settings.weights_dir)
    assert serving_number(WEIGHTS, settings.weights_dir) == version.number == stats["published"] == 1
    assert version.figures["score_before"] == 0.80
    assert version.figures["score_after"] == 0.90
    assert "published as version 1" in stats["message"]
    assert roll_back(WEIGHTS, settings.weights_dir) == 0


@pytest.mark.parametrize("scores", [[0.5, 0.7], [0.80], [0.8001]])
def test_weights_that_are_not_better_are_not_published(monkeypatch, settings, datastore, scores):
    scripted(monkeypatch, scores)
    stats = MedVLTrainer(settings)({}, datastore)
    assert stats["message"].startswith("not published: Dice 0.80")
    assert serving_number(WEIGHTS, settings.weights_dir) == 0
    assert not versions_folder(WEIGHTS, settings.weights_dir).exists()


def test_names_that_annotators_invented_are_offered_after_training_and_after_a_restart(
    monkeypatch, settings, datastore
):
    assert "marker thing" not in label_names(settings)
    scripted(monkeypatch, [])
    MedVLTrainer(settings)({}, datastore)
    names = label_names(settings)
    assert names[-1] == "marker thing"
    assert len(names) == len(set(names))


def test_a_name_that_is_offered_already_is_no_new_class(tmp_path, settings):
    from lib.labels import load_labels

    offered = load_labels("interactive")
    kept = add_classes(
        tmp_path, ["Liver", "kidney left", "cyst", "Cyst", "background", "x" * 65, ""], offered
    )
    assert kept == read_classes(tmp_path) == ["cyst"]
    assert add_classes(tmp_path, ["shunt"], offered) == ["cyst", "shunt"]


def test_training_without_labels_says_what_to_do(settings, tmp_path):
    (tmp_path / "studies").mkdir()
    write_volume(PHANTOM.volume, tmp_path / "studies" / "a_001.nii.gz")
    store = StudiesDatastore(tmp_path / "studies")
    with pytest.raises(InputError, match=r"at least 2 patients.*no scans have one\. Label scans") as caught:
        MedVLTrainer(settings)({}, store)
    assert str(caught.value).count(". ") == 1
    save_label(store, "a_001", tmp_path, [])
    with pytest.raises(InputError, match="1 scan has one"):
        MedVLTrainer(settings)({}, store)


def test_in_a_process_of_its_own_a_refusal_is_the_last_line_of_its_log(
    settings, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(medvl.os, "nice", lambda _: 0)
    (tmp_path / "studies").mkdir()
    with pytest.raises(SystemExit) as caught:
        MedVLTrainer(settings)({"local_rank": 0}, StudiesDatastore(tmp_path / "studies"))
    assert caught.value.code == 1
    assert caplog.messages[-1].startswith("training ended: Training needs final labels")


def hold_lock(path, held, done):
    with FileLock(path):
        held.set()
        done.wait(60)


def test_a_second_training_at_the_same_time_is_refused(monkeypatch, settings, datastore):
    scripted(monkeypatch, [0.9])
    folder = trainer_folder(settings)
    folder.mkdir(parents=True)
    context = multiprocessing.get_context("fork")
    held, done = context.Event(), context.Event()
    other = context.Process(target=hold_lock, args=(str(folder / ".lock"), held, done))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(CapacityError, match="running already; wait for it, or stop it"):
            MedVLTrainer(settings)({}, datastore)
    finally:
        done.set()
        other.join()
    assert MedVLTrainer(settings)({}, datastore)["published"] == 1


def test_viewers_see_epochs_while_training_runs_and_none_when_it_does_not(monkeypatch, settings, datastore):
    trainer = MedVLTrainer(settings)
    idle = trainer.stats()
    assert idle["total_time"]
    assert idle["total_epochs"] >= 1
    assert idle["epoch"] == 0
    seen = []
    went = run_log.RunLog.went

    def watched(log, progress):
        went(log, progress)
        seen.append(trainer.stats())

    monkeypatch.setattr(run_log.RunLog, "went", watched)
    scripted(monkeypatch, [0.7, 0.9])
    trainer({"max_epochs": 2}, datastore)
    assert [(one["epoch"], one["total_epochs"], one["best_metric"]) for one in seen] == [
        (1, 2, 0.80),
        (1, 2, 0.80),
        (2, 2, 0.90),
    ]
    assert not any("total_time" in one for one in seen)
    assert trainer.stats()["total_time"]
    assert json.dumps(trainer.stats())
    assert any((trainer_folder(settings) / "logs").rglob("events.out.tfevents.*"))


def test_a_training_that_was_killed_is_shown_as_ended(settings):
    folder = trainer_folder(settings)
    log = run_log.RunLog(folder, "one", 5)
    log.went(Progress(0.5, [Epoch(1, 0.6, {"loss": 1.0})]))
    stats = json.loads((folder / run_log.STATS).read_text())
    assert "total_time" not in MedVLTrainer(settings).stats()
    (folder / run_log.STATS).write_text(json.dumps(stats | {"pid": 2**22 + 1}))
    assert MedVLTrainer(settings).stats()["message"] == "stopped before its end"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"max_epoch": 3}, r"Unknown training options \['max_epoch'\]; known are"),
        ({"max_epochs": "many"}, "max_epochs must be a number"),
        ({"max_epochs": 0}, "max_epochs must be 1 to 1000"),
        ({"budget_minutes": 0}, "budget_minutes must be above 0"),
        ({"device": "cuda:7"}, "not on this machine"),
        ({"device": "../x"}, "not on this machine"),
        ({"val_split": 2}, "validation_share must be"),
    ],
)
def test_options_that_cannot_be_used_are_refused_with_what_can(settings, request_, reason):
    with pytest.raises(InputError, match=reason):
        parse_options(request_, settings)


def test_options_as_monai_labels_viewers_and_tests_send_them_are_taken(settings):
    options = parse_options(
        {
            "model": "medvl",
            "name": "train_01",
            "max_epochs": 3,
            "early_stop_patience": -1,
            "val_split": 0.5,
            "train_batch_size": 1,
            "val_batch_size": 1,
            "multi_gpu": True,
            "gpus": "all",
            "dataset": ["SmartCacheDataset"],
            "device": ["cpu"],
            "client_id": "user-xyz",
            "local_rank": 0,
        },
        settings,
    )
    assert (options.config.max_epochs, options.config.patience, options.config.batch_size) == (3, 3, 1)
    assert (options.config.validation_share, options.device) == (0.5, "cpu")


def test_a_label_drawn_anew_is_another_case_and_its_old_embeddings_go(
    monkeypatch, settings, datastore, tmp_path
):
    seen = scripted(monkeypatch, [])
    trainer = MedVLTrainer(settings)
    trainer({}, datastore)
    (split, _, run) = seen[-1]
    kept, changed = split.train[0].name, split.train[1].name
    for name in (kept, changed):
        (run.views / f"{name}-0123456789ab").mkdir(parents=True)
    (image_id,) = [
        image_id for image_id in datastore.list_images() if split.train[1].image.name.startswith(image_id)
    ]
    save_label(datastore, image_id, tmp_path, [{"name": "marker thing", "idx": 1}, {"name": "b", "idx": 2}])
    trainer({}, datastore)
    assert changed not in {case.name for case in seen[-1][0].train}
    assert {path.name for path in run.views.iterdir()} == {f"{kept}-0123456789ab"}


def test_names_are_those_that_clients_and_models_say():
    slicer = {"label_info": [{"name": "liver", "idx": 2}, {"name": "cyst", "idx": 5}]}
    assert names_in(slicer) == {2: "liver", 5: "cyst"}
    assert names_in({"params": {"label_names": {"spleen": 1}}}) == {1: "spleen"}
    assert names_in({"label_info": [{"name": "a"}, {"name": "b"}]}) == {1: "a", 2: "b"}
    assert names_in({"label_info": "liver"}) == {}


def test_two_series_of_one_dicom_patient_are_one_patient(tmp_path):
    folder = tmp_path / "studies"
    folder.mkdir()
    for name in ("first", "second"):
        write_dicom(dicom_slices(PHANTOM.volume), folder / name)
    write_volume(PHANTOM.volume, folder / "third.nii.gz")
    store = StudiesDatastore(folder)
    for image_id in store.list_images():
        save_label(store, image_id, tmp_path, [])
    found = labelled_cases(store)
    assert len(found.cases) == 3
    assert len({one.patient for one in found.cases}) == 2


def test_a_trainer_is_offered_for_weights_that_it_can_adapt(settings):
    assert list(build_trainers(settings)) == ["medvl"]
    assert build_trainers(Settings(weights="sam2.1-hiera-tiny", weights_dir=settings.weights_dir)) == {}
    config = MedVLTrainer(settings).info()["config"]
    assert config["device"] == ["cpu"]
    assert Path(trainer_folder(settings)).is_relative_to(settings.weights_dir)
