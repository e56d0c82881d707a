"""The model report: findings and impression of a CT as text, beside the masks that they rest on."""

import logging
import time
from collections.abc import Callable
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferType

from lib.formats.dicom_seg import Algorithm
from lib.formats.dicom_seg_codes import load_structure_codes
from lib.formats.fhir import diagnostic_report
from lib.infers.base import REQUEST_ID, MedVLTask
from lib.infers.images import ImageReader, with_uploaded_label
from lib.predict.named import SegmentsByName
from lib.predict.quick import for_words
from lib.predict.report_scan import evidence_mask, report_scan
from lib.predict.writing import WritesSentences
from lib.request import SegmentRequest, parse_request
from lib.response import NOTICE, ModelCard, describe_mask, result_suffix, write_result
from lib.text import Report

logger = logging.getLogger(__name__)

REPORT_DESCRIPTION = (
    "Reports on a CT: sentences that a language model writes from measurements of the masks that it draws, "
    "each checked against its mask. Research use only, not a medical device."
)


class ReportTask(MedVLTask):
    """MONAI Label's task of type others: from the scan to a label map and the report in its JSON.

    Args:
        name: of the model in /info/.
        by_name: finds structures; loaded with the first request.
        images: reads scans.
        model: what clients are told about the weights that serve now.
        names: structures that the weights know, the labels of /info/.
        version: of the program, for reports as FHIR.

    Attributes:
        writer: writes the sentences; None: they are put together by rule.
    """

    def __init__(
        self,
        name: str,
        by_name: Callable[[], SegmentsByName],
        images: ImageReader,
        model: Callable[[], ModelCard],
        names: tuple[str, ...],
        version: str,
    ) -> None:
        super().__init__(
            type=InferType.OTHERS,
            labels={label: value for value, label in enumerate(names, start=1)},
            dimension=3,
            description=REPORT_DESCRIPTION,
            config={"fhir": False},
        )
        self._name = name
        self._by_name = by_name
        self._images = images
        self._model = model
        self._version = version
        self.writer: WritesSentences | None = None

    def is_valid(self) -> bool:
        """Always: the task is made only when its weights have been verified."""
        return True

    @property
    def model_card(self) -> ModelCard:
        """What draws if a request comes now."""
        return self._model()

    def run(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """From the request to the evidence's file and the JSON document with the report.

        Raises:
            MedVLError: whatever is wrong with the request or the image.
        """
        started_s = time.perf_counter()
        wanted = parse_request(with_uploaded_label(request))
        volume = self._images.read(wanted.image)
        read_s = time.perf_counter()
        scan = report_scan(volume, for_words(self._by_name()), self.writer)
        mask = evidence_mask(scan, volume)
        reported_s = time.perf_counter()
        path = write_result(mask, result_suffix(wanted.suffix, wanted.image), compress=wanted.compress)
        seconds = {
            "pre": read_s - started_s,
            "infer": reported_s - read_s,
            "write": time.perf_counter() - reported_s,
        }
        logger.info("request %s: %d findings, %s", REQUEST_ID.get(), len(scan.report.findings), seconds)
        document = describe_mask(self._name, mask, self._model(), seconds, {}) | scan.report.as_json()
        return str(path), document | self._as_fhir(scan.report, wanted)

    def _as_fhir(self, report: Report, wanted: SegmentRequest) -> dict[str, Any]:
        """What is added to the document where FHIR is asked for."""
        if not wanted.fhir:
            return {}
        model = self._model()
        drawn_by = Algorithm(model.name, self._version, model.weights_sha256)
        return {"fhir": diagnostic_report(report, load_structure_codes(), NOTICE, drawn_by, wanted.study_uid)}
