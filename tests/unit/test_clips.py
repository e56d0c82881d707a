"""Clips that memory learns from, and what a step of the stage `memory` changes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.errors import ConfigError, InputError
from lib.model.build import build_sam2
from lib.model.config import load_segmenter_config
from lib.model.slice_memory import silence
from lib.train.clips import ClipSampler
from lib.train.features import StoredView, ViewRecord
from lib.train.memory_run import load_memory_stage
from lib.train.memory_stage import LEARNING_PARTS, Mixture, clip_loss
from lib.train.prompt_stage import LossWeights

SIDE, CELLS, COUNT = 256, 64, 12
SHOWN = range(2, 9)
SPACING_MM = 4.0


def make_view(folder: Path, *, is_picture: bool = False) -> StoredView:
    """Twelve slices with a square that moves four pixels a slice; the embedding says which slice."""
    labels = np.zeros((COUNT, SIDE, SIDE), dtype=np.uint8)
    embeddings = np.zeros((COUNT, 256, CELLS, CELLS), dtype=np.float16)
    for index in SHOWN:
        labels[index, 100:124, 60 + 4 * index : 84 + 4 * index] = 3
    embeddings[:, 0] = labels[:, ::4, ::4]
    embeddings[:, 1] = np.arange(COUNT)[:, None, None]
    np.save(folder / "labels.npy", labels)
    np.save(folder / "embeddings.npy", embeddings)
    record = ViewRecord("case", "expert", "0" * 64, list(range(COUNT)), [SIDE, SIDE], is_picture, SPACING_MM)
    (folder / "view.json").write_text(json.dumps(record.__dict__))
    return StoredView(folder, record)


@pytest.fixture(scope="module")
def view(tmp_path_factory) -> StoredView:
    return make_view(tmp_path_factory.mktemp("view"))


def sampler(view: StoredView, shares: dict[int, float] | None = None, longest: int = 8) -> ClipSampler:
    return ClipSampler([view], {"expert": 1.0}, shares or {32: 1.0}, longest, 7)


def test_a_step_repeated_sees_the_same_clips_and_the_next_one_others(view):
    (first, rng), (again, same), (other, _) = (sampler(view).batch(step, 3) for step in (5, 5, 6))
    assert all(torch.equal(a.embeddings, b.embeddings) for a, b in zip(first, again, strict=True))
    assert rng.random() == same.random()
    assert any(
        a.embeddings.shape != b.embeddings.shape or not torch.equal(a.embeddings, b.embeddings)
        for a, b in zip(first, other, strict=True)
    )


@pytest.mark.parametrize("step", range(12))
def test_a_clip_follows_the_object_one_way_to_its_end_and_no_further_than_one_slice(view, step):
    clips, _ = sampler(view).batch(step, 3)
    for clip in clips:
        indices = [int(embedding[1].max()) for embedding in clip.embeddings]
        assert set(np.diff(indices)) in ({1}, {-1})
        assert 3 <= len(indices) <= 8
        assert all(index in SHOWN for index in indices[:-1])
        assert [truth.any() for truth in clip.truths] == [index in SHOWN for index in indices]
        assert clip.spacing_mm == SPACING_MM


@pytest.mark.parametrize("step", range(6))
def test_the_remembered_part_holds_the_object_on_every_slice_of_the_clip(view, step):
    clips, _ = sampler(view).batch(step, 3)
    for clip in clips:
        assert clip.embeddings.shape[-1] == 32
        assert clip.part.width == 32
        for embedding, truth in zip(clip.embeddings, clip.truths, strict=True):
            assert np.count_nonzero(truth[clip.part.window]) in (0, 24 * 24)
            assert np.array_equal(truth[::4, ::4], embedding[0].numpy() > 0)


def test_a_kind_without_a_share_and_a_side_that_is_none_are_refused(view):
    with pytest.raises(ConfigError, match="every kind"):
        ClipSampler([view], {"silver": 1.0}, {32: 1.0}, 8, 7)
    with pytest.raises(ConfigError, match="sides of"):
        ClipSampler([view], {"expert": 1.0}, {24: 1.0}, 8, 7)


def test_pictures_alone_are_nothing_to_follow_objects_in(tmp_path):
    with pytest.raises(InputError, match="nothing to follow"):
        sampler(make_view(tmp_path, is_picture=True))


def test_sides_that_no_object_needs_are_said_instead_of_searched_for_ever(view):
    with pytest.raises(InputError, match="side_shares"):
        sampler(view, {64: 1.0}).batch(0, 1)


@pytest.mark.parametrize(
    "mixture",
    [Mixture(1.0, 0.0, 0.0), Mixture(0.0, 1.0, 0.0), Mixture(0.0, 0.0, 1.0)],
    ids=["box and mask", "mask", "nothing"],
)
def test_only_memory_learns_and_steps_make_the_loss_smaller(view, mixture):
    network = build_sam2(load_segmenter_config("medvl-memory"))
    silence(network)
    learning = {name: p for name, p in network.named_parameters() if name.startswith(LEARNING_PARTS)}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in learning)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(learning.values(), lr=1e-3)
    losses = []
    for _ in range(4):
        clips, rng = sampler(view, {16: 1.0}, longest=3).batch(3, 1)
        found = clip_loss(network.eval(), clips, rng, mixture, LossWeights())
        optimiser.zero_grad()
        found["loss"].backward()
        optimiser.step()
        losses.append(float(found["loss"].detach()))
    assert losses[-1] < losses[0]
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert changed <= set(learning)


def test_the_stages_settings_that_come_with_the_app_are_read_strictly():
    settings = load_memory_stage()
    assert settings.weights == "medvl-lite"
    assert 8 <= settings.longest <= 16
