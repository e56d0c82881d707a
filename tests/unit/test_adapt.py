"""The stage `adapt` with the real network on small blocks: judged, stopped, and gone on with."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.errors import InputError
from lib.formats import write_mask, write_volume
from lib.mask import Mask
from lib.model.weights import WeightsState, default_weights_dir, list_entries, weights_state
from lib.train import adapt as adapt_module
from lib.train.adapt import KIND, AdaptRun, Epoch, Progress, adapt, is_better
from lib.train.adapt_config import load_adapt_config
from lib.train.dataset import Case
from lib.train.features import StoredView, ViewRecord
from lib.train.patients import PatientSplit
from lib.train.tasks import Recipe, TaskSampler
from lib.train.validation import held_out_targets
from lib.volume import Modality, Volume

AFFINE = np.diag([3.0, 3.0, 6.0, 1.0])
WEIGHTS = "medvl-lite"


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory) -> Path:
    """A weights folder of this module's own, with the installed weights in it."""
    installed = default_weights_dir()
    if weights_state(list_entries(installed)[WEIGHTS], installed) is not WeightsState.VERIFIED:
        pytest.skip("the default weights are not installed; `make setup` fetches them")
    folder = tmp_path_factory.mktemp("weights")
    for suffix in (".safetensors", ".json"):
        (folder / f"{WEIGHTS}{suffix}").symlink_to(installed / f"{WEIGHTS}{suffix}")
    return folder


def block_case(folder: Path, name: str, low: int, values: tuple[int, ...] = (1,)) -> Case:
    """A scan of four slices with bright blocks on three of them, only some of which are labelled."""
    label_map = np.zeros((40, 40, 4), dtype=np.uint8)
    label_map[low : low + 10, 8:20, 0:3] = 1
    label_map[low : low + 10, 24:34, 0:3] = 2
    hu = np.where(label_map > 0, 90.0, -60.0).astype(np.float32)
    write_volume(Volume(hu[None], AFFINE, Modality.CT), folder / f"{name}.nii.gz")
    listed = np.where(np.isin(label_map, values), label_map, 0).astype(np.uint8)
    names = {f"block {value}": value for value in range(1, max(values) + 1)}
    write_mask(Mask(listed, AFFINE, names), folder / f"{name}-label.nii.gz")
    labels = {value: f"block {value}" for value in values}
    return Case(name, "train", KIND, folder / f"{name}.nii.gz", folder / f"{name}-label.nii.gz", labels)


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> PatientSplit:
    folder = tmp_path_factory.mktemp("cases")
    train = tuple(block_case(folder, f"t{low}", low, (1,)) for low in (6, 14))
    return PatientSplit(train, (block_case(folder, "v", 20, (1, 2)),))


@pytest.fixture(scope="module")
def views(tmp_path_factory) -> Path:
    """Embeddings that all tests of this module share."""
    return tmp_path_factory.mktemp("views")


CONFIG = dataclasses.replace(
    load_adapt_config(),
    max_epochs=2,
    steps_per_epoch=2,
    batch_size=2,
    validation_objects=1,
    validation_clicks=1,
    learning_rate=1e-3,
    warmup=1,
    average_decay=0.5,
    patience=5,
)


class Listener:
    """Remembers what it hears; wants a stop after some epochs."""

    def __init__(self, epochs: int = 1000) -> None:
        self.heard: list[Progress] = []
        self.said_texts: list[str] = []
        self._epochs = epochs

    def said(self, text: str) -> None:
        self.said_texts.append(text)

    def went(self, progress: Progress) -> None:
        self.heard.append(dataclasses.replace(progress, epochs=list(progress.epochs)))

    def wants_stop(self) -> bool:
        return bool(self.heard) and len(self.heard[-1].epochs) >= self._epochs


def scored_by_a_parameter(predictor, targets, clicks) -> float:
    """0 to 1, as good as random, in place of minutes of drawing."""
    token = predictor.segmenter._sam2.sam_mask_decoder.iou_token.weight
    return float(token.double().sum() * 1000) % 1


def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(
    weights_dir, split, views, tmp_path, monkeypatch
):
    monkeypatch.setattr(adapt_module, "mean_score", scored_by_a_parameter)
    runs = [AdaptRun(WEIGHTS, weights_dir, tmp_path / name, views) for name in ("whole", "parts")]
    whole = adapt(split, CONFIG, runs[0], Listener())
    assert adapt(split, CONFIG, runs[1], Listener(epochs=1)) is None
    listener = Listener()
    rest = adapt(split, CONFIG, runs[1], listener)
    assert whole is not None
    assert rest is not None
    assert [epoch.number for epoch in rest.progress.epochs] == [1, 2]
    assert rest.progress.before == whole.progress.before
    assert [epoch.score for epoch in rest.progress.epochs] == [epoch.score for epoch in whole.progress.epochs]
    assert len(listener.heard[0].epochs) == 1  # not begun again
    assert (rest.parameters is None) == (whole.parameters is None)
    for name, value in (whole.parameters or {}).items():
        assert torch.equal(value, rest.parameters[name])
    assert whole.begun_with == 0


