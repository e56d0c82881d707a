"""Training in several processes at once, started by torchrun, through pytorch-ignite.

Every process works on its share of a step's batch, and gradients are averaged, so that a step is the one that
a single process would make of the whole batch. Without torchrun all of this does nothing.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import ignite.distributed as idist
import torch
from torch import Tensor, nn

from lib.errors import ConfigError

_Item = TypeVar("_Item")
_STARTED = "WORLD_SIZE"
"""The environment variable by which torchrun says how many processes there are."""


@contextmanager
def processes(device: str) -> Iterator[str]:
    """Join the other processes if torchrun started this one.

    Args:
        device: cpu, or cuda: then each process takes the GPU of its number on its machine.

    Yields:
        The device of this process.
    """
    if int(os.environ.get(_STARTED, "1")) < 2 or idist.get_world_size() > 1:
        yield device
        return
    on_gpu = device.startswith("cuda")
    idist.initialize("nccl" if on_gpu else "gloo")
    try:
        yield f"cuda:{idist.get_local_rank()}" if on_gpu else device
    finally:
        idist.finalize()


def is_first() -> bool:
    """Whether this process writes and reports; the only one always does."""
    return idist.get_rank() == 0


def own_share(batch: Sequence[_Item]) -> list[_Item]:
    """What this process does of a batch.

    Raises:
        ConfigError: a batch that cannot be shared evenly, so that its mean would not be that of the shares.
    """
    count = idist.get_world_size()
    if len(batch) % count:
        raise ConfigError(
            f"A batch of {len(batch)} cannot be shared evenly by {count} processes; set batch_size to a "
            f"multiple of {count}."
        )
    return list(batch[idist.get_rank() :: count])


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the mean of all processes' gradients."""
    if idist.get_world_size() < 2:
        return
    learning = list(parameters)
    own = [value.grad if value.grad is not None else torch.zeros_like(value) for value in learning]
    means = _mean(torch.cat([grad.flatten() for grad in own]))
    for value, mean in zip(learning, torch.split(means, [value.numel() for value in learning]), strict=True):
        value.grad = mean.view_as(value)


def average_losses(losses: Mapping[str, float]) -> dict[str, float]:
    """The mean of all processes' losses."""
    if idist.get_world_size() < 2:
        return dict(losses)
    means = _mean(torch.tensor(list(losses.values()), device=idist.device()))
    return dict(zip(losses, means.tolist(), strict=True))


def anybody(*, says: bool) -> bool:
    """Whether any process says so, so that all stop at the same step."""
    if idist.get_world_size() < 2:
        return says
    total = idist.all_reduce(torch.tensor(float(says), device=idist.device()))
    return bool(torch.as_tensor(total).item() > 0)


def wait_for_all() -> None:
    """Go on when all processes have come here."""
    if idist.get_world_size() > 1:
        idist.barrier()


def _mean(values: Tensor) -> Tensor:
    return torch.as_tensor(idist.all_reduce(values)) / idist.get_world_size()
