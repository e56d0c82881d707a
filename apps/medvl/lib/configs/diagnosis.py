"""What diagnoses, where there are weights that read pictures."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from lib.errors import ConfigError, WeightsError
from lib.infers.base import MedVLTask
from lib.infers.diagnosis import DiagnosisTask
from lib.infers.images import ImageReader
from lib.infers.interactive import Segments
from lib.model.picture_prior import PicturePrior
from lib.model.picture_weights import PICTURE_WEIGHTS, load_picture_prior
from lib.predict.named import SegmentsByName
from lib.predict.picture_reading import PictureReader
from lib.predict.segment import Predictor
from lib.response import ModelCard
from lib.settings import Settings

logger = logging.getLogger(__name__)

DIAGNOSIS = "diagnosis"


class CurrentReader:
    """What reads pictures, always with the segmenter that serves now.

    Args:
        prior: the trained network.
        weights_sha256: of it.
        predictor: gives the segmenter.
    """

    def __init__(self, prior: PicturePrior, weights_sha256: str, predictor: Callable[[], Segments]) -> None:
        self._prior = prior
        self._sha256 = weights_sha256
        self._predictor = predictor
        self._lock = threading.Lock()
        self._reader: PictureReader | None = None

    def __call__(self) -> PictureReader:
        """The reader.

        Raises:
            ConfigError: the server segments with another model than MedVL's own.
        """
        predictor = self._predictor()
        if not isinstance(predictor, Predictor):
            raise ConfigError("Pictures are read with MedVL's own segmenter; this server has another one.")
        with self._lock:
            if self._reader is None or self._reader.predictor is not predictor:
                self._reader = PictureReader(predictor, self._prior, self._sha256)
            return self._reader


def diagnosis_tasks(
    settings: Settings,
    predictor: Callable[[], Segments],
    by_name: Callable[[], SegmentsByName] | None,
    images: ImageReader,
    model: Callable[[], ModelCard],
) -> dict[str, MedVLTask]:
    """The model diagnosis; none where its weights are not there, or were altered.

    Args:
        settings: the operator's.
        predictor: gives the segmenter.
        by_name: finds structures on CT; None where no weights can.
        images: reads scans.
        model: what clients are told about the weights that serve now.
    """
    try:
        prior, sha256 = load_picture_prior(PICTURE_WEIGHTS, settings.weights_dir)
    except WeightsError as error:
        logger.warning("pictures are not diagnosed: %s", error)
        return {}
    targets = tuple(kind.target for kind in prior.config.kinds)
    reader = CurrentReader(prior, sha256, predictor)
    return {DIAGNOSIS: DiagnosisTask(DIAGNOSIS, reader, by_name, images, model, targets)}


def load_reader(weights_dir: Path, predictor: Predictor) -> PictureReader:
    """What reads pictures, without a server.

    Args:
        weights_dir: where the weights are installed.
        predictor: encodes and draws.

    Raises:
        WeightsError: the weights that read pictures are not there.
    """
    return PictureReader(predictor, *load_picture_prior(PICTURE_WEIGHTS, weights_dir))
