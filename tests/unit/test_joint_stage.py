"""The stage `joint` learns from cached slices and states, keeps the best, and its file can be read again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from lib.errors import ConfigError, WeightsError
from lib.model.seg_prompt import load_seg_prompt, new_seg_prompt
from lib.model.sentence_queries import TARGETS, QueryTarget, SentenceHead, targets_text
from lib.model.volume_segmenter import VolumeSegmenter
from lib.train.features import StoredView
from lib.train.joint_config import load_joint_stage
from lib.train.joint_data import AskedSlice, JointSamples
from lib.train.joint_stage import BEST, DICE, JointTask, keep_best
from lib.train.loop import LoopConfig, run_loop

SIDE, STEPS = 8, 30
NAMES = ("liver", "spleen")


class Drawn:
    """A decoder's output."""

    def __init__(self, mask_logits):
        self.mask_logits = mask_logits


class DotSegmenter(VolumeSegmenter):
    """A pixel is drawn where its features look like the prompt."""

    def __init__(self):
        self.device = torch.device("cpu")

    def decode_vectors(self, embedding, vectors, part=None):
        return Drawn(torch.einsum("bchw,bc->bhw", embedding, vectors)[:, None])


class View(StoredView):
    """Slices whose left half is one structure and whose right half is the other."""

    def __init__(self):
        pass

    @property
    def labels(self):
        columns = np.repeat([[1] * (SIDE // 2) + [2] * (SIDE // 2)], SIDE, axis=0)
        return np.stack([columns] * 4).astype(np.uint8)

    def embedding(self, position):
        left = torch.zeros(6, SIDE, SIDE)
        left[0, :, : SIDE // 2] = 1.0
        left[1, :, SIDE // 2 :] = 1.0
        return left


def task(**changes) -> JointTask:
    config = replace(
        load_joint_stage(), names=NAMES, batch_size=2, iterations=STEPS, absent_share=0.0, **changes
    )
    view = View()
    asked = {
        name: [AskedSlice(view, n, name, (n_label,)) for n in range(3)]
        for n_label, name in enumerate(NAMES, 1)
    }
    kept = [AskedSlice(view, 3, name, (value,)) for value, name in enumerate(NAMES, 1)]
    generator = torch.Generator().manual_seed(0)
    states = {
        name: torch.randn(3, 16, generator=generator) * 0.1 + number for number, name in enumerate(NAMES)
    }
    with torch.random.fork_rng():
        torch.manual_seed(3)
        head = SentenceHead(16, 12, len(NAMES))
    prompt = new_seg_prompt(head, 6, config.seed)
    texts = {TARGETS: targets_text([QueryTarget(name, (name,)) for name in NAMES])}
    numbers = {name: number for number, name in enumerate(NAMES)}
    return JointTask(prompt, DotSegmenter(), JointSamples(asked, {}, kept), states, numbers, config, texts)


def loop(**changes) -> LoopConfig:
    values = {"iterations": STEPS, "learning_rate": 0.02, "warmup": 2, "weight_decay": 0.0, "clip_norm": 1.0}
    return LoopConfig(**(values | {"average_decay": 0.5, "report_every": 5} | changes))


def test_a_sentences_state_learns_to_draw_what_it_names_and_goes_on_naming_it(tmp_path):
    learning, told = task(), []
    before = learning.validate()
    run_loop(learning.part, learning.losses, loop(), tmp_path, lambda _, losses: told.append(losses))
    assert learning.validate() > max(0.9, before)
    assert told[-1]["naming"] < told[0]["naming"]
    assert told[-1]["loss"] < told[0]["loss"]


def test_the_loss_is_the_weighted_sum_of_its_parts():
    learning = task(naming_weight=1.0, mask_weight=2.0, dice_weight=0.5)
    losses = learning.losses(0)
    parts = losses["naming"] + 2 * losses["mask"] + 0.5 * losses["dice"]
    torch.testing.assert_close(losses["loss"], parts)


def test_stopping_and_going_on_ends_at_the_same_loss(tmp_path):
    ends = []
    for folder, budgets in (("whole", [None]), ("parts", [0.0, 0.0, None])):
        losses = []
        for budget in budgets:
            learning = task()
            run_loop(
                learning.part,
                learning.losses,
                loop(budget_s=budget, report_every=1),
                tmp_path / folder,
                lambda _, found, into=losses: into.append(found["loss"]),
            )
        ends.append(losses[-1])
    assert ends[0] == pytest.approx(ends[1], abs=1e-6)


def test_worse_parameters_do_not_replace_better_ones(tmp_path):
    learning = task()
    run_loop(learning.part, learning.losses, loop(), tmp_path, lambda *_: None)
    best = keep_best(learning, tmp_path / BEST)
    kept = (tmp_path / BEST).read_bytes()
    assert keep_best(task(), tmp_path / BEST) < best
    assert (tmp_path / BEST).read_bytes() == kept
    with safe_open(tmp_path / BEST, framework="pt") as file:
        assert float(file.metadata()[DICE]) == pytest.approx(best, abs=1e-6)
        assert [name for name, _ in json.loads(file.metadata()[TARGETS])] == list(NAMES)


def test_what_was_kept_gives_the_same_prompts_when_read_again(tmp_path):
    learning = task()
    keep_best(learning, tmp_path / BEST)
    states = torch.randn(2, 16)
    expected, _ = learning.prompt.eval()(states)
    found, _ = load_seg_prompt(tmp_path / BEST)(states)
    torch.testing.assert_close(found, expected)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="medvl train joint"):
        load_seg_prompt(tmp_path / "other.safetensors")


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="absent_share"):
        replace(load_joint_stage(), absent_share=2.0)
