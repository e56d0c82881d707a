"""What a training step sees: right slices of right objects, the same whenever a step is repeated."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.errors import ConfigError
from lib.model.build import build_sam2
from lib.model.config import load_segmenter_config
from lib.train.distil import PseudoMasks, stored_pseudo_masks
from lib.train.features import StoredView, ViewRecord
from lib.train.prompt_stage import LossWeights, batch_loss
from lib.train.tasks import Recipe, SliceTask, TaskSampler, cropped

SIDE, CELLS = 256, 64
SHOWN = range(2, 7)
"""Slices of the phantom that show the object; 0, 1, 7 and 8 do not."""


@pytest.fixture(scope="module")
def view(tmp_path_factory) -> StoredView:
    """Nine slices with a square that moves two pixels a slice; the embedding says where and which slice."""
    folder: Path = tmp_path_factory.mktemp("view")
    labels = np.zeros((9, SIDE, SIDE), dtype=np.uint8)
    embeddings = np.zeros((9, 256, CELLS, CELLS), dtype=np.float16)
    for index in SHOWN:
        labels[index, 100 + 2 * index : 130 + 2 * index, 60:90] = 3
    embeddings[:, 0] = labels[:, ::4, ::4]
    embeddings[:, 1] = np.arange(9)[:, None, None]
    np.save(folder / "labels.npy", labels)
    np.save(folder / "embeddings.npy", embeddings)
    record = ViewRecord("case", "expert", "0" * 64, list(range(9)), [SIDE, SIDE], False, 3.0)
    (folder / "view.json").write_text(json.dumps(record.__dict__))
    return StoredView(folder, record)


def sampler(
    view: StoredView, crop: int = CELLS, pseudo: dict | None = None, share: float = 0.0
) -> TaskSampler:
    return TaskSampler([view], {"expert": 1.0}, pseudo or {}, share, {crop: 1.0}, 7)


def test_a_step_repeated_sees_the_same_and_the_next_one_something_else(view):
    recipes = [Recipe(1.0, "click", rounds=3), Recipe(1.0, "neighbour", hops=3)]
    first, again = (sampler(view, 24).batch(5, recipes, 4) for _ in range(2))
    other = sampler(view, 24).batch(6, recipes, 4)
    assert first.rounds == again.rounds
    assert first.corner == again.corner
    assert all(
        torch.equal(a.embeddings[-1], b.embeddings[-1]) for a, b in zip(first.tasks, again.tasks, strict=True)
    )
    assert first.rng.random() == again.rng.random()
    assert first.corner != other.corner


@pytest.mark.parametrize("step", range(10))
def test_a_chain_is_of_consecutive_slices_that_show_the_object_to_the_last_but_one(view, step):
    batch = sampler(view).batch(step, [Recipe(1.0, "neighbour", hops=3, beyond_ends=0.5)], 4)
    for task in batch.tasks:
        indices = [int(embedding[1, 0, 0]) for embedding in task.embeddings]
        assert set(np.diff(indices)) in ({1}, {-1})
        assert all(index in SHOWN for index in indices[:-1])
        assert task.truths[-1].any() == (indices[-1] in SHOWN)


def test_the_share_of_chains_that_lead_out_of_the_object_is_kept(view):
    recipe = Recipe(1.0, "neighbour", beyond_ends=0.4)
    tasks = [task for step in range(40) for task in sampler(view).batch(step, [recipe], 4).tasks]
    absent = np.mean([not task.truths[-1].any() for task in tasks])
    assert 0.3 < absent < 0.5


@pytest.mark.parametrize("step", range(10))
def test_a_part_of_the_canvas_holds_the_whole_object_in_the_same_place_as_its_embedding(view, step):
    batch = sampler(view, 24).batch(step, [Recipe(1.0, "box")], 4)
    for task in batch.tasks:
        (truth,), (embedding,) = task.truths, task.embeddings
        assert truth.shape == (96, 96)
        assert truth.sum() == 900
        assert torch.equal(embedding[0] > 0, torch.from_numpy(truth[::4, ::4]))
    row, col = batch.corner
    assert 0 <= row <= CELLS - 24
    assert 0 <= col <= CELLS - 24


def test_an_object_larger_than_the_part_is_not_cut():
    truth = np.zeros((SIDE, SIDE), dtype=bool)
    truth[10:200, 50:60] = True
    task = SliceTask((torch.zeros(2, CELLS, CELLS),), (truth,))
    assert cropped(task, 24, np.random.default_rng(0)) is None


def test_pseudo_masks_are_drawn_as_often_as_asked(view):
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[5:15, 5:15] = True
    pseudo = PseudoMasks(np.array([8]), np.packbits(mask)[None], SIDE)
    tasks = [
        task
        for step in range(25)
        for task in sampler(view, pseudo={view: pseudo}, share=0.3).batch(step, [Recipe(1.0, "box")], 4).tasks
    ]
    drawn = np.mean([np.array_equal(task.truths[0], mask) for task in tasks])
    assert 0.2 < drawn < 0.4


def test_a_kind_without_a_share_is_an_error(view):
    with pytest.raises(ConfigError, match="expert"):
        TaskSampler([view], {"silver": 1.0}, {}, 0.0, {CELLS: 1.0}, 0)


def test_an_unknown_start_is_an_error():
    with pytest.raises(ConfigError, match="lasso"):
        Recipe(1.0, "lasso")


@pytest.fixture(scope="module")
def network():
    return build_sam2(load_segmenter_config("medvl-lite")).requires_grad_(requires_grad=False)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(1.0, "box", rounds=2),
        Recipe(1.0, "click", rounds=2),
        Recipe(1.0, "scribble"),
        Recipe(1.0, "neighbour", hops=2, with_box=True, beyond_ends=0.5),
        Recipe(1.0, "neighbour", hops=2),
    ],
    ids=["box", "click", "scribble", "neighbour with box", "neighbour"],
)
def test_every_recipe_gives_a_finite_loss_with_gradients(view, network, recipe):
    decoder = network.sam_mask_decoder.requires_grad_()
    losses = batch_loss(network, sampler(view, 16).batch(3, [recipe], 2), LossWeights())
    torch.autograd.backward(losses["loss"])
    gradient = decoder.iou_prediction_head.layers[0].weight.grad
    assert all(torch.isfinite(value) for value in losses.values())
    assert gradient is not None
    assert torch.isfinite(gradient).all()
    decoder.zero_grad()


def test_pseudo_masks_are_found_once_and_read_again(view, network):
    first = stored_pseudo_masks(network, view, [0, 4], seed=1)
    again = stored_pseudo_masks(network, view, [0, 4], seed=1)
    assert first.count == again.count
    assert np.array_equal(first.bits, again.bits)
