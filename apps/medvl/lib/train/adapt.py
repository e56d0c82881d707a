"""The stage `adapt`: prompt encoder and mask decoder follow annotators' labels, judged by held-out patients.

It begins with the weights that serve. After each epoch the averaged parameters, rounded as they would be
published, draw held-out objects with the code that serves; the best epoch is what comes out. What a case does
not list is unknown: only objects that it lists are asked for, and only against what is not that object.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors.torch import save
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from lib.atomic import write_atomically
from lib.errors import InputError, MedVLError, WeightsError
from lib.model.build import build_serving
from lib.model.checkpoint import read_checkpoint
from lib.model.config import Backbone, SegmenterConfig
from lib.model.engine import EngineChoice, make_engine
from lib.model.publish import ServingTensors, read_serving
from lib.model.volume_segmenter import VolumeSegmenter
from lib.model.weights import CheckpointFormat
from lib.predict.embedding_files import EmbeddingFiles, FileBackedEngine
from lib.predict.scan import EmbeddingCache
from lib.predict.segment import Predictor
from lib.train.adapt_config import AdaptConfig
from lib.train.features import StoredView, View, store_views
from lib.train.interaction import Target
from lib.train.loop import Losses, TrainedPart, run_loop
from lib.train.patients import PatientSplit
from lib.train.prompt_stage import LossWeights, batch_loss
from lib.train.stages import LEARNING_PARTS
from lib.train.tasks import Recipe, TaskSampler
from lib.train.validation import held_out_targets, mean_score

CACHE_BYTES = 2**31
"""Embeddings of the held-out scans."""
_BEST = "best-{}.safetensors"
_PROGRESS = "progress.json"
_VIEWS = "views"
KIND = "annotator"
"""Of all cases that are learnt from."""


@dataclass(frozen=True)
class Epoch:
    """How an epoch went.

    Attributes:
        number: from 1.
        score: on the held-out objects, 0 to 1.
        losses: means over its steps.
    """

    number: int
    score: float
    losses: dict[str, float]


@dataclass
class Progress:
    """What a run has found so far; kept beside its checkpoint.

    Attributes:
        before: score of the serving weights.
        epochs: finished ones, in order.
    """

    before: float
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> float:
        """Highest score so far, that of the serving weights included."""
        return max([self.before, *(epoch.score for epoch in self.epochs)])

    @property
    def best_epoch(self) -> int:
        """The first epoch with the highest score; 0: the serving weights."""
        return next((epoch.number for epoch in self.epochs if epoch.score == self.best > self.before), 0)


@runtime_checkable
class Watcher(Protocol):
    """Whoever follows a run."""

    def said(self, text: str) -> None:
        """Hear what happens now."""
        ...

    def went(self, progress: Progress) -> None:
        """Hear of the serving weights' score, and then of each epoch."""
        ...

    def wants_stop(self) -> bool:
        """Whether the run is to end, resumable, without a result."""
        ...


@dataclass(frozen=True)
class AdaptRun:
    """Where and how long the stage runs.

    Attributes:
        weights: name of the weights.
        weights_dir: where they are.
        folder: for this run's checkpoints; a run in the same folder goes on from them.
        views: folder for embeddings of labelled slices, which runs share.
        device: a torch device.
        budget_s: seconds of training after which the best so far comes out; None for no bound.
        embeddings: files of slice embeddings that server and runs share; None: none are kept.
    """

    weights: str
    weights_dir: Path
    folder: Path
    views: Path
    device: str = "cpu"
    budget_s: float | None = None
    embeddings: EmbeddingFiles | None = None


@dataclass(frozen=True, eq=False)
class Adapted:
    """What a run came to.

    Attributes:
        progress: its scores.
        parameters: of the best epoch, half precision; None if none beat the serving weights.
        begun_with: number of the version that served.
        used_cases: cases that could be learnt from.
    """

    progress: Progress
    parameters: dict[str, Tensor] | None
    begun_with: int
    used_cases: int


