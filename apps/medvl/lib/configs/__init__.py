"""The registry: which tasks there are and what they are made of. Nothing is found by searching."""

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from lib.errors import WeightsError
from lib.infers.base import MedVLTask
from lib.infers.images import ImageReader
from lib.infers.interactive import InteractiveTask, Segments
from lib.labels import load_labels
from lib.model.weights import weights_sha256
from lib.predict import load_predictor
from lib.predict.session import InteractionStore
from lib.response import ModelCard
from lib.settings import Settings

logger = logging.getLogger(__name__)

APP_NAME = "MedVL"
APP_DESCRIPTION = "Promptable 3D medical image segmentation. Research use only, not a medical device."
APP_VERSION = "0.1.0"
INTERACTIVE = "interactive"
_MEGABYTE = 2**20


class OnceLoaded:
    """Loads the segmenter with the first request, once, however many come together.

    Args:
        load: takes seconds, and memory.
    """

    def __init__(self, load: Callable[[], Segments]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._loaded: Segments | None = None

    def __call__(self) -> Segments:
        """The segmenter.

        Raises:
            WeightsError: the weights have been altered since the server started.
        """
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded


def build_tasks(settings: Settings, image_roots: Callable[[], Iterable[Path]]) -> dict[str, MedVLTask]:
    """All tasks whose weights are there and verified, by their name in /info/.

    Args:
        settings: the operator's.
        image_roots: folders that images may come from.
    """
    try:
        card = ModelCard(settings.weights, weights_sha256(settings.weights, settings.weights_dir))
    except WeightsError as error:
        logger.error("no model is offered: %s", error)  # noqa: TRY400 - the sentence says it all
        return {}
    predictor = OnceLoaded(lambda: _load(settings))
    return {INTERACTIVE: interactive_task(settings, image_roots, predictor, card)}


def interactive_task(
    settings: Settings,
    image_roots: Callable[[], Iterable[Path]],
    predictor: Callable[[], Segments],
    card: ModelCard,
) -> InteractiveTask:
    """The interactive model around any segmenter.

    Args:
        settings: the operator's.
        image_roots: folders that images may come from.
        predictor: gives the segmenter.
        card: what clients are told about it.
    """
    return InteractiveTask(
        predictor=predictor,
        images=ImageReader(image_roots, settings.volume_cache_mb * _MEGABYTE),
        interactions=InteractionStore(
            settings.interaction_cache_mb * _MEGABYTE, settings.session_minutes * 60
        ),
        settings=settings,
        model=card,
        labels=load_labels(INTERACTIVE),
    )


def label_names() -> list[str]:
    """All labels that the tasks offer, in order."""
    return [label.name for label in load_labels(INTERACTIVE)]


def _load(settings: Settings) -> Segments:
    cache_bytes = settings.cache_mb * _MEGABYTE
    disk_bytes = settings.embedding_disk_mb * _MEGABYTE
    return load_predictor(
        settings.weights, settings.weights_dir, settings.device, cache_bytes, settings.engine, disk_bytes
    )
