"""POST /batch/infer/{model}: MONAI Label's batch job, on whatever device the operator chose.

MONAI Label's own counts the GPUs and divides by their number, which is zero on a CPU.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.interfaces.tasks.infer_v2 import InferTask

from lib.errors import InputError, NotFoundError
from lib.infers.base import MedVLTask
from lib.server.batch import ORIGINAL, BatchOrder, CaseState, Drawn, chosen_images, counts, run_batch
from lib.server.catalog import checked_name
from lib.server.datastore import label_tag_text

logger = logging.getLogger(__name__)

_JOB_KEYS = frozenset(
    {
        "model",
        "images",
        "label_tag",
        "max_batch_size",
        "max_workers",
        "save_label",
        "device",
        "multi_gpu",
        "gpus",
        "logging",
        "labels",
    }
)
"""Options of the job; all others are the model's."""
_MAX_WORKERS = 8


class StudiesBatch(BatchInferTask):  # type: ignore[misc] # MONAI Label is untyped
    """Runs a model over the datastore, and goes on where an earlier run has stopped.

    Args:
        weights_of: name of a model to the hash of the weights that it draws with now; raises KeyError for
            one that is not there.
    """

    def __init__(self, weights_of: Callable[[str], str]) -> None:
        self._weights_of = weights_of

    def __call__(
        self, request: Mapping[str, Any], datastore: Datastore, infer: Callable[..., Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Do the job; the log lines are what clients see of its progress.

        Args:
            request: of the client.
            datastore: of the app.
            infer: of the app.

        Returns:
            How many cases ended how. Why a case failed is noted at its image.

        Raises:
            NotFoundError: an unknown model or image.
            InputError: options that cannot be used.
        """
        order = self._order(request)
        limit = _whole(request, "max_batch_size", 0, 10**9)
        image_ids = chosen_images(datastore, request.get("images") or "all", order.tag, limit)
        workers = max(1, _whole(request, "max_workers", 1, _MAX_WORKERS))

        def draw(image_id: str, options: dict[str, Any]) -> Drawn:
            image = datastore.get_image_uri(image_id)  # an id could also be a path below the working folder
            answer = infer({**options, "model": order.model, "image": image}, datastore)
            return Drawn(Path(answer["file"]) if answer.get("file") else None, answer["params"])

        reports = []
        for report in run_batch(image_ids, order, datastore, draw, workers):
            reports.append(report)
            why = f": {report.detail}" if report.state is CaseState.FAILED else ""
            logger.info("batch: %d of %d %s%s", len(reports), len(image_ids), report.state.value, why)
        return counts(reports)

    def _order(self, request: Mapping[str, Any]) -> BatchOrder:
        model = str(request.get("model", ""))
        try:
            weights_sha256 = self._weights_of(model)
        except KeyError as error:
            raise NotFoundError(f"There is no model {model[:40]!r}; GET /info/ lists them.") from error
        tag = checked_name(label_tag_text(request.get("label_tag") or ORIGINAL), "label tag")
        params = {key: value for key, value in request.items() if key not in _JOB_KEYS}
        return BatchOrder(model, weights_sha256, params, tag=tag)


def weights_of(task: InferTask) -> str:
    """Hash of the weights that a task draws with now; empty if it does not say."""
    card = task.model_card if isinstance(task, MedVLTask) else None
    return card.weights_sha256 if card else ""


def _whole(request: Mapping[str, Any], key: str, default: int, most: int) -> int:
    value = request.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InputError(f"{key} must be a whole number from 0 to {most}; got {str(value)[:40]!r}.")
    return value
