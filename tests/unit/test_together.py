"""Several processes train as one does on the whole batch."""

from pathlib import Path

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from torch import nn

from lib.errors import ConfigError
from lib.train import together
from lib.train.loop import LoopConfig, TrainedPart, run_loop

STEPS, BATCH, SIZE = 6, 4, 3
CONFIG = LoopConfig(
    iterations=STEPS, learning_rate=0.1, warmup=2, weight_decay=0.01, clip_norm=1.0, average_decay=0.9,
    checkpoint_every=3, report_every=1,
)  # fmt: skip


def train(folder: Path) -> list[float]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        part = TrainedPart({"weight": nn.Parameter(torch.randn(SIZE)), "idle": nn.Parameter(torch.zeros(1))})

    def losses(step: int) -> dict[str, torch.Tensor]:
        batch = np.random.default_rng(step).normal(size=(BATCH, SIZE))
        own = torch.from_numpy(np.stack(together.own_share(list(batch)))).float()
        each = ((part.parameters["weight"] - own) ** 2).sum(dim=1) * own.abs().sum(dim=1)
        return {"loss": each.mean() + part.parameters["idle"].sum()}

    told: list[float] = []
    run_loop(part, losses, CONFIG, folder, lambda _, found: told.append(found["loss"]))
    if together.is_first():
        np.save(folder / "told.npy", told)
    np.save(folder / f"weight_{idist.get_rank()}.npy", part.average["weight"].numpy())
    return told


def in_process(_: int, folder: str) -> None:
    train(Path(folder))


@pytest.mark.slow
def test_two_processes_lose_and_learn_as_one_does_on_the_whole_batch(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    alone = train(tmp_path / "one")
    idist.spawn("gloo", in_process, (str(tmp_path / "two"),), nproc_per_node=2)
    assert np.load(tmp_path / "two" / "told.npy") == pytest.approx(alone, abs=1e-5)
    for rank in (0, 1):
        found = np.load(tmp_path / "two" / f"weight_{rank}.npy")
        assert found == pytest.approx(np.load(tmp_path / "one" / "weight_0.npy"), abs=1e-5)


def test_alone_a_process_does_the_whole_batch(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with together.processes("cpu") as device:
        assert device == "cpu"
        assert together.own_share([1, 2, 3]) == [1, 2, 3]
        assert together.is_first()
        assert together.anybody(says=True)
        assert not together.anybody(says=False)
        assert together.average_losses({"loss": 2.0}) == {"loss": 2.0}


def test_a_batch_that_cannot_be_shared_evenly_is_refused(monkeypatch):
    monkeypatch.setattr(idist, "get_world_size", lambda: 2)
    with pytest.raises(ConfigError, match="multiple of 2"):
        together.own_share([1, 2, 3])


def test_each_process_has_its_own_part_of_a_batch(monkeypatch):
    monkeypatch.setattr(idist, "get_world_size", lambda: 2)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(idist, "get_rank", lambda rank=rank: rank)
        shares.append(together.own_share([1, 2, 3, 4]))
    assert shares == [[1, 3], [2, 4]]
