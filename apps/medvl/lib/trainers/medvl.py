"""The trainer `medvl`: the model learns from labels, and what it learnt serves if that is better."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from lib.errors import CapacityError, InputError, MedVLError
from lib.labels import load_labels
from lib.model.publish import publish
from lib.model.versions import serving_sha256
from lib.predict.embedding_files import EmbeddingFiles
from lib.settings import Settings
from lib.train.adapt import Adapted, AdaptRun, Progress, adapt, is_better
from lib.train.patients import PatientSplit, split_patients
from lib.train.run_log import RunLog, read_stats
from lib.trainers.classes import add_classes
from lib.trainers.labelled import labelled_cases
from lib.trainers.options import TrainOptions, parse_options, viewer_config

logger = logging.getLogger(__name__)

TRAINER = "medvl"
DESCRIPTION = (
    "Fine-tunes prompt encoder and mask decoder on final labels; serves the result only if it draws scans of "
    "held-out patients better. Research use only, not a medical device."
)
OFFERED_LABELS = "interactive"
_OWN_PROCESS = "local_rank"
"""MONAI Label adds it to the request of a training in a process of its own."""
_NICENESS = 10
"""Of that process, so that annotators' requests go first."""
_RETRY_S = 60
_EMBEDDINGS_MB = 2048
"""Of slice embeddings on disk for later trainings, where the server keeps none."""


def trainer_folder(settings: Settings) -> Path:
    """Where the trainer of the serving weights keeps checkpoints, embeddings, figures and label names."""
    return settings.weights_dir / "adapt" / settings.weights


class MedVLTrainer(TrainTask):  # type: ignore[misc] # MONAI Label is untyped
    """MONAI Label's training task.

    Args:
        settings: the operator's.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(DESCRIPTION)
        self._settings = settings
        self._folder = trainer_folder(settings)
        self._config = viewer_config(settings)

    def config(self) -> dict[str, Any]:
        """Options as viewers show them."""
        return dict(self._config)

    def stats(self) -> dict[str, Any]:
        """How the running training goes, or the last one went."""
        return read_stats(self._folder, int(self._config["max_epochs"]))

    def check(self, request: Mapping[str, Any], datastore: Datastore) -> None:
        """Say at once why a training could not run.

        Raises:
            InputError: options that cannot be used, or no labels to learn from.
        """
        parse_options(request, self._settings)
        count = len(datastore.get_labeled_images())
        if count < 2:
            raise InputError(
                "Training needs final labels of scans of at least 2 patients, one of whom is held out to "
                f"judge by; {count or 'no'} scan{' has' if count == 1 else 's have'} one. Label scans and "
                "save them, then train."
            )

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, publish if that is better, and give the figures.

        Raises:
            MedVLError: why it could not; in a process of its own the sentence is the last line of its log.
        """
        is_own_process = _OWN_PROCESS in request
        if is_own_process:
            os.nice(_NICENESS)
        if self._settings.threads:
            torch.set_num_threads(self._settings.threads)
        try:
            self.check(request, datastore)
            options = parse_options(request, self._settings)
            with _only_one(self._folder):
                return self._train(options, datastore, is_own_process=is_own_process)
        except MedVLError as error:
            if not is_own_process:
                raise
            logger.error("training ended: %s", error)  # noqa: TRY400 - the sentence says it all
            raise SystemExit(1) from error

    def _train(self, options: TrainOptions, datastore: Datastore, *, is_own_process: bool) -> dict[str, Any]:
        found = labelled_cases(datastore)
        split = split_patients(found.cases, options.config.validation_share)
        logger.info("%d cases to learn from, %d to judge by", len(split.train), len(split.validation))
        run = self._run(split, options)
        watcher = _Watcher(
            RunLog(self._folder, datetime.now(UTC).strftime("%Y%m%d-%H%M%S"), options.config.max_epochs),
            os.getppid() if is_own_process else None,
        )
        try:
            adapted = adapt(split, options.config, run, watcher)
            if adapted is None:
                return watcher.log.finish("stopped before its end; the next training goes on from here", {})
            add_classes(self._folder, found.names, load_labels(OFFERED_LABELS))
            message, extra = self._outcome(adapted, split, options)
        except MedVLError as error:
            watcher.log.finish(f"failed: {error}", {})
            raise
        shutil.rmtree(run.folder, ignore_errors=True)
        logger.info("%s", message)
        return watcher.log.finish(message, extra)

    def _outcome(
        self, adapted: Adapted, split: PatientSplit, options: TrainOptions
    ) -> tuple[str, dict[str, Any]]:
        """Publish what is better, and say what came of it."""
        progress, weights = adapted.progress, self._settings.weights
        scores = f"Dice {progress.best:.4f} against {progress.before:.4f} on held-out patients"
        if adapted.parameters is None or not is_better(progress, options.config):
            return f"not published: {scores} is not better by {options.config.least_gain:g}", {"published": 0}
        figures = {
            "score_before": progress.before,
            "score_after": progress.best,
            "epoch": progress.best_epoch,
            "train_cases": adapted.used_cases,
            "validation_cases": len(split.validation),
        }
        version = publish(
            weights, self._settings.weights_dir, adapted.parameters, adapted.begun_with, figures
        )
        return f"published as version {version.number} of {weights}: {scores}", {"published": version.number}

    def _run(self, split: PatientSplit, options: TrainOptions) -> AdaptRun:
        """In the folder of a run of the same labels, options and weights if one was stopped; others go."""
        weights, weights_dir = self._settings.weights, self._settings.weights_dir
        cases = [[case.name for case in side] for side in (split.train, split.validation)]
        plain = json.dumps([asdict(options.config), cases, serving_sha256(weights, weights_dir)])
        folder = self._folder / f"run-{hashlib.sha256(plain.encode()).hexdigest()[:16]}"
        for other in self._folder.glob("run-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        _remove_views_but_of({case.name for case in split.train}, self._folder / "views")
        return AdaptRun(
            weights=weights,
            weights_dir=weights_dir,
            folder=folder,
            views=self._folder / "views",
            device=options.device,
            budget_s=options.budget_s,
            embeddings=self._embeddings(),
        )

    def _embeddings(self) -> EmbeddingFiles:
        """Those of the server, where it keeps any."""
        megabytes = self._settings.embedding_disk_mb
        folder = self._settings.weights_dir if megabytes else self._folder
        return EmbeddingFiles(folder / "embeddings", (megabytes or _EMBEDDINGS_MB) * 2**20)


@dataclass
class _Watcher:
    """Logs a run, and ends it when the server that started it is gone."""

    log: RunLog
    parent: int | None

    def said(self, text: str) -> None:
        logger.info("%s", text)

    def went(self, progress: Progress) -> None:
        self.log.went(progress)
        if not progress.epochs:
            logger.info("the serving weights score Dice %.4f", progress.before)
            return
        last = progress.epochs[-1]
        logger.info("epoch %d: Dice %.4f, loss %.4f", last.number, last.score, last.losses.get("loss", 0.0))

    def wants_stop(self) -> bool:
        return self.parent is not None and os.getppid() != self.parent


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep a second training of the same weights out; a process that dies lets go.

    Raises:
        CapacityError: one is running.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise CapacityError(
            "A training of these weights is running already; wait for it, or stop it (DELETE /train/).",
            _RETRY_S,
        ) from error


def _remove_views_but_of(names: set[str], views: Path) -> None:
    """Embeddings of cases that are no longer there, or whose labels have changed."""
    for folder in views.iterdir() if views.is_dir() else ():
        if folder.name.rpartition("-")[0] not in names:
            shutil.rmtree(folder, ignore_errors=True)
