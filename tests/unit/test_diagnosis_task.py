"""The model diagnosis, from a request as clients form it to what they read."""

from pathlib import Path

import numpy as np
import pytest
from fastapi import HTTPException
from PIL import Image

from lib.formats import write_volume
from lib.infers.diagnosis import DiagnosisTask
from lib.infers.images import ImageReader
from lib.response import ModelCard
from phantoms import marker_volume
from scripted.pictures import ScriptedReader
from scripted.regions import ScriptedByName

PHANTOM = marker_volume("LPS")


@pytest.fixture
def ask(tmp_path):
    pixels = np.tile(np.linspace(10, 90, 80), (60, 1))
    pixels[10:30, 20:50] = 220
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "picture.png")
    Image.fromarray(np.full((60, 80), 90, dtype=np.uint8)).save(tmp_path / "blank.png")
    write_volume(PHANTOM.volume, tmp_path / "ct.nii.gz")
    task = DiagnosisTask(
        "diagnosis",
        lambda: ScriptedReader(kind=1, shifts=(0, 4)),
        lambda: ScriptedByName({"kidney_right": PHANTOM.marker_mask}),
        ImageReader(lambda: [tmp_path], 2**28),
        lambda: ModelCard("scripted", "cd" * 32),
        ("lungs", "polyp"),
    )
    files = []

    def run(image, **options):
        path, document = task({"image": str(tmp_path / image), "model": "diagnosis"} | options)
        files.append(Path(path))
        return Path(path), document

    yield run
    for path in files:
        path.unlink()


def test_the_four_steps_come_with_the_mask_that_they_rest_on(ask):
    path, document = ask("picture.png", question="What is this?")
    assert list(document["steps"]) == ["modality", "analysis", "considerations", "diagnosis"]
    assert document["diagnosis"] == "colorectal polyp"
    assert document["label_names"] == {"polyp": 1}
    assert document["confidence"] == 1.0
    mask = np.asarray(Image.open(path))
    assert np.array_equal(mask == 1, np.pad(np.ones((20, 30), bool), ((10, 30), (20, 30))))
    assert document["notice"] == "research use only"


def test_paths_and_perturbations_of_the_request_are_followed(ask):
    _, document = ask("picture.png", paths=2, perturbations="2", seconds=60)
    assert document["candidates"] == 4
    assert document["confidence"] < 1


@pytest.mark.parametrize(
    "options",
    [{"paths": 0}, {"perturbations": 5}, {"paths": "many"}, {"seconds": -1}, {"paths": True}, {"paths": 1.5}],
)
def test_what_cannot_be_followed_is_refused_with_what_is_allowed(ask, options):
    with pytest.raises(HTTPException) as refused:
        ask("picture.png", **options)
    assert 400 <= refused.value.status_code < 500
    assert next(iter(options)) in refused.value.detail


def test_a_blank_picture_gets_an_empty_mask_and_no_finding(ask):
    path, document = ask("blank.png")
    assert not np.asarray(Image.open(path)).any()
    assert document["findings"] == []
    assert document["diagnosis"] is None
    assert not document["assessable"]


def test_a_ct_is_answered_too(ask):
    path, document = ask("ct.nii.gz", result_extension=".nrrd")
    assert path.suffix == ".nrrd"
    assert document["modality"] == "ct"
    assert document["findings"][0]["label"] == "kidney_right"
