"""The model diagnosis: what an image shows and what that may be, in four steps, beside the mask."""

import logging
import time
from collections.abc import Callable
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferType

from lib.infers.base import REQUEST_ID, MedVLTask
from lib.infers.images import ImageReader, with_uploaded_label
from lib.predict.candidate import ReadsPictures
from lib.predict.diagnose import diagnose
from lib.predict.named import SegmentsByName
from lib.request import parse_request
from lib.response import ModelCard, describe_mask, result_suffix, write_result

logger = logging.getLogger(__name__)

DIAGNOSIS_DESCRIPTION = (
    "Says what an X-ray, dermoscopy, endoscopy, ultrasound or fundus picture or a CT shows, in four steps "
    "(modality, analysis, considerations, diagnosis) that rest on its mask. Research use only, not a medical "
    "device."
)


class DiagnosisTask(MedVLTask):
    """MONAI Label's task of type others: from the image to a mask and the diagnosis in its JSON.

    Args:
        name: of the model in /info/.
        reader: reads pictures; loaded with the first request.
        by_name: finds structures on CT; None where no weights can.
        images: reads scans.
        model: what clients are told about the weights that serve now.
        targets: what is drawn in pictures, the labels of /info/.
    """

    def __init__(
        self,
        name: str,
        reader: Callable[[], ReadsPictures],
        by_name: Callable[[], SegmentsByName] | None,
        images: ImageReader,
        model: Callable[[], ModelCard],
        targets: tuple[str, ...],
    ) -> None:
        super().__init__(
            type=InferType.OTHERS,
            labels={label: value for value, label in enumerate(targets, start=1)},
            dimension=3,
            description=DIAGNOSIS_DESCRIPTION,
            config={"question": "", "paths": 1, "perturbations": 1, "seconds": 20},
        )
        self._name = name
        self._reader = reader
        self._by_name = by_name
        self._images = images
        self._model = model

    def is_valid(self) -> bool:
        """Always: the task is made only when its weights have been verified."""
        return True

    @property
    def model_card(self) -> ModelCard:
        """What draws if a request comes now."""
        return self._model()

    def run(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """From the request to the mask's file and the JSON document with the diagnosis.

        Raises:
            MedVLError: whatever is wrong with the request or the image.
        """
        started_s = time.perf_counter()
        wanted = parse_request(with_uploaded_label(request))
        volume = self._images.read(wanted.image)
        read_s = time.perf_counter()
        found = diagnose(volume, self._reader, self._by_name, wanted.scaling, wanted.question or wanted.text)
        diagnosed_s = time.perf_counter()
        path = write_result(found.mask, result_suffix(wanted.suffix, wanted.image), compress=wanted.compress)
        seconds = {
            "pre": read_s - started_s,
            "infer": diagnosed_s - read_s,
            "write": time.perf_counter() - diagnosed_s,
        }
        logger.info("request %s: %d candidates, %s", REQUEST_ID.get(), found.diagnosis.candidates, seconds)
        document = describe_mask(self._name, found.mask, self._model(), seconds, {})
        return str(path), document | found.diagnosis.as_json()
