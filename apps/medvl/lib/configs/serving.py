"""The segmenter that serves: loaded with the first request, replaced when another version serves."""

import logging
import threading
from collections.abc import Callable

from lib.errors import MedVLError
from lib.infers.interactive import Segments
from lib.model.versions import serving_number, serving_sha256
from lib.predict import load_newer, load_predictor
from lib.predict.segment import Predictor
from lib.response import ModelCard
from lib.settings import Settings

logger = logging.getLogger(__name__)

_MEGABYTE = 2**20


def _unchanging() -> int:
    return 0


class OnceLoaded:
    """Loads the segmenter with the first request, once, however many come together.

    When another version serves, the first request that notices loads it, while others go on with the one
    before; so does a request that runs already. A version that cannot be loaded is logged and left alone.

    Args:
        load: takes seconds, and memory.
        version: which version serves; asked with each request.
        newer: from the segmenter so far to that of the version that serves.
    """

    def __init__(
        self,
        load: Callable[[], Segments],
        version: Callable[[], int] = _unchanging,
        newer: Callable[[Segments], Segments] | None = None,
    ) -> None:
        self._load = load
        self._version = version
        self._newer = newer
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._loaded: Segments | None = None
        self._loaded_version = 0

    def __call__(self) -> Segments:
        """The segmenter.

        Raises:
            WeightsError: the weights have been altered since the server started.
        """
        with self._lock:
            if self._loaded is None:
                self._loaded_version = self._version()
                self._loaded = self._load()
            loaded = self._loaded
        if self._newer is None or self._seen() == self._loaded_version:
            return loaded
        if not self._renewing.acquire(blocking=False):
            return loaded
        try:
            return self._renewed(loaded, self._newer)
        finally:
            self._renewing.release()

    def _seen(self) -> int:
        try:
            return self._version()
        except MedVLError:
            return self._loaded_version

    def _renewed(self, loaded: Segments, newer: Callable[[Segments], Segments]) -> Segments:
        version = self._seen()
        try:
            renewed = newer(loaded)
        except MedVLError as error:
            logger.error("version %d is not served: %s", version, error)  # noqa: TRY400 - the sentence says it all
            renewed = loaded
        else:
            logger.info("version %d serves", version)
        with self._lock:
            self._loaded, self._loaded_version = renewed, version
        return renewed


def serving_predictor(settings: Settings) -> OnceLoaded:
    """The segmenter of the operator's weights, always in the version that serves.

    Args:
        settings: the operator's.
    """
    return OnceLoaded(
        lambda: _load(settings),
        lambda: serving_number(settings.weights, settings.weights_dir),
        lambda before: _newer(settings, before),
    )


def serving_card(settings: Settings) -> ModelCard:
    """What clients are told about the weights that serve now.

    Raises:
        WeightsError: they are missing or altered.
    """
    return ModelCard(settings.weights, serving_sha256(settings.weights, settings.weights_dir))


class CurrentCard:
    """What clients are told about the weights that serve now; cheap to ask.

    Args:
        settings: the operator's.
        at_start: the card so far; it stays where files were altered since then.
    """

    def __init__(self, settings: Settings, at_start: ModelCard) -> None:
        self._settings = settings
        self._card = at_start
        self._number = _number_of(settings)

    def __call__(self) -> ModelCard:
        """The card."""
        number = _number_of(self._settings)
        if number != self._number:
            try:
                self._card = serving_card(self._settings)
            except MedVLError:
                return self._card
            self._number = number
        return self._card


def _number_of(settings: Settings) -> int:
    try:
        return serving_number(settings.weights, settings.weights_dir)
    except MedVLError:
        return -1


def _load(settings: Settings) -> Segments:
    cache_bytes = settings.cache_mb * _MEGABYTE
    disk_bytes = settings.embedding_disk_mb * _MEGABYTE
    return load_predictor(
        settings.weights, settings.weights_dir, settings.device, cache_bytes, settings.engine, disk_bytes
    )


def _newer(settings: Settings, before: Segments) -> Segments:
    if not isinstance(before, Predictor):
        return before
    return load_newer(before, settings.weights, settings.weights_dir)
