"""The stage `joint`: the state at [SEG] learns to prompt the mask decoder, and goes on naming what it means.

Language model, slice encoder and mask decoder are frozen here, and what the first two give is computed once.
The loss is MedVL-SAM2's: cross entropy of the words, binary cross entropy and Dice of the masks.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from lib.atomic import write_atomically
from lib.model.seg_prompt import SegPrompt, new_seg_prompt
from lib.model.sentence_queries import TARGETS, load_sentence_queries, targets_text
from lib.model.volume_segmenter import VolumeSegmenter
from lib.train.dataset import Case
from lib.train.features import Progress, View, store_views
from lib.train.joint_config import JointStageConfig
from lib.train.joint_data import (
    AskedSlice,
    JointSamples,
    joint_samples,
    sentence_states,
    values_by_name,
)
from lib.train.loop import LoopConfig, Report, TrainedPart, run_loop
from lib.train.losses import dice_loss
from lib.train.sentences import make_phrasebook
from lib.train.together import is_first, own_share
from lib.vocabulary import load_vocabulary

BEST = "best.safetensors"
"""The averaged parameters that were best in validation so far."""
DICE = "validation_dice"


@dataclass(frozen=True)
class JointRun:
    """Where and how long the stage runs.

    Attributes:
        weights_dir: holds the language model and what it was taught.
        folder: for embeddings, states and checkpoints.
        device: a torch device.
        budget_s: seconds of training after which it stops, resumable; None for no bound.
    """

    weights_dir: Path
    folder: Path
    device: str = "cpu"
    budget_s: float | None = None


@dataclass(eq=False)
class JointTask:
    """What is trained, and what on.

    Attributes:
        prompt: learns.
        segmenter: draws; frozen.
        samples: slices.
        states: of sentences, by structure.
        numbers: of the structures among the targets.
        config: how.
        texts: kept beside the parameters.
    """

    prompt: SegPrompt
    segmenter: VolumeSegmenter
    samples: JointSamples
    states: Mapping[str, Tensor]
    numbers: Mapping[str, int]
    config: JointStageConfig
    texts: Mapping[str, str]
    part: TrainedPart = field(init=False)

    def __post_init__(self) -> None:
        self.part = TrainedPart(dict(self.prompt.named_parameters()))

    def losses(self, step: int) -> dict[str, Tensor]:
        """Of a step, this process's share."""
        batch = own_share(self.samples.batch(step, self.config))
        rng = np.random.default_rng([self.config.seed, step, 1])
        states = torch.stack([_pick(self.states[asked.name], rng) for asked in batch])
        prompts, scores = self.prompt(states)
        logits, truth = self._drawn(batch, prompts), _truth(batch, self.segmenter)
        named = torch.tensor([self.numbers[asked.name] for asked in batch], device=scores.device)
        there = torch.tensor([bool(asked.values) for asked in batch], device=scores.device)
        parts = {
            "naming": cross_entropy(scores, named),
            "mask": binary_cross_entropy_with_logits(logits, truth),
            "dice": (dice_loss(logits, truth) * there).sum() / len(batch),
        }
        config = self.config
        weights = {"naming": config.naming_weight, "mask": config.mask_weight, "dice": config.dice_weight}
        return {"loss": sum((weights[name] * parts[name] for name in parts), logits.new_zeros(())), **parts}

    @torch.inference_mode()
    def validate(self) -> float:
        """Mean Dice of the averaged parameters on the slices that are kept for it."""
        found = []
        for asked in self.samples.kept:
            states = self.states[asked.name][:1].clone()
            prompts, _ = functional_call(self.prompt, dict(self.part.average), (states,))
            drawn = self._drawn([asked], prompts)[0] > 0
            truth = _truth([asked], self.segmenter)[0] > 0
            found.append(float(2 * (drawn & truth).sum() / (drawn.sum() + truth.sum()).clamp(min=1)))
        return float(np.mean(found)) if found else 0.0

    def _drawn(self, batch: Sequence[AskedSlice], prompts: Tensor) -> Tensor:
        images = torch.stack([asked.embedding() for asked in batch]).to(self.segmenter.device)
        return self.segmenter.decode_vectors(images, prompts).mask_logits.float()


def train_joint_stage(
    cases: Sequence[Case],
    segmenter: VolumeSegmenter,
    config: JointStageConfig,
    run: JointRun,
    report: Report,
    progress: Progress,
) -> Path | None:
    """Train the [SEG] prompt.

    Args:
        cases: labelled training cases; pictures are passed over.
        segmenter: whose encoder and decoder are used, unchanged.
        config: how.
        run: where, and how long.
        report: is told the losses, and the Dice of validation.
        progress: is told what happens besides.

    Returns:
        The file with the parameters that were best in validation; None if the budget ran out before the end.
    """
    task = prepare(cases, segmenter, config, run, progress)

    def told(step: int, losses: Mapping[str, float]) -> None:
        due = step % config.validate_every == 0 or step == config.iterations
        report(step, {**losses, **({"dice_val": keep_best(task, run.folder / BEST)} if due else {})})

    progress("training")
    if not run_loop(task.part, task.losses, _loop_config(config, run), run.folder, told):
        return None
    if is_first() and not (run.folder / BEST).is_file():
        keep_best(task, run.folder / BEST)
    return run.folder / BEST


def prepare(
    cases: Sequence[Case],
    segmenter: VolumeSegmenter,
    config: JointStageConfig,
    run: JointRun,
    progress: Progress,
) -> JointTask:
    """Everything that is computed before the first step."""
    book = make_phrasebook(load_vocabulary(), ())
    volumes = [case for case in cases if not case.is_picture and values_by_name(case, config.names)]
    views = store_views(segmenter, [View(case) for case in volumes], run.folder / "views", progress)
    samples = joint_samples(list(zip(volumes, views, strict=True)), config)
    queries = load_sentence_queries(run.weights_dir, config.sentences)
    progress("reading sentences")
    states = {
        name: one.to(run.device) for name, one in sentence_states(queries, book, config, run.folder).items()
    }
    numbers = {target.name: number for number, target in enumerate(queries.targets)}
    size = next(iter(samples.present.values()))[0].embedding().shape[0]
    prompt = new_seg_prompt(copy.deepcopy(queries.head).train(), size, config.seed)
    texts = {TARGETS: targets_text(queries.targets)}
    return JointTask(prompt.to(run.device), segmenter, samples, states, numbers, config, texts)


def keep_best(task: JointTask, path: Path) -> float:
    """Write the averaged parameters if no earlier ones were better in validation; their mean Dice there."""
    dice = task.validate()
    if not path.is_file() or dice > _best_dice(path):
        tensors = {name: value.contiguous().cpu() for name, value in task.part.average.items()}
        write_atomically(path, save(tensors, {**task.texts, DICE: f"{dice:.6f}"}))
    return dice


def _best_dice(path: Path) -> float:
    with safe_open(path, framework="pt") as file:
        return float((file.metadata() or {}).get(DICE, "-1"))


def _pick(states: Tensor, rng: np.random.Generator) -> Tensor:
    return states[int(rng.integers(len(states)))]


def _truth(batch: Sequence[AskedSlice], segmenter: VolumeSegmenter) -> Tensor:
    return torch.stack([asked.mask() for asked in batch]).to(segmenter.device)


def _loop_config(config: JointStageConfig, run: JointRun) -> LoopConfig:
    return LoopConfig(
        iterations=config.iterations,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        average_decay=config.average_decay,
        checkpoint_every=25,
        budget_s=run.budget_s,
    )
