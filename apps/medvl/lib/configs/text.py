"""What segments by name and sentence, where there are weights that find structures."""

import logging
from collections.abc import Callable
from dataclasses import replace

from lib.errors import ConfigError, WeightsError
from lib.infers.base import MedVLTask
from lib.infers.by_name import (
    REFERRING_DESCRIPTION,
    SEMANTIC_DESCRIPTION,
    ReferringTask,
    SemanticTask,
)
from lib.infers.images import ImageReader
from lib.infers.interactive import Segments
from lib.model.region_weights import REGION_WEIGHTS
from lib.predict.named import NamedSegmenter, SegmentsByName, served_names
from lib.predict.reading import LazySentences, Understands
from lib.predict.region_locator import load_locator
from lib.predict.regions import LocatesRegions
from lib.predict.segment import Predictor
from lib.response import ModelCard
from lib.settings import Settings

__all__ = [
    "REFERRING",
    "REGION_WEIGHTS",
    "SEMANTIC",
    "build_locator",
    "build_reader",
    "by_name_tasks",
    "load_by_name",
    "named_segmenter",
    "served_names",
]

logger = logging.getLogger(__name__)

SEMANTIC, REFERRING = "semantic", "referring"


def build_locator(settings: Settings) -> LocatesRegions | None:
    """What finds structures; None where its weights are not there, or were altered."""
    try:
        return load_locator(REGION_WEIGHTS, settings.weights_dir)
    except WeightsError as error:
        logger.warning("structures are not found by name: %s", error)
        return None


def build_reader(settings: Settings) -> LazySentences:
    """What is asked about words that are no names: the language model, loaded when it is needed first."""
    return LazySentences(settings.weights_dir)


def named_segmenter(
    locator: LocatesRegions, predictor: Callable[[], Segments]
) -> Callable[[], SegmentsByName]:
    """What segments by name, always with the segmenter that serves now.

    Args:
        locator: finds structures.
        predictor: gives the segmenter.
    """
    first: list[NamedSegmenter] = []

    def current() -> SegmentsByName:
        segmenter = predictor()
        if not isinstance(segmenter, Predictor):
            raise ConfigError("Structures are drawn by MedVL's own segmenter; this server has another one.")
        if not first:
            first.append(NamedSegmenter(segmenter, locator))
        return replace(first[0], predictor=segmenter)  # what rules found stays

    return current


def load_by_name(settings: Settings, predictor: Predictor) -> NamedSegmenter:
    """What segments by name, without a server.

    Raises:
        WeightsError: the weights that find structures are not there.
    """
    locator = build_locator(settings)
    if locator is None:
        raise WeightsError(
            f"Structures are found by name with the weights {REGION_WEIGHTS}, which are not installed; run "
            f"`medvl weights fetch {REGION_WEIGHTS}`, or give a --point or a --box."
        )
    return NamedSegmenter(predictor, locator)


def by_name_tasks(
    by_name: Callable[[], SegmentsByName],
    names: tuple[str, ...],
    images: ImageReader,
    model: Callable[[], ModelCard],
    understands: Understands | None = None,
) -> dict[str, MedVLTask]:
    """The models semantic and referring.

    Args:
        by_name: finds structures.
        names: that it knows, known before it is loaded.
        images: reads scans.
        model: what clients are told about the weights that serve now.
        understands: is asked about words that are no names; None: nothing is.
    """
    referring = ReferringTask(REFERRING, by_name, images, model, names, REFERRING_DESCRIPTION, {"text": ""})
    referring.understands = understands
    return {
        SEMANTIC: SemanticTask(
            SEMANTIC, by_name, images, model, names, SEMANTIC_DESCRIPTION, {"structures": ""}
        ),
        REFERRING: referring,
    }
