"""The stage `prompt` as a whole: views, embeddings, pseudo masks, training, and the weights that come out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from lib.model.build import build_sam2, load_sam2
from lib.model.checkpoint import read_checkpoint
from lib.model.config import load_segmenter_config
from lib.model.engine import EngineChoice, make_engine
from lib.model.volume_segmenter import VolumeSegmenter
from lib.model.weights import CheckpointFormat, weights_sha256
from lib.train.dataset import Case
from lib.train.distil import PseudoMasks, stored_pseudo_masks
from lib.train.features import Progress, StoredView, View, store_views
from lib.train.loop import LoopConfig, Report, TrainedPart, run_loop
from lib.train.prompt_stage import LossWeights, batch_loss
from lib.train.stage_config import ExtraView, PromptStageConfig
from lib.train.tasks import TaskSampler

LEARNING_PARTS = ("sam_prompt_encoder.", "sam_mask_decoder.")
_VIEWS = "views"


@dataclass(frozen=True)
class StageRun:
    """Where and how long a stage runs.

    Attributes:
        weights_dir: holds the weights to begin with.
        folder: for embeddings and checkpoints.
        device: a torch device.
        begin: trained parameters to begin with, as an earlier run wrote them, instead of the weights' own.
        budget_s: seconds of training after which it stops, resumable; None for no bound.
    """

    weights_dir: Path
    folder: Path
    device: str = "cpu"
    begin: Path | None = None
    budget_s: float | None = None


def train_prompt_stage(
    cases: Sequence[Case], config: PromptStageConfig, run: StageRun, report: Report, progress: Progress
) -> dict[str, Tensor] | None:
    """Train the prompt encoder and the mask decoder.

    Args:
        cases: labelled training cases.
        config: how.
        run: where, and how long.
        report: is told the losses.
        progress: is told what happens besides.

    Returns:
        The averaged parameters by name, half precision; None if the budget ran out before the end.
    """
    frozen, _ = load_sam2(config.weights, run.weights_dir)
    encoder = frozen_encoder(config.weights, run)
    views = store_views(encoder, _views(cases, config), run.folder / _VIEWS, progress)
    pseudo = _pseudo_masks(frozen, views, config, progress)
    sampler = TaskSampler(
        views, config.kind_shares, pseudo, config.pseudo_share, config.crop_shares, config.seed
    )
    network = _student(frozen, config, run.begin).to(run.device)
    part = TrainedPart(
        {name: value for name, value in network.named_parameters() if name.startswith(LEARNING_PARTS)}
    )

    def losses(step: int) -> dict[str, Tensor]:
        batch = sampler.batch(step, config.recipes, config.batch_size)
        return batch_loss(network, batch, LossWeights())

    progress("training")
    if not run_loop(part, losses, _loop_config(config, run), run.folder, report):
        return None
    return {name: value.half() for name, value in part.average.items()}


def write_parameters(parameters: Mapping[str, Tensor], path: Path) -> None:
    """Write trained parameters as safetensors, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    save_file({name: value.contiguous() for name, value in parameters.items()}, partial)
    partial.chmod(0o644)
    partial.replace(path)


def _loop_config(config: PromptStageConfig, run: StageRun) -> LoopConfig:
    return LoopConfig(
        iterations=config.iterations,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        average_decay=config.average_decay,
        budget_s=run.budget_s,
    )


def _student(frozen: SAM2Base, config: PromptStageConfig, begin_with: Path | None) -> SAM2Base:
    """The network to train: the parameters to begin with, and new ones for an object score that they lack."""
    network = build_sam2(load_segmenter_config(config.config))
    begin = {name: value for name, value in frozen.state_dict().items() if name.startswith(LEARNING_PARTS)}
    if begin_with is not None:
        begin |= read_checkpoint(begin_with, CheckpointFormat.MEDVL)
    lacking = network.load_state_dict(begin, strict=False).missing_keys
    if "sam_mask_decoder.obj_score_token.weight" in lacking:
        # a new token of the others' scale, so that masks hardly change before the first step
        network.sam_mask_decoder.obj_score_token.weight.data.copy_(frozen.sam_mask_decoder.iou_token.weight)
    network.image_encoder = torch.nn.Identity()
    network.train()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(LEARNING_PARTS))
    return network


def frozen_encoder(name: str, run: StageRun) -> VolumeSegmenter:
    """The named weights on the run's device, to embed slices with."""
    network, config = load_sam2(name, run.weights_dir)
    engine = make_engine(EngineChoice.AUTO, network.to(run.device), config)
    digest = weights_sha256(name, run.weights_dir)
    return VolumeSegmenter(network, config, digest, torch.device(run.device), engine)


def _views(cases: Sequence[Case], config: PromptStageConfig) -> Iterator[View]:
    volumes = [case for case in cases if not case.is_picture]
    yield from (View(case) for case in volumes)
    pictures = [case for case in cases if case.is_picture]
    order = np.random.default_rng(config.seed).permutation(len(pictures))[: config.most_pictures]
    yield from (View(pictures[number]) for number in sorted(order))
    yield from extra_views_of(volumes, config.extra_views)


def extra_views_of(volumes: Sequence[Case], extra_views: Sequence[ExtraView]) -> Iterator[View]:
    """Views that settings ask for beside the ordinary ones."""
    for extra in extra_views:
        for case in volumes:
            if extra.shows(case.name):
                seen = View(case, axis=extra.axis, window=extra.window, step=extra.step)
                turned = replace(seen, mirrored=extra.mirrored, quarter_turns=extra.quarter_turns)
                yield replace(turned, zoom=extra.zoom)


def _pseudo_masks(
    frozen: SAM2Base, views: Sequence[StoredView], config: PromptStageConfig, progress: Progress
) -> dict[StoredView, PseudoMasks]:
    if not config.pseudo_slices or not config.pseudo_share:
        return {}
    progress("looking for masks that are certain without labels")
    return {
        view: stored_pseudo_masks(frozen, view, range(0, len(view.labels), config.pseudo_slices), config.seed)
        for view in views
    }
