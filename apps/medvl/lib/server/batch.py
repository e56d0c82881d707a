"""One model over many studies: what has been done is not done again, and one bad case stops no other.

A case's mask becomes a label of the datastore as soon as it is drawn, together with a note of what drew it.
So a run that was killed goes on where it was: it looks at the notes, not at a list of its own.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from lib.errors import InputError, MedVLError, NotFoundError
from lib.server.catalog import checked_name

logger = logging.getLogger(__name__)

ORIGINAL = DefaultLabelTag.ORIGINAL.value
NOTE = "batch"
"""Under which key a label's note says which order it came from."""
FAILURE = "batch_failure"
"""Under which key an image's note says why the last run has failed on it; empty: it has not."""


@dataclass(frozen=True)
class BatchOrder:
    """What is to be done to every study.

    Attributes:
        model: name of the task.
        weights_sha256: of the model that draws now; empty: unknown, so that nothing counts as done.
        params: options for every study, as a client would send them.
        prompts: image id to further options for it alone.
        tag: under which the masks become labels.
    """

    model: str
    weights_sha256: str
    params: Mapping[str, Any] = field(default_factory=dict)
    prompts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tag: str = ORIGINAL

    def options_of(self, image_id: str) -> dict[str, Any]:
        """The options for one study."""
        return {**self.params, **self.prompts.get(image_id, {})}

    def fingerprint(self, image_id: str) -> str:
        """Of model, weights and options: what would draw the same mask again."""
        parts = [self.model, self.weights_sha256, self.options_of(image_id)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class CaseState(StrEnum):
    """What became of a case."""

    DONE = "done"
    SKIPPED = "skipped"
    KEPT = "kept"
    FAILED = "failed"


@dataclass(frozen=True)
class CaseReport:
    """What became of one study.

    Attributes:
        image_id: of the study.
        state: done now; skipped, as it had been done; kept, as a person's label is there; failed.
        detail: why it failed, or was kept; otherwise empty.
        seconds: that it took.
    """

    image_id: str
    state: CaseState
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Drawn:
    """A model's answer.

    Attributes:
        file: the mask; whoever receives it removes it. None: the model has drawn nothing.
        document: what the model says beside it.
    """

    file: Path | None
    document: Mapping[str, Any]


Draw = Callable[[str, dict[str, Any]], Drawn]
"""Image id and options to the model's answer; raises whatever is wrong with the case."""


def run_batch(
    image_ids: Iterable[str], order: BatchOrder, datastore: Datastore, draw: Draw, workers: int = 1
) -> Iterator[CaseReport]:
    """Go through the studies; each case is reported as soon as it has ended.

    Args:
        image_ids: of the datastore.
        order: what to do.
        datastore: where the masks go.
        draw: the model.
        workers: cases at the same time.

    Yields:
        One report for each study, in the order in which they end.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="batch") as pool:
        waiting = iter(image_ids)
        running: set[Future[CaseReport]] = set()
        try:
            while True:
                for image_id in islice(waiting, workers - len(running)):
                    running.add(pool.submit(run_case, image_id, order, datastore, draw))
                if not running:
                    return
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ended)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def run_case(image_id: str, order: BatchOrder, datastore: Datastore, draw: Draw) -> CaseReport:
    """One study; whatever goes wrong is in the report."""
    started_s = time.perf_counter()
    try:
        earlier = standing(image_id, order, datastore)
        if earlier is not None:
            return earlier
        keep(image_id, order, datastore, draw(image_id, order.options_of(image_id)))
        report = CaseReport(image_id, CaseState.DONE, "", time.perf_counter() - started_s)
    except Exception as error:  # noqa: BLE001 - the next case may be better
        report = CaseReport(image_id, CaseState.FAILED, sentence(error), time.perf_counter() - started_s)
    note_failure(report, datastore)
    return report


def standing(image_id: str, order: BatchOrder, datastore: Datastore) -> CaseReport | None:
    """Why a study needs no work; None if it does."""
    if not datastore.get_label_by_image_id(image_id, order.tag):
        return None
    note = datastore.get_label_info(image_id, order.tag).get(NOTE)
    if not isinstance(note, Mapping):
        if order.tag == ORIGINAL:  # a model's own, which a newer one may replace
            return None
        detail = f"There is a label under {order.tag!r} that no batch has drawn; it is kept."
        return CaseReport(image_id, CaseState.KEPT, detail)
    is_same = bool(order.weights_sha256) and note.get("order") == order.fingerprint(image_id)
    return CaseReport(image_id, CaseState.SKIPPED) if is_same else None


def keep(image_id: str, order: BatchOrder, datastore: Datastore, drawn: Drawn) -> None:
    """Make a mask a label.

    Raises:
        InputError: there is no mask.
        MedVLError: the datastore does not take it.
    """
    if drawn.file is None:
        raise InputError("The model has answered without a mask.")
    note = {
        "model": order.model,
        "params": dict(drawn.document),
        NOTE: {"order": order.fingerprint(image_id), "weights_sha256": order.weights_sha256},
    }
    try:
        datastore.save_label(image_id, str(drawn.file), order.tag, note)
    finally:
        drawn.file.unlink(missing_ok=True)


def note_failure(report: CaseReport, datastore: Datastore) -> None:
    """Say at the image why the last run has failed on it, or that it has not any more."""
    try:
        before = datastore.get_image_info(report.image_id).get(FAILURE, "")
        if report.detail != before:
            datastore.update_image_info(report.image_id, {FAILURE: report.detail})
    except Exception:  # noqa: BLE001 - the report has it too
        logger.warning("the note about a failed case could not be kept")


def sentence(error: Exception) -> str:
    """What went wrong, for a report; the log has the rest."""
    if isinstance(error, HTTPException):
        return str(error.detail)
    if isinstance(error, MedVLError):
        return str(error)
    logger.error("a case of the batch failed", exc_info=error)
    return f"An unexpected {type(error).__name__}; the log says more."


def chosen_images(datastore: Datastore, images: Any, tag: str, limit: int = 0) -> list[str]:
    """The studies that MONAI Label's word, or a list of ids, means, in order of their ids.

    Args:
        datastore: that holds them.
        images: all, labeled, unlabeled, or ids.
        tag: of the label that labeled and unlabeled ask for.
        limit: at most so many; 0: all.

    Raises:
        InputError: another word.
        NotFoundError: an id that is not there.
    """
    known = sorted(datastore.list_images())
    if isinstance(images, list):
        missing = [str(one) for one in images if one not in known]
        if missing:
            raise NotFoundError(f"There is no image {missing[0][:40]!r}; GET /datastore/ lists them.")
        return images[: limit or None]
    word = str(getattr(images, "value", images))
    if word not in {"all", "labeled", "unlabeled"}:
        raise InputError(f"images must be all, labeled, unlabeled or a list of ids; got {word[:40]!r}.")
    labelled = set(datastore.get_labeled_images(checked_name(tag, "label tag"))) if word != "all" else set()
    fitting = [one for one in known if word == "all" or (one in labelled) == (word == "labeled")]
    return fitting[: limit or None]


def counts(reports: Iterable[CaseReport]) -> dict[str, int]:
    """How many cases ended how."""
    states = [report.state for report in reports]
    return {"total": len(states), **{state.value: states.count(state) for state in CaseState}}
