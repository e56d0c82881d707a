"""The registry: which tasks there are and what they are made of. Nothing is found by searching."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from lib.configs.diagnosis import diagnosis_tasks
from lib.configs.report import report_tasks
from lib.configs.serving import CurrentCard, OnceLoaded, serving_card, serving_predictor
from lib.configs.text import build_locator, build_reader, by_name_tasks, named_segmenter, served_names
from lib.configs.vqa import vqa_tasks
from lib.errors import MedVLError, WeightsError
from lib.infers.base import MedVLTask
from lib.infers.images import ImageReader
from lib.infers.interactive import InteractiveTask, Segments
from lib.labels import load_labels
from lib.model.config import Backbone, load_segmenter_config
from lib.model.weights import find_entry
from lib.predict.named import SegmentsByName
from lib.predict.session import InteractionStore
from lib.predict.writing import LazyWriter
from lib.response import ModelCard
from lib.settings import Settings
from lib.trainers.classes import read_classes
from lib.trainers.medvl import TRAINER, MedVLTrainer, trainer_folder

__all__ = [
    "INTERACTIVE",
    "OnceLoaded",
    "build_locator",
    "build_tasks",
    "build_trainers",
    "interactive_task",
    "label_names",
]

logger = logging.getLogger(__name__)

APP_NAME = "MedVL"
APP_DESCRIPTION = "Promptable 3D medical image segmentation. Research use only, not a medical device."
APP_VERSION = "0.1.0"
INTERACTIVE = "interactive"
_MEGABYTE = 2**20


def build_tasks(settings: Settings, image_roots: Callable[[], Iterable[Path]]) -> dict[str, MedVLTask]:
    """All tasks whose weights are there and verified, by their name in /info/.

    Args:
        settings: the operator's.
        image_roots: folders that images may come from.
    """
    try:
        card = serving_card(settings)
    except WeightsError as error:
        logger.error("no model is offered: %s", error)  # noqa: TRY400 - the sentence says it all
        return {}
    predictor, current = serving_predictor(settings), CurrentCard(settings, card)
    images = ImageReader(image_roots, settings.volume_cache_mb * _MEGABYTE)
    locator = build_locator(settings)
    by_name = None if locator is None else named_segmenter(locator, predictor)
    interactive = interactive_task(settings, images, predictor, card, current, by_name)
    interactive.understands = reader = build_reader(settings)
    tasks: dict[str, MedVLTask] = {INTERACTIVE: interactive}
    if locator is not None and by_name is not None:
        tasks |= by_name_tasks(by_name, served_names(locator), images, current, reader)
        writer = LazyWriter(settings.weights_dir)
        tasks |= report_tasks(by_name, served_names(locator), images, current, APP_VERSION, writer)
        tasks |= vqa_tasks(by_name, served_names(locator), images, current)
    return tasks | diagnosis_tasks(settings, predictor, by_name, images, current)


def build_trainers(settings: Settings) -> dict[str, MedVLTrainer]:
    """All trainers that can train the weights that serve, by their name in /info/.

    Args:
        settings: the operator's.
    """
    try:
        config = load_segmenter_config(find_entry(settings.weights, settings.weights_dir).config)
    except MedVLError:
        return {}
    return {TRAINER: MedVLTrainer(settings)} if config.backbone is Backbone.TINYVIT else {}


def interactive_task(
    settings: Settings,
    image_roots: Callable[[], Iterable[Path]] | ImageReader,
    predictor: Callable[[], Segments],
    card: ModelCard,
    current: Callable[[], ModelCard] | None = None,
    by_name: Callable[[], SegmentsByName] | None = None,
) -> InteractiveTask:
    """The interactive model around any segmenter.

    Args:
        settings: the operator's.
        image_roots: folders that images may come from, or what reads images.
        predictor: gives the segmenter.
        card: what clients are told about it.
        current: the same, as it is now, where it may change.
        by_name: finds what a text asks for; None where no weights can.
    """
    return InteractiveTask(
        predictor=predictor,
        images=(
            image_roots
            if isinstance(image_roots, ImageReader)
            else ImageReader(image_roots, settings.volume_cache_mb * _MEGABYTE)
        ),
        interactions=InteractionStore(
            settings.interaction_cache_mb * _MEGABYTE, settings.session_minutes * 60
        ),
        settings=settings,
        model=current or (lambda: card),
        labels=load_labels(INTERACTIVE),
        learnt=lambda: read_classes(trainer_folder(settings)),
        by_name=by_name,
    )


def label_names(settings: Settings | None = None) -> list[str]:
    """All labels that the tasks offer, in order; with settings also those that training has added."""
    learnt = read_classes(trainer_folder(settings)) if settings is not None else []
    return [*(label.name for label in load_labels(INTERACTIVE)), *learnt]
