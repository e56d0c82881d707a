"""The stage `memory` as a whole: views, training, and the parameters that come out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from lib.errors import ConfigError
from lib.model.build import build_sam2
from lib.model.config import CONFIG_DIR, load_segmenter_config, parse, read_yaml
from lib.model.publish import read_serving
from lib.model.slice_memory import silence
from lib.model.weights import find_entry
from lib.train.clips import ClipSampler
from lib.train.dataset import Case
from lib.train.features import Progress, View, store_views
from lib.train.loop import LoopConfig, Report, TrainedPart, run_loop
from lib.train.memory_stage import LEARNING_PARTS, Mixture, clip_loss
from lib.train.prompt_stage import LossWeights
from lib.train.stage_config import ExtraView
from lib.train.stages import StageRun, extra_views_of, frozen_encoder

MEMORY_STAGE = CONFIG_DIR / "train" / "memory.yaml"
_VIEWS = "views"


@dataclass(frozen=True)
class MemoryStageConfig:
    """How memory encoder and memory attention are trained.

    Attributes:
        weights: whose encoder, prompts and decoder stay as they are.
        config: model configuration of the weights that come out.
        seed: of clips.
        iterations: steps of the optimiser in all.
        batch_size: clips a step.
        longest: slices of a clip at most.
        learning_rate: highest; rises over `warmup` steps, then falls along a cosine to a hundredth.
        warmup: steps.
        weight_decay: of AdamW.
        clip_norm: longest gradient.
        average_decay: of the moving average of the parameters, which is what comes out.
        kind_shares: how often each kind of case is drawn.
        side_shares: side of the part that is remembered, in cells, to how often.
        mixture: what the decoder is given of the slice before.
        extra_views: beside the ordinary ones.
    """

    weights: str
    config: str
    seed: int
    iterations: int
    batch_size: int
    longest: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip_norm: float
    average_decay: float
    kind_shares: dict[str, float]
    side_shares: dict[int, float]
    mixture: Mixture
    extra_views: tuple[ExtraView, ...] = field(default=())

    def __post_init__(self) -> None:
        if min(self.iterations, self.batch_size) < 1 or self.longest < 3:
            raise ConfigError(
                "iterations and batch_size must be 1 or more, and longest 3 or more; got "
                f"{self.iterations}, {self.batch_size} and {self.longest}."
            )


def load_memory_stage(path: Path = MEMORY_STAGE) -> MemoryStageConfig:
    """Read the stage's settings.

    Raises:
        ConfigError: no such file, or a key or value that is wrong.
    """
    return parse(MemoryStageConfig, read_yaml(path), path.name)


def train_memory_stage(
    cases: Sequence[Case], config: MemoryStageConfig, run: StageRun, report: Report, progress: Progress
) -> dict[str, Tensor] | None:
    """Train memory encoder and memory attention.

    Args:
        cases: labelled training cases; pictures are left out.
        config: how.
        run: where, and how long.
        report: is told the losses.
        progress: is told what happens besides.

    Returns:
        The averaged parameters by name, half precision; None if the budget ran out before the end.
    """
    volumes = [case for case in cases if not case.is_picture]
    encoder = frozen_encoder(find_entry(config.weights, run.weights_dir).base or config.weights, run)
    views = [*map(View, volumes), *extra_views_of(volumes, config.extra_views)]
    stored = store_views(encoder, views, run.folder / _VIEWS, progress)
    sampler = ClipSampler(stored, config.kind_shares, config.side_shares, config.longest, config.seed)
    network = _student(read_serving(config.weights, run.weights_dir).tensors, config).to(run.device)
    part = TrainedPart(
        {name: value for name, value in network.named_parameters() if name.startswith(LEARNING_PARTS)}
    )

    def losses(step: int) -> dict[str, Tensor]:
        clips, rng = sampler.batch(step, config.batch_size)
        torch.manual_seed(int(rng.integers(2**31)))  # of dropout, so that a resumed run goes on alike
        return clip_loss(network, clips, rng, config.mixture, LossWeights())

    progress("training")
    loop = LoopConfig(
        iterations=config.iterations,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        average_decay=config.average_decay,
        budget_s=run.budget_s,
    )
    if not run_loop(part, losses, loop, run.folder, report):
        return None
    return {name: value.half() for name, value in part.average.items()}


def _student(tensors: Mapping[str, Tensor], config: MemoryStageConfig) -> SAM2Base:
    """The network with memory as before any training, in which memory alone learns."""
    network = build_sam2(load_segmenter_config(config.config))
    kept = {name: value for name, value in tensors.items() if not name.startswith(LEARNING_PARTS)}
    network.load_state_dict(kept, strict=False)
    silence(network)
    network.image_encoder = torch.nn.Identity()
    network.eval()
    for part in (network.memory_attention, network.memory_encoder):
        part.train()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(LEARNING_PARTS))
    return network