def adapt(split: PatientSplit, config: AdaptConfig, run: AdaptRun, watcher: Watcher) -> Adapted | None:
    """Train on some patients, judge on others.

    Args:
        split: labelled cases.
        config: how.
        run: where, and how long.
        watcher: follows it.

    Returns:
        The outcome; None if the watcher wanted it to stop.

    Raises:
        InputError: no case can be learnt from, or none judged by.
        WeightsError: the serving weights cannot be adapted, are missing or altered.
    """
    parts = _Parts.load(run)
    targets = held_out_targets(split.validation, config.validation_objects)
    if not targets:
        raise InputError("None of the held-out labels can be read; open and save them again, then train.")
    views = _learnable(split, config, run, parts, watcher)
    judge = _Judge(parts, targets, config.validation_clicks)
    progress = _begun(run, judge, watcher)
    part, losses = _learner(parts, views, config)
    lesson = _Lesson(judge, part, progress, config, run, watcher)
    folder = run.folder
    run_loop(part, losses, config.loop(run.budget_s), folder, lesson.finish_epoch, lesson.is_over)
    if watcher.wants_stop():
        return None
    best = None
    if progress.best_epoch:
        best = read_checkpoint(folder / _BEST.format(progress.best_epoch), CheckpointFormat.MEDVL)
    return Adapted(progress, best, parts.serving.number, len(views))


def is_better(progress: Progress, config: AdaptConfig) -> bool:
    """Whether the best epoch beats the serving weights by enough to be published."""
    return progress.best_epoch > 0 and progress.best - progress.before >= config.least_gain


@dataclass(frozen=True, eq=False)
class _Parts:
    """The serving network, and an encoder whose embeddings all share."""

    serving: ServingTensors
    sam2: SAM2Base
    config: SegmenterConfig
    segmenter: VolumeSegmenter

    @classmethod
    def load(cls, run: AdaptRun) -> "_Parts":
        serving = read_serving(run.weights, run.weights_dir)
        sam2, config = build_serving(run.weights, run.weights_dir, serving)
        if config.backbone is not Backbone.TINYVIT:
            raise WeightsError(
                f"The weights {run.weights!r} cannot be adapted here: only those with one feature map a "
                "slice can (TinyViT); serve medvl-lite."
            )
        engine = make_engine(EngineChoice.AUTO, sam2.to(run.device), config)
        if run.embeddings is not None:
            engine = FileBackedEngine(engine, run.embeddings, serving.encoder_sha256)
        device = torch.device(run.device)
        segmenter = VolumeSegmenter(
            sam2, config, serving.sha256, device, engine, encoder_sha256=serving.encoder_sha256
        )
        return cls(serving, sam2, config, segmenter)

    def with_parameters(self, parameters: dict[str, Tensor]) -> VolumeSegmenter:
        """The segmenter with other parameters in place of the serving ones."""
        network = copy.deepcopy(self.sam2)
        network.load_state_dict(parameters, strict=False)
        before = self.segmenter
        return VolumeSegmenter(
            network, self.config, "candidate", before.device, before.engine, before.encoder_sha256
        )


class _Judge:
    """Scores parameters with the code that serves."""

    def __init__(self, parts: _Parts, targets: Sequence[Target], clicks: int) -> None:
        self._parts = parts
        self._targets = targets
        self._clicks = clicks
        self._predictor = Predictor(parts.segmenter, EmbeddingCache(CACHE_BYTES))

    def score_serving(self) -> float:
        return mean_score(self._predictor, self._targets, self._clicks)

    def score(self, parameters: dict[str, Tensor]) -> float:
        candidate = replace(self._predictor, segmenter=self._parts.with_parameters(parameters))
        return mean_score(candidate, self._targets, self._clicks)


