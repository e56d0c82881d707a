"""The model vqa: a question about a scan, answered in words beside the masks that the answer rests on."""

import logging
import time
from collections.abc import Callable
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferType

from lib.infers.base import REQUEST_ID, MedVLTask
from lib.infers.images import ImageReader, with_uploaded_label
from lib.predict.answer import answer_question, evidence_mask
from lib.predict.named import SegmentsByName
from lib.predict.quick import for_words
from lib.request import parse_request
from lib.response import ModelCard, describe_mask, result_suffix, write_result

logger = logging.getLogger(__name__)

VQA_DESCRIPTION = (
    "Answers a question about a CT, such as 'Which kidney is larger?', by measuring the masks that it "
    "draws; says so where the image does not tell. Research use only, not a medical device."
)


class QuestionTask(MedVLTask):
    """MONAI Label's task of type others: from scan and question to an answer in its JSON and a label map.

    Args:
        name: of the model in /info/.
        by_name: finds structures; loaded with the first request.
        images: reads scans.
        model: what clients are told about the weights that serve now.
        names: structures that the weights know, the labels of /info/.
    """

    def __init__(
        self,
        name: str,
        by_name: Callable[[], SegmentsByName],
        images: ImageReader,
        model: Callable[[], ModelCard],
        names: tuple[str, ...],
    ) -> None:
        super().__init__(
            type=InferType.OTHERS,
            labels={label: value for value, label in enumerate(names, start=1)},
            dimension=3,
            description=VQA_DESCRIPTION,
            config={"question": ""},
        )
        self._name = name
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
        """From the request to the evidence's file and the JSON document with the answer.

        Raises:
            MedVLError: whatever is wrong with the request or the image; a question that cannot be answered is
                no error.
        """
        started_s = time.perf_counter()
        wanted = parse_request(with_uploaded_label(request))
        volume = self._images.read(wanted.image)
        read_s = time.perf_counter()
        found = answer_question(wanted.question or wanted.text, volume, for_words(self._by_name()))
        mask = evidence_mask(found, volume)
        answered_s = time.perf_counter()
        path = write_result(mask, result_suffix(wanted.suffix, wanted.image), compress=wanted.compress)
        seconds = {
            "pre": read_s - started_s,
            "infer": answered_s - read_s,
            "write": time.perf_counter() - answered_s,
        }
        logger.info("request %s: a question of kind %s, %s", REQUEST_ID.get(), found.answer.kind, seconds)
        return str(path), describe_mask(self._name, mask, self._model(), seconds, {}) | found.answer.as_json()