def test_only_the_prompt_encoder_and_mask_decoder_change(weights_dir, split, views, tmp_path):
    gentle = dataclasses.replace(CONFIG, max_epochs=1, least_gain=0.0)
    adapted = adapt(split, gentle, AdaptRun(WEIGHTS, weights_dir, tmp_path / "run", views), Listener())
    assert adapted is not None
    names = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["parameters"]
    assert all(name.startswith(("sam_prompt_encoder.", "sam_mask_decoder.")) for name in names)


def test_labels_that_cannot_be_read_are_left_out_and_none_left_is_one_sentence(
    weights_dir, split, views, tmp_path
):
    broken = Case("broken", "train", KIND, tmp_path / "no.nii.gz", tmp_path / "no.nii.gz", {})
    run = AdaptRun(WEIGHTS, weights_dir, tmp_path / "run", views)
    with pytest.raises(InputError, match="None of the labels to learn from can be read"):
        adapt(PatientSplit((broken,), split.validation), CONFIG, run, Listener())
    with pytest.raises(InputError, match="None of the held-out labels can be read"):
        adapt(PatientSplit(split.train, (broken,)), CONFIG, run, Listener())
    assert held_out_targets([broken, *split.validation], 5)


@pytest.mark.parametrize(
    ("scores", "best_epoch", "is_published"),
    [
        ([], 0, False),
        ([0.70, 0.79], 0, False),
        ([0.80], 0, False),
        ([0.8004], 1, False),
        ([0.85, 0.90, 0.90], 2, True),
    ],
)
def test_only_a_score_above_that_of_the_serving_weights_is_better(scores, best_epoch, is_published):
    progress = Progress(0.80, [Epoch(number, score, {}) for number, score in enumerate(scores, start=1)])
    assert progress.best_epoch == best_epoch
    assert is_better(progress, dataclasses.replace(CONFIG, least_gain=0.001)) == is_published


def stored_view(folder: Path, labels: np.ndarray) -> StoredView:
    folder.mkdir()
    np.save(folder / "embeddings.npy", np.zeros((len(labels), 4, 64, 64), dtype=np.float16))
    np.save(folder / "labels.npy", labels)
    digest = hashlib.sha256(b"").hexdigest()
    record = ViewRecord(
        "case", KIND, digest, list(range(len(labels))), [256, 256], is_picture=False, spacing_mm=3.0
    )
    return StoredView(folder, record)


def test_what_a_case_does_not_list_is_never_asked_for_nor_taught_to_be_absent(tmp_path):
    labels = np.zeros((6, 256, 256), dtype=np.uint8)
    labels[1:4, 20:60, 20:60] = 3
    sampler = TaskSampler([stored_view(tmp_path / "v", labels)], {KIND: 1.0}, {}, 0.0, {24: 1.0, 64: 1.0}, 0)
    for step in range(40):
        batch = sampler.batch(step, CONFIG.recipes, 2)
        for task in batch.tasks:
            # the chain begins on the listed object; its end may be empty only beyond that object's own end
            assert task.truths[0].any() or len(task.truths) == 1
            assert all(truth.sum() in {0, 40 * 40} for truth in task.truths)


def test_objects_too_large_for_a_part_of_the_canvas_are_shown_on_all_of_it(tmp_path):
    labels = np.zeros((2, 256, 256), dtype=np.uint8)
    labels[:, 10:240, 10:240] = 1
    sampler = TaskSampler([stored_view(tmp_path / "v", labels)], {KIND: 1.0}, {}, 0.0, {24: 1.0}, 0)
    batch = sampler.batch(0, [Recipe(1.0, "box")], 2)
    assert [task.truths[0].shape for task in batch.tasks] == [(256, 256)] * 2


def test_an_object_on_one_slice_gives_no_endless_search_for_a_neighbour(tmp_path):
    labels = np.zeros((1, 256, 256), dtype=np.uint8)
    labels[0, 20:60, 20:60] = 1
    sampler = TaskSampler([stored_view(tmp_path / "v", labels)], {KIND: 1.0}, {}, 0.0, {64: 1.0}, 0)
    with pytest.raises(InputError, match="enough neighbouring slices"):
        sampler.batch(0, [Recipe(1.0, "neighbour")], 1)