class _Lesson:
    """What happens after each epoch, and when it is enough."""

    def __init__(
        self,
        judge: _Judge,
        part: TrainedPart,
        progress: Progress,
        config: AdaptConfig,
        run: AdaptRun,
        watcher: Watcher,
    ) -> None:
        self._judge = judge
        self._part = part
        self._progress = progress
        self._config = config
        self._folder = run.folder
        self._watcher = watcher

    def finish_epoch(self, step: int, losses: Mapping[str, float]) -> None:
        """Judge the epoch that ends with this step, and keep its parameters if they are the best."""
        number = step // self._config.steps_per_epoch
        rounded = {name: value.half() for name, value in self._part.average.items()}
        score = self._judge.score(rounded)
        # a run that was killed after its last checkpoint does this epoch again
        known = [epoch for epoch in self._progress.epochs if epoch.number < number]
        self._progress.epochs = [*known, Epoch(number, score, dict(losses))]
        if self._progress.best_epoch == number:
            contiguous = {name: value.cpu().contiguous() for name, value in rounded.items()}
            write_atomically(self._folder / _BEST.format(number), save(contiguous))
        _write_progress(self._progress, self._folder)
        self._remove_outdone()
        self._watcher.went(self._progress)

    def _remove_outdone(self) -> None:
        """All but the last two: a run that is killed now goes on from the epoch before."""
        paths = self._folder.glob(_BEST.format("*"))
        for path in sorted(paths, key=lambda path: int(path.stem.rpartition("-")[2]))[:-2]:
            path.unlink()

    def is_over(self) -> bool:
        """Whether nothing better has come for long, or somebody wants an end."""
        done = len(self._progress.epochs) and self._progress.epochs[-1].number
        return done - self._progress.best_epoch >= self._config.patience or self._watcher.wants_stop()


def _learnable(
    split: PatientSplit, config: AdaptConfig, run: AdaptRun, parts: _Parts, watcher: Watcher
) -> list[StoredView]:
    """Embedded slices of the cases that can be read."""
    views: list[StoredView] = []
    for number, case in enumerate(split.train, start=1):
        watcher.said(f"reading case {number} of {len(split.train)}")
        view = View(replace(case, kind=KIND), margin=config.margin)
        try:
            views += store_views(parts.segmenter, [view], run.views, lambda _: None)
        except (MedVLError, OSError) as error:
            watcher.said(f"case {number} is left out: {error}")
        if watcher.wants_stop():
            break
    views = [view for view in views if view.present]
    if not views:
        raise InputError(
            "None of the labels to learn from can be read; open and save them again, then train."
        )
    return views


def _begun(run: AdaptRun, judge: _Judge, watcher: Watcher) -> Progress:
    """The progress of the run in this folder, or that of a new one: the serving weights' score."""
    progress = _read_progress(run.folder)
    if progress is None:
        watcher.said("scoring the weights that serve")
        progress = Progress(judge.score_serving())
        run.folder.mkdir(parents=True, exist_ok=True)
        _write_progress(progress, run.folder)
    watcher.went(progress)
    return progress


def _learner(parts: _Parts, views: Sequence[StoredView], config: AdaptConfig) -> tuple[TrainedPart, Losses]:
    """The parameters that learn, and their losses by step."""
    network = copy.deepcopy(parts.sam2)
    network.image_encoder = torch.nn.Identity()
    network.train()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(LEARNING_PARTS))
    part = TrainedPart({name: value for name, value in network.named_parameters() if value.requires_grad})
    sampler = TaskSampler(views, {KIND: 1.0}, {}, 0.0, config.crop_shares, config.seed)
    recipes = _possible(sampler, config.recipes)

    def losses(step: int) -> dict[str, Tensor]:
        return batch_loss(network, sampler.batch(step, recipes, config.batch_size), LossWeights())

    return part, losses


def _possible(sampler: TaskSampler, recipes: Sequence[Recipe]) -> list[Recipe]:
    """The recipes that these labels have an object for; pictures have no neighbouring slices."""
    possible = []
    for recipe in recipes:
        try:
            sampler.batch(0, [recipe], 1)
        except InputError:
            continue
        possible.append(recipe)
    return possible


def _write_progress(progress: Progress, folder: Path) -> None:
    write_atomically(folder / _PROGRESS, json.dumps(asdict(progress)).encode())


def _read_progress(folder: Path) -> Progress | None:
    try:
        said = json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Progress(said["before"], [Epoch(**epoch) for epoch in said["epochs"]])
