"""The stage `regions`: the RegionPrior learns tokens and queries of names from scans that know some names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lib.errors import ConfigError
from lib.model.config import CONFIG_DIR, parse, read_yaml
from lib.model.region_prior import RegionPrior, RegionPriorConfig
from lib.train.dataset import Case
from lib.train.features import Progress
from lib.train.loop import LoopConfig, Report, TrainedPart, run_loop
from lib.train.region_augment import AugmentConfig, RegionSample, draw_sample
from lib.train.region_data import RegionCase, stored_region_cases

REGION_STAGE = CONFIG_DIR / "train" / "regions.yaml"
_NOT_SCANNED = -1


@dataclass(frozen=True)
class RegionStageConfig:
    """How the RegionPrior is trained.

    Attributes:
        names: structures to learn.
        seed: of samples and parameters.
        iterations: steps.
        cycles: how often the learning rate rises and falls, each time half as high.
        batch_size: samples a step.
        learning_rate: highest.
        warmup: steps.
        weight_decay: of AdamW.
        clip_norm: longest gradient.
        average_decay: of the parameters' moving average, which comes out.
        phantoms: how many are made, of the seeds from `first_phantom` on.
        first_phantom: a seed.
        real_share: how often a sample is of a real scan.
        case_shares: real cases that are drawn more or less often than once.
        augment: how samples vary.
        last_cycle: how they vary in the last cycle; None: as before.
    """

    names: tuple[str, ...]
    seed: int
    iterations: int
    batch_size: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip_norm: float
    average_decay: float
    phantoms: int
    first_phantom: int
    real_share: float
    case_shares: dict[str, float] = field(default_factory=dict)
    cycles: int = 1
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    last_cycle: AugmentConfig | None = None

    def __post_init__(self) -> None:
        if not self.names or min(self.iterations, self.batch_size) < 1:
            raise ConfigError("The stage regions needs names, and iterations and batch_size of 1 or more.")


def load_region_stage(path: Path = REGION_STAGE) -> RegionStageConfig:
    """Read the stage's settings.

    Raises:
        ConfigError: no such file, or a key or value that is wrong.
    """
    return parse(RegionStageConfig, read_yaml(path), path.name)


def train_regions(
    cases: Sequence[Case],
    config: RegionStageConfig,
    folder: Path,
    budget_s: float | None,
    report: Report,
    progress: Progress,
) -> dict[str, Tensor] | None:
    """Train the RegionPrior from nothing.

    Args:
        cases: labelled volumes.
        config: how.
        folder: for prepared scans and checkpoints.
        budget_s: seconds after which it stops, resumable; None for no bound.
        report: is told the losses.
        progress: is told what happens besides.

    Returns:
        The averaged parameters, half precision; None if the budget ran out before the end.
    """
    seeds = range(config.first_phantom, config.first_phantom + config.phantoms)
    volumes = [case for case in cases if not case.is_picture]
    stored = stored_region_cases(volumes, seeds, config.names, folder / "scans", progress)
    torch.manual_seed(config.seed)
    network = RegionPrior(RegionPriorConfig(config.names))
    part = TrainedPart(dict(network.named_parameters()))
    sampler = _Sampler(stored, config)

    def losses(step: int) -> dict[str, Tensor]:
        parts = [sample_loss(network, sample) for sample in sampler.samples(step)]
        return {name: torch.stack([one[name] for one in parts]).mean() for name in parts[0]}

    progress("training")
    loop = LoopConfig(
        iterations=config.iterations,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        average_decay=config.average_decay,
        budget_s=budget_s,
        cycles=config.cycles,
    )
    if not run_loop(part, losses, loop, folder, report):
        return None
    return {name: value.half() for name, value in part.average.items()}


class _Sampler:
    def __init__(self, cases: Sequence[RegionCase], config: RegionStageConfig) -> None:
        self._groups = {
            is_real: [case for case in cases if case.is_real == is_real] for is_real in (True, False)
        }
        self._config = config

    def samples(self, step: int) -> list[RegionSample]:
        """Those of a step; they depend on the seed and the step alone."""
        rng = np.random.default_rng([self._config.seed, step])
        is_last = step >= self._config.iterations * (1 - 1 / self._config.cycles)
        augment = self._config.last_cycle if is_last else None
        return [self._one(rng, augment or self._config.augment) for _ in range(self._config.batch_size)]

    def _one(self, rng: np.random.Generator, augment: AugmentConfig) -> RegionSample:
        group = self._groups[bool(rng.random() < self._config.real_share)] or self._groups[True]
        group = group or self._groups[False]
        shares = np.array([self._config.case_shares.get(case.name, 1.0) for case in group])
        case = group[rng.choice(len(group), p=shares / shares.sum())]
        return draw_sample(case, self._config.names, augment, rng)


def sample_loss(network: RegionPrior, sample: RegionSample) -> dict[str, Tensor]:
    """Cross entropy and Dice of one sample, where names that a case does not know count as nothing else.

    The marginal loss of Shi et al. (Medical Image Analysis 2021): the probabilities of unknown names and of
    "none of them" are joined, so that an unlabelled pancreas is not taught to be background.
    """
    similarity = network(sample.scan.contiguous(memory_format=torch.channels_last_3d))
    seen = sample.labels != _NOT_SCANNED
    flat, truth = similarity[0][:, seen], sample.labels[seen]
    known = sample.known
    joined = torch.logsumexp(flat[torch.cat([torch.tensor([True]), ~known])], dim=0, keepdim=True)
    logits = torch.cat([joined, flat[1:][known]])
    number = torch.zeros(len(known) + 1, dtype=torch.long)
    number[1:][known] = torch.arange(1, int(known.sum()) + 1)
    target = number[truth]
    entropy = cross_entropy(logits.T, target)
    dice = _dice(torch.softmax(logits, dim=0), target)
    return {"loss": entropy + dice, "entropy": entropy, "dice": dice}


def _dice(shares: Tensor, target: Tensor) -> Tensor:
    """1 minus the mean soft Dice of the names that the sample shows."""
    count = shares.shape[0]
    volume = torch.bincount(target, minlength=count).to(shares)
    inside = torch.zeros(count).scatter_add(0, target, shares.gather(0, target[None])[0])
    overlap = (2 * inside + 1) / (volume + shares.sum(dim=1) + 1)
    there = volume[1:] > 0
    return 1 - overlap[1:][there].mean() if there.any() else shares.sum() * 0
