"""Active learning put together: strategies, scoring methods, and what they share."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask

from lib.activelearning.desk import SampleDesk
from lib.activelearning.reservations import RESERVATIONS_NAME, Reservations
from lib.activelearning.scans import ScanSource
from lib.activelearning.scores import SCORES_NAME, ScoreBook
from lib.activelearning.scoring import DiceScoring, Scoring, UncertaintyScoring
from lib.activelearning.state_file import state_file
from lib.activelearning.strategies import SampleStrategy, build_strategies
from lib.activelearning.worker import ScoringWorker
from lib.errors import WeightsError
from lib.infers.interactive import InteractiveTask
from lib.predict.segment import Predictor
from lib.predict.uncertainty import METHOD, ClickJudge, JudgesScans, ScanJudgement
from lib.settings import Settings
from lib.volume import Volume

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Annotation:
    """Active learning of one app.

    Attributes:
        strategies: by the name that clients send.
        scoring: by the name that clients send.
        worker: runs the scoring methods.
        desk: hands out scans.
    """

    strategies: dict[str, SampleStrategy]
    scoring: dict[str, Scoring]
    worker: ScoringWorker
    desk: SampleDesk


@dataclass(frozen=True, eq=False)
class ServedJudge:
    """The interactive task's segmenter as a judge, loaded when it first has to judge.

    Attributes:
        task: that serves users; its weights may change while it does.
    """

    task: InteractiveTask

    @property
    def identity(self) -> str:
        """The weights' hash and the method."""
        return f"{self.task.model_card.weights_sha256}:{METHOD}"

    def judge(self, volume: Volume, pause: Callable[[], None]) -> ScanJudgement:
        """Judge a scan.

        Raises:
            WeightsError: the weights cannot be loaded, or judge nothing.
        """
        segmenter = self.task.segmenter()
        if not isinstance(segmenter, Predictor):
            raise WeightsError("This segmenter cannot say how sure it is; scans are not scored.")
        return ClickJudge(segmenter).judge(volume, pause)


def served_judge(task: InferTask | None) -> JudgesScans | None:
    """The judge behind a task; None where the task has no segmenter, or there is no task."""
    return ServedJudge(task) if isinstance(task, InteractiveTask) else None


def build_annotation(
    settings: Settings,
    datastore: Callable[[], Datastore],
    source: ScanSource,
    folder: Path,
    judge: JudgesScans | None,
) -> Annotation:
    """Strategies and scoring methods for a datastore.

    Args:
        settings: the operator's.
        datastore: gives the datastore.
        source: its scans.
        folder: where scores and reservations are kept.
        judge: the model; None: there is none, and scans are offered by name or chance.
    """
    if folder.exists() and not os.access(folder, os.W_OK):
        logger.warning("the studies cannot be written: scores and reservations end with the server")
    book = ScoreBook(state_file(folder, SCORES_NAME))
    reservations = Reservations(state_file(folder, RESERVATIONS_NAME), settings.reservation_minutes)
    desk = SampleDesk(source, book, reservations, lambda: judge.identity if judge else "")
    scoring: dict[str, Scoring] = {"dice": DiceScoring(source)}
    if judge is not None:
        scoring = {"uncertainty": UncertaintyScoring(judge, source, book), **scoring}
    worker = ScoringWorker(scoring, datastore, is_background=settings.background_scoring)
    return Annotation(build_strategies(desk), scoring, worker, desk)


def begin_scoring(
    annotation: Annotation, method: str | None, params: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What MONAI Label asks for on its own: after start, training and each next sample.

    Args:
        annotation: of the app.
        method: one method; None: whatever is not scored yet, in the background.
        params: options by method.

    Returns:
        The job, as clients read it; empty for the background.
    """
    if method is None:
        annotation.worker.wake()
        return {}
    return annotation.worker.submit(method, (params or {}).get(method) or {}).plain()
