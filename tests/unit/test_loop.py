"""The training loop: stopping and resuming at any step ends where an uninterrupted run ends."""

import multiprocessing
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lib.errors import WeightsError
from lib.train.loop import CHECKPOINT, LoopConfig, TrainedPart, run_loop

STEPS = 12


class KilledError(Exception):
    """The process was killed."""


def part(width: int = 3) -> TrainedPart:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TrainedPart({"weight": nn.Parameter(torch.randn(width))})


def config(**changes) -> LoopConfig:
    values = {
        "iterations": STEPS,
        "learning_rate": 0.1,
        "warmup": 2,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "average_decay": 0.9,
        "checkpoint_every": 4,
        "report_every": 4,
    }
    return LoopConfig(**(values | changes))


def losses_of(learning: TrainedPart, dies_at: int | None = None):
    def losses(step: int) -> dict[str, torch.Tensor]:
        if step == dies_at:
            raise KilledError
        target = torch.from_numpy(np.random.default_rng(step).normal(size=3)).float()
        return {"loss": ((learning.parameters["weight"] - target) ** 2).sum()}

    return losses


def train(folder: Path, **changes) -> TrainedPart:
    learning = part()
    run_loop(learning, losses_of(learning), config(**changes), folder, lambda *_: None)
    return learning


@pytest.mark.parametrize("dies_at", [0, 3, 4, 7, 11])
def test_a_killed_run_resumes_to_the_same_parameters(tmp_path, dies_at):
    whole = train(tmp_path / "whole")
    killed = part()
    with pytest.raises(KilledError):
        run_loop(killed, losses_of(killed, dies_at), config(), tmp_path / "killed", lambda *_: None)
    resumed = train(tmp_path / "killed")
    assert torch.equal(resumed.parameters["weight"], whole.parameters["weight"])
    assert torch.equal(resumed.average["weight"], whole.average["weight"])


def test_when_the_budget_is_over_the_run_stops_and_can_go_on(tmp_path):
    learning = part()
    done = run_loop(learning, losses_of(learning), config(budget_s=0.0), tmp_path, lambda *_: None)
    assert not done
    resumed = train(tmp_path)
    assert torch.equal(resumed.average["weight"], train(tmp_path / "whole").average["weight"])


def test_a_finished_run_is_not_trained_further(tmp_path):
    first = train(tmp_path).average["weight"]
    again = part()
    assert run_loop(again, losses_of(again, dies_at=0), config(), tmp_path, lambda *_: None)
    assert torch.equal(again.average["weight"], first)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    train(tmp_path)
    other = TrainedPart({"bias": nn.Parameter(torch.zeros(3))})
    with pytest.raises(WeightsError, match="another network"):
        run_loop(other, losses_of(other), config(), tmp_path, lambda *_: None)


def test_a_checkpoint_is_whole_or_not_there(tmp_path):
    train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_the_learning_rate_rises_and_then_falls_to_a_hundredth():
    rates = [config().rate(step) for step in range(STEPS)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == pytest.approx(0.1)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert config().rate(STEPS) == pytest.approx(0.001)


def test_reports_are_means_since_the_last_one(tmp_path):
    told = []
    learning = part()
    run_loop(
        learning, losses_of(learning), config(), tmp_path, lambda step, means: told.append((step, means))
    )
    assert [step for step, _ in told] == [4, 8, 12]
    assert all(set(means) == {"loss"} for _, means in told)


def train_slowly(folder: str) -> None:
    learning = part()
    inner = losses_of(learning)

    def losses(step: int) -> dict[str, torch.Tensor]:
        time.sleep(0.05)
        return inner(step)

    run_loop(learning, losses, config(iterations=200, checkpoint_every=2), Path(folder), lambda *_: None)


@pytest.mark.slow
def test_after_kill_9_training_ends_at_the_same_loss(tmp_path):
    settings = config(iterations=200, checkpoint_every=2, report_every=1)
    ends: dict[str, float] = {}

    def train_on(folder: str) -> None:
        learning = part()
        told = lambda _, found: ends.update({folder: found["loss"]})  # noqa: E731
        assert run_loop(learning, losses_of(learning), settings, tmp_path / folder, told)

    killed = str(tmp_path / "killed")
    process = multiprocessing.get_context("spawn").Process(target=train_slowly, args=(killed,))
    process.start()
    while not (tmp_path / "killed" / CHECKPOINT).is_file():
        time.sleep(0.01)
    time.sleep(0.3)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    for folder in ("whole", "killed"):
        train_on(folder)
    assert ends["killed"] == pytest.approx(ends["whole"], abs=1e-4)
