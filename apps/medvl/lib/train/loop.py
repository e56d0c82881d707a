"""The training loop of a stage, on pytorch-ignite: steps, checkpoints, resume, time budget, averages.

A checkpoint holds all that the next step depends on, and a step's batch depends on its number, so that a
run killed at any moment and resumed ends as if it had not been interrupted. Under torchrun each process takes
its share of the batch, and the first one writes.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from lib.errors import WeightsError
from lib.train import together

CHECKPOINT = "checkpoint.pt"
_LEAST_RATE = 0.01
"""Share of the highest learning rate that is left at the end."""

Losses = Callable[[int], dict[str, Tensor]]
"""From a step's number to its losses, `loss` among them."""
Report = Callable[[int, Mapping[str, float]], None]
"""Is told a step's number and the mean of its losses since the last time."""
Stop = Callable[[], bool]
"""Says after each step whether the loop stops, resumable."""


def never() -> bool:
    """Do not stop."""
    return False


@dataclass(frozen=True)
class LoopConfig:
    """How the optimiser works.

    Attributes:
        iterations: steps in all.
        learning_rate: highest.
        warmup: steps until it is reached.
        weight_decay: of AdamW.
        clip_norm: longest gradient.
        average_decay: of the moving average of the parameters.
        checkpoint_every: steps.
        report_every: steps.
        budget_s: the loop stops, resumable, after so many seconds; None for no bound.
        cycles: the rate rises and falls so often, each time half as high (Loshchilov and Hutter, ICLR 2017).
    """

    iterations: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip_norm: float
    average_decay: float
    checkpoint_every: int = 100
    report_every: int = 25
    budget_s: float | None = None
    cycles: int = 1

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        length = math.ceil(self.iterations / self.cycles)
        cycle = min(step // length, self.cycles - 1)
        step -= cycle * length
        highest = self.learning_rate / 2**cycle
        if step < self.warmup:
            return highest * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, length - self.warmup)
        return highest * (_LEAST_RATE + (1 - _LEAST_RATE) * (1 + math.cos(math.pi * done)) / 2)


@dataclass(eq=False)
class TrainedPart:
    """Parameters that learn, and their moving average.

    Attributes:
        parameters: by name, as in the network.
        average: the same, averaged over the steps.
    """

    parameters: dict[str, nn.Parameter]
    average: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.average = {name: value.detach().clone() for name, value in self.parameters.items()}

    @torch.no_grad()
    def follow(self, step: int, decay: float) -> None:
        """Move the average towards the parameters; faster in the first steps."""
        weight = 1 - min(decay, (1 + step) / (10 + step))
        for name, value in self.parameters.items():
            self.average[name].lerp_(value, weight)


def run_loop(
    part: TrainedPart,
    losses: Losses,
    config: LoopConfig,
    folder: Path,
    report: Report,
    stop: Stop = never,
) -> bool:
    """Train, from the last checkpoint in the folder if there is one.

    Args:
        part: what learns; holds the result.
        losses: gives a step's losses.
        config: how.
        folder: for checkpoints.
        report: is told how it goes, before a checkpoint of the same step.
        stop: ends the loop before its time.

    Returns:
        Whether all steps are done; False when the budget ran out or it was stopped before.

    Raises:
        WeightsError: a checkpoint that does not fit.
    """
    optimiser = torch.optim.AdamW(
        list(part.parameters.values()), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    first = _resume(part, optimiser, folder)
    if first >= config.iterations:
        return True
    engine = Engine(_step_function(part, optimiser, losses, config))
    _attach(engine, config, report, stop, lambda done: _save(part, optimiser, done, folder))
    engine.run(range(first, config.iterations), max_epochs=1, epoch_length=config.iterations - first)
    done = first + engine.state.iteration
    _save(part, optimiser, done, folder)
    return done >= config.iterations


def _step_function(
    part: TrainedPart, optimiser: torch.optim.Optimizer, losses: Losses, config: LoopConfig
) -> Callable[[Engine, int], dict[str, float]]:
    def step(_: Engine, number: int) -> dict[str, float]:
        for group in optimiser.param_groups:
            group["lr"] = config.rate(number)
        optimiser.zero_grad(set_to_none=True)
        found = losses(number)
        torch.autograd.backward(found["loss"])
        together.average_gradients(part.parameters.values())
        torch.nn.utils.clip_grad_norm_(part.parameters.values(), config.clip_norm)
        optimiser.step()
        part.follow(number, config.average_decay)
        return together.average_losses({name: float(value.detach()) for name, value in found.items()})

    return step


def _attach(
    engine: Engine, config: LoopConfig, report: Report, stop: Stop, save: Callable[[int], None]
) -> None:
    recent: list[Mapping[str, float]] = []
    started_s = time.monotonic()

    @engine.on(Events.ITERATION_COMPLETED)
    def watch(running: Engine) -> None:
        recent.append(cast("Mapping[str, float]", running.state.output))
        done = cast("int", running.state.batch) + 1
        if done % config.report_every == 0 and together.is_first():
            report(done, {name: sum(one[name] for one in recent) / len(recent) for name in recent[0]})
        if done % config.report_every == 0:
            recent.clear()
        if done % config.checkpoint_every == 0:
            save(done)
        is_late = config.budget_s is not None and time.monotonic() - started_s > config.budget_s
        if together.anybody(says=is_late or stop()):
            running.terminate()


def _save(part: TrainedPart, optimiser: torch.optim.Optimizer, done: int, folder: Path) -> None:
    if not together.is_first():
        together.wait_for_all()
        return
    folder.mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = {
        "done": done,
        "parameters": {name: value.detach() for name, value in part.parameters.items()},
        "average": part.average,
        "optimiser": optimiser.state_dict(),
    }
    partial = folder / f".{CHECKPOINT}.{os.getpid()}"
    torch.save(state, partial)
    partial.replace(folder / CHECKPOINT)
    together.wait_for_all()


def _resume(part: TrainedPart, optimiser: torch.optim.Optimizer, folder: Path) -> int:
    path = folder / CHECKPOINT
    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    if set(state["parameters"]) != set(part.parameters):
        raise WeightsError(
            f"The checkpoint in {folder.name} is of another network; give another --output, or remove it."
        )
    with torch.no_grad():
        for name, value in part.parameters.items():
            value.copy_(state["parameters"][name])
            part.average[name].copy_(state["average"][name])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["done"])
