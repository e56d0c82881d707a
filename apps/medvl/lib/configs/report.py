"""What reports, where there are weights that find structures."""

from collections.abc import Callable

from lib.infers.base import MedVLTask
from lib.infers.images import ImageReader
from lib.infers.report import ReportTask
from lib.predict.named import SegmentsByName
from lib.predict.writing import WritesSentences
from lib.response import ModelCard

REPORT = "report"


def report_tasks(
    by_name: Callable[[], SegmentsByName],
    names: tuple[str, ...],
    images: ImageReader,
    model: Callable[[], ModelCard],
    version: str,
    writer: WritesSentences | None = None,
) -> dict[str, MedVLTask]:
    """The model report.

    Args:
        by_name: finds structures.
        names: that it knows, known before it is loaded.
        images: reads scans.
        model: what clients are told about the weights that serve now.
        version: of the program.
        writer: writes the sentences; None: they are put together by rule.
    """
    task = ReportTask(REPORT, by_name, images, model, names, version)
    task.writer = writer
    return {REPORT: task}
