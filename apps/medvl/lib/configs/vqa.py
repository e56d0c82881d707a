"""What answers questions, where there are weights that find structures."""

from collections.abc import Callable

from lib.infers.base import MedVLTask
from lib.infers.images import ImageReader
from lib.infers.vqa import QuestionTask
from lib.predict.named import SegmentsByName
from lib.response import ModelCard

VQA = "vqa"


def vqa_tasks(
    by_name: Callable[[], SegmentsByName],
    names: tuple[str, ...],
    images: ImageReader,
    model: Callable[[], ModelCard],
) -> dict[str, MedVLTask]:
    """The model vqa.

    Args:
        by_name: finds structures.
        names: that it knows, known before it is loaded.
        images: reads scans.
        model: what clients are told about the weights that serve now.
    """
    return {VQA: QuestionTask(VQA, by_name, images, model, names)}
