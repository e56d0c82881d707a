"""A batch does every case once, goes on after a stop, and one bad case stops no other."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fastapi import HTTPException
from typer.testing import CliRunner

from lib.cli import batch as command
from lib.errors import InputError, NotFoundError, VolumeError
from lib.formats import write_volume
from lib.infers.base import MedVLTask
from lib.response import ModelCard
from lib.server.batch import BatchOrder, CaseState, Drawn, chosen_images, counts, run_batch
from lib.server.batch_task import StudiesBatch
from lib.server.datastore import StudiesDatastore
from phantoms import marker_volume

ORDER = BatchOrder("semantic", "a" * 64, {"label": "liver"})
NAMES = ["five", "four", "one", "three", "two"]


@pytest.fixture
def datastore(tmp_path):
    folder = tmp_path / "studies"
    folder.mkdir()
    for name in NAMES:
        write_volume(marker_volume("LPS", shape=(12, 10, 4)).volume, folder / f"{name}.nii.gz")
    return StudiesDatastore(folder)


class Model:
    """Draws the same everywhere, notes for whom, and fails where it is told to."""

    def __init__(self, folder, bad=()):
        self.folder, self.bad = folder, dict(bad)
        self.asked = []
        self.lock = threading.Lock()

    def __call__(self, image_id, options):
        with self.lock:
            self.asked.append((image_id, options))
        if image_id in self.bad:
            raise self.bad[image_id]
        path = self.folder / f"{image_id}-{len(self.asked)}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.ones((12, 10, 4), np.uint8), np.eye(4)), path)
        return Drawn(path, {"label_names": {"liver": 1}})

    def images(self):
        return sorted(image_id for image_id, _ in self.asked)


def states_of(reports):
    return {report.image_id: report.state for report in reports}


def test_every_study_gets_its_mask_and_a_note_of_what_drew_it(datastore, tmp_path):
    model = Model(tmp_path)
    assert counts(run_batch(NAMES, ORDER, datastore, model))["done"] == 5
    assert model.images() == NAMES
    for name in NAMES:
        assert (datastore.folder / "labels" / "original" / f"{name}.nii.gz").is_file()
        note = datastore.get_label_info(name, "original")
        assert note["model"] == "semantic"
        assert note["batch"]["weights_sha256"] == "a" * 64
    assert not list(tmp_path.glob("*-*.nii.gz")), "the model's own files are left behind"


def test_what_is_done_is_not_done_again_even_by_another_process(datastore, tmp_path):
    list(run_batch(NAMES[:3], ORDER, datastore, Model(tmp_path)))
    again = Model(tmp_path)
    reports = list(run_batch(NAMES, ORDER, StudiesDatastore(datastore.folder), again))
    assert again.images() == NAMES[3:]
    assert counts(reports) == {"total": 5, "done": 2, "skipped": 3, "kept": 0, "failed": 0}


@pytest.mark.parametrize(
    "other",
    [
        replace(ORDER, weights_sha256="b" * 64),
        replace(ORDER, params={"label": "spleen"}),
        replace(ORDER, model="referring"),
        replace(ORDER, prompts={"one": {"label": "spleen"}}),
        replace(ORDER, weights_sha256=""),
    ],
)
def test_other_weights_model_or_options_mean_doing_it_again(datastore, tmp_path, other):
    list(run_batch(["one"], ORDER, datastore, Model(tmp_path)))
    again = Model(tmp_path)
    list(run_batch(["one"], other, datastore, again))
    assert again.images() == ["one"]


def test_a_label_that_was_removed_is_drawn_again(datastore, tmp_path):
    list(run_batch(NAMES, ORDER, datastore, Model(tmp_path)))
    datastore.remove_label("two", "original")
    again = Model(tmp_path)
    list(run_batch(NAMES, ORDER, datastore, again))
    assert again.images() == ["two"]


@pytest.mark.parametrize("workers", [1, 3])
def test_bad_cases_stop_no_other_and_say_why(datastore, tmp_path, workers):
    bad = {
        "one": VolumeError("The file holds no scan."),
        "three": HTTPException(503, "The server is full."),
        "two": RuntimeError("/secret/path"),
    }
    reports = list(run_batch(NAMES, ORDER, datastore, Model(tmp_path, bad), workers))
    assert {name for name, state in states_of(reports).items() if state is CaseState.FAILED} == set(bad)
    details = {report.image_id: report.detail for report in reports}
    assert details["one"] == "The file holds no scan."
    assert details["three"] == "The server is full."
    assert "secret" not in details["two"]
    assert datastore.get_image_info("one")["batch_failure"] == "The file holds no scan."


def test_a_failed_case_is_tried_again_and_its_note_goes_when_it_succeeds(datastore, tmp_path):
    list(run_batch(NAMES, ORDER, datastore, Model(tmp_path, {"one": VolumeError("Not yet copied.")})))
    again = Model(tmp_path)
    list(run_batch(NAMES, ORDER, datastore, again))
    assert again.images() == ["one"]
    assert datastore.get_image_info("one")["batch_failure"] == ""


def test_a_model_that_draws_nothing_is_a_failure_of_that_case(datastore):
    (report,) = run_batch(["one"], ORDER, datastore, lambda *_: Drawn(None, {}))
    assert report.state is CaseState.FAILED


def test_a_persons_label_is_never_replaced(datastore, tmp_path):
    drawn = Model(tmp_path)("one", {}).file
    datastore.save_label("one", str(drawn), "final", {"label_info": []})
    order = replace(ORDER, tag="final")
    reports = states_of(run_batch(NAMES, order, datastore, Model(tmp_path)))
    assert reports["one"] is CaseState.KEPT
    assert "batch" not in datastore.get_label_info("one", "final")
    assert datastore.get_label_info("two", "final")["batch"]


def test_several_at_a_time_do_every_case_once(datastore, tmp_path):
    model = Model(tmp_path)
    reports = list(run_batch(NAMES, ORDER, datastore, model, workers=4))
    assert model.images() == NAMES
    assert sorted(report.image_id for report in reports) == NAMES


def test_who_stops_looking_stops_the_run_after_what_has_begun(datastore, tmp_path):
    model = Model(tmp_path)
    cases = run_batch(NAMES, ORDER, datastore, model)
    next(cases)
    cases.close()
    assert len(model.asked) <= 2


def test_labeled_and_unlabeled_mean_the_tag(datastore, tmp_path):
    list(run_batch(["two"], ORDER, datastore, Model(tmp_path)))
    assert chosen_images(datastore, "labeled", "original") == ["two"]
    assert chosen_images(datastore, "unlabeled", "original") == NAMES[:4]
    assert chosen_images(datastore, "all", "original", 2) == NAMES[:2]
    assert chosen_images(datastore, ["two", "one"], "original") == ["two", "one"]
    with pytest.raises(NotFoundError, match="nobody"):
        chosen_images(datastore, ["one", "nobody"], "original")
    with pytest.raises(InputError, match="some"):
        chosen_images(datastore, "some", "original")


def job(datastore, tmp_path, **request):
    model = Model(tmp_path)

    def infer(asked, _):
        options = {key: value for key, value in asked.items() if key not in {"model", "image"}}
        drawn = model(Path(asked["image"]).name.removesuffix(".nii.gz"), options)
        return {"file": str(drawn.file), "params": drawn.document}

    task = StudiesBatch({"semantic": "a" * 64}.__getitem__)
    return task({"model": "semantic", **request}, datastore, infer), model


def test_monai_labels_own_request_runs_without_a_gpu(datastore, tmp_path):
    upstream = {
        "images": "all",
        "device": "cuda",
        "multi_gpu": True,
        "gpus": "all",
        "logging": "WARNING",
        "save_label": True,
        "label_tag": "original",
        "max_workers": 1,
        "max_batch_size": 0,
    }
    result, model = job(datastore, tmp_path, **upstream, label="liver")
    assert result == {"total": 5, "done": 5, "skipped": 0, "kept": 0, "failed": 0}
    assert all(options == {"label": "liver"} for _, options in model.asked)


@pytest.mark.parametrize(
    "request_", [{"max_workers": 1000}, {"max_batch_size": -1}, {"max_workers": "2"}, {"label_tag": "../.."}]
)
def test_options_of_a_job_that_cannot_be_are_refused(datastore, tmp_path, request_):
    with pytest.raises(InputError):
        job(datastore, tmp_path, **request_)


def test_a_job_for_a_model_that_is_not_there_is_refused(datastore, tmp_path):
    with pytest.raises(NotFoundError, match="no model"):
        job(datastore, tmp_path, model="unknown")


class ScriptedTask(MedVLTask):
    """Answers with a mask of ones; refuses a label that is not asked for."""

    def __init__(self, folder):
        super().__init__("segmentation", ["liver"], 3, "scripted")
        self.folder = folder

    @property
    def model_card(self):
        return ModelCard("scripted", "c" * 64)

    def is_valid(self):
        return True

    def run(self, request):
        if request.get("label") == "nothing":
            raise InputError("There is nothing to draw.")
        path = self.folder / "drawn.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.ones((12, 10, 4), np.uint8), np.eye(4)), path)
        return str(path), {"label_names": {request["label"]: 1}}


@pytest.fixture
def run(datastore, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "build_tasks", lambda *_: {"semantic": ScriptedTask(tmp_path)})

    def run(*arguments):
        words = ["--studies", str(datastore.folder), "--model", "semantic", *arguments]
        return CliRunner().invoke(command.app, words)

    return run


def test_the_command_writes_what_became_of_each_case(run, tmp_path):
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"one": {"label": "nothing"}}))
    options = [
        "--params",
        '{"label": "liver"}',
        "--prompts",
        str(prompts),
        "--json",
        str(tmp_path / "out.json"),
    ]
    result = run(*options)
    assert result.exit_code == 1, result.output
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["summary"] == {"total": 5, "done": 4, "skipped": 0, "kept": 0, "failed": 1}
    (failed,) = [row for row in document["rows"] if row["state"] == "failed"]
    assert (failed["case"], failed["detail"]) == ("one", "There is nothing to draw.")
    prompts.write_text("{}")
    again = run(*options)
    assert again.exit_code == 0
    assert json.loads((tmp_path / "out.json").read_text())["summary"]["skipped"] == 4


@pytest.mark.parametrize(
    "arguments", [["--params", "[]"], ["--params", "{"], ["--tag", "../x"], ["--images", "x"]]
)
def test_the_command_refuses_what_it_cannot_use(run, arguments):
    result = run(*arguments)
    assert isinstance(result.exception, InputError | NotFoundError), result.output
