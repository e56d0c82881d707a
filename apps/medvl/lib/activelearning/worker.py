"""Scoring in the background: one thread, which stands back while users need the machine.

What a client asks for (`POST /scoring/{method}`) comes first, in the order of asking; the rest of the time
the thread looks for scans that the serving model has not seen, and scores one after the other.
"""

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from monailabel.interfaces.datastore import Datastore

from lib.activelearning.scoring import Scoring, ScoringStopped, UncertaintyScoring
from lib.errors import CapacityError, MedVLError, NotFoundError

logger = logging.getLogger(__name__)

_LOOK_S = 30.0
"""How often the thread looks for new scans when nobody wakes it."""
_STAND_BACK_S = 0.2
"""How often it looks whether users still need the machine."""
_MAX_TASKS = 20
_CLOSE_S = 3.0


def _now() -> str:
    return datetime.now().strftime("%Y-%m-%d %H:%M:%S")


@dataclass(eq=False)
class ScoringTask:
    """A job that a client has asked for, as MONAI Label describes jobs.

    Attributes:
        method: of scoring.
        request: the client's options.
        id: of the job.
        status: SUBMITTED, RUNNING, DONE, ERROR or STOPPED.
        start_ts: when it was asked for.
        end_ts: when it ended; empty before.
        details: what happened, for people.
        result: scores by image id; None before the end.
    """

    method: str
    request: dict[str, Any]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "SUBMITTED"
    start_ts: str = field(default_factory=_now)
    end_ts: str = ""
    details: list[str] = field(default_factory=list)
    result: dict[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in {"DONE", "ERROR", "STOPPED"}

    def plain(self) -> dict[str, Any]:
        """The document that clients read."""
        document = {
            "id": self.id,
            "status": self.status,
            "request": {"method": self.method, **self.request},
            "start_ts": self.start_ts,
            "details": list(self.details),
        }
        if self.end_ts:
            document["end_ts"] = self.end_ts
        return document if self.result is None else document | {"result": self.result}

    def end(self, status: str, detail: str) -> None:
        """Note how it ended."""
        self.details.append(detail)
        self.end_ts = _now()
        self.status = status


class ScoringWorker:
    """Runs scoring methods in one thread, which starts when it is first woken.

    Args:
        methods: by name.
        datastore: with the images.
        is_background: whether scans are scored without being asked for.
    """

    def __init__(
        self, methods: Mapping[str, Scoring], datastore: Callable[[], Datastore], *, is_background: bool
    ) -> None:
        self._methods = methods
        self._datastore = datastore
        self._is_background = is_background
        self._is_busy: Callable[[], bool] = lambda: False
        self._changed = threading.Condition()
        self._tasks: deque[ScoringTask] = deque(maxlen=_MAX_TASKS)
        self._is_woken = False
        self._is_stopping = False
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def stand_back_while(self, is_busy: Callable[[], bool]) -> None:
        """Set what says that users need the machine."""
        self._is_busy = is_busy

    def wake(self) -> None:
        """Look for scans without a score now; the thread is started if it does not run."""
        with self._changed:
            self._is_woken = True
            self._begin()
            self._changed.notify_all()

    def submit(self, method: str, request: Mapping[str, Any]) -> ScoringTask:
        """Ask for a method.

        Raises:
            NotFoundError: there is no such method.
            CapacityError: it has been asked for and has not ended.
        """
        self._checked(method)
        with self._changed:
            if any(task.method == method and not task.is_over for task in self._tasks):
                raise CapacityError(
                    f"Scoring by {method!r} is running already; GET /scoring/ shows how far it is."
                )
            task = ScoringTask(method, dict(request))
            self._tasks.append(task)
            self._begin()
            self._changed.notify_all()
        return task

    def run_now(self, method: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run a method in the caller's thread.

        Raises:
            NotFoundError: there is no such method.
        """
        return self._checked(method).run(dict(request), self._datastore(), lambda: None)

    def tasks(self) -> list[ScoringTask]:
        """The last jobs, in the order of asking."""
        return list(self._tasks)

    def stop_tasks(self) -> ScoringTask | None:
        """End the job that runs and those that wait; the one that ran, or else waited first."""
        with self._changed:
            stopped = [task for task in self._tasks if not task.is_over]
            for task in stopped:
                self._is_stopping = self._is_stopping or task.status == "RUNNING"
                if task.status == "SUBMITTED":
                    task.end("STOPPED", "stopped before it began")
            self._changed.notify_all()
        return stopped[0] if stopped else None

    def close(self) -> None:
        """End the thread; a scan that is being scored is given up."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _checked(self, method: str) -> Scoring:
        if method not in self._methods:
            raise NotFoundError(
                f"There is no scoring method {method[:40]!r}; known are {', '.join(self._methods)}."
            )
        return self._methods[method]

    def _begin(self) -> None:
        if self._thread is None and not self._is_closed:
            self._thread = threading.Thread(target=self._loop, name="scoring", daemon=True)
            self._thread.start()

    def _loop(self) -> None:
        while not self._is_closed:
            task = self._next_task()
            if task is not None:
                self._run(task)
            elif not self._score_one():
                with self._changed:
                    if not self._is_woken and not self._is_closed:
                        self._changed.wait(_LOOK_S)
                    self._is_woken = False

    def _next_task(self) -> ScoringTask | None:
        with self._changed:
            task = next((task for task in self._tasks if task.status == "SUBMITTED"), None)
            if task is not None:
                task.status = "RUNNING"
                self._is_stopping = False
            return task

    def _run(self, task: ScoringTask) -> None:
        started_s = time.monotonic()
        try:
            result = self._methods[task.method].run(task.request, self._datastore(), self._pause)
        except ScoringStopped:
            task.end("STOPPED", "stopped; what has been scored is kept")
        except MedVLError as error:
            task.end("ERROR", str(error))
        except Exception:
            logger.exception("scoring by %s failed", task.method)
            task.end("ERROR", "the server failed; its log says why")
        else:
            task.result = result
            task.end("DONE", f"{len(result)} images in {time.monotonic() - started_s:.0f} s")

    def _score_one(self) -> bool:
        """Score one scan that has no score; whether there was one."""
        method = self._methods.get("uncertainty")
        if not self._is_background or not isinstance(method, UncertaintyScoring):
            return False
        try:
            image_id = method.next_unasked(self._datastore())
            if image_id is not None:
                method.score(image_id, self._pause_for_tasks)
        except ScoringStopped:
            return True
        except MedVLError as error:  # an archive that does not answer
            logger.warning("scoring in the background waits: %s", error)
            return False
        except Exception:
            logger.exception("scoring in the background failed")
            return False
        return image_id is not None

    def _pause(self) -> None:
        """Wait while users need the machine."""
        while self._is_busy() and not (self._is_stopping or self._is_closed):
            time.sleep(_STAND_BACK_S)
        if self._is_stopping or self._is_closed:
            raise ScoringStopped

    def _pause_for_tasks(self) -> None:
        """In the background: also give way to what clients have asked for."""
        while self._is_busy() and not self._is_closed and not self._is_asked():
            time.sleep(_STAND_BACK_S)
        if self._is_closed or self._is_asked():
            raise ScoringStopped

    def _is_asked(self) -> bool:
        return any(task.status == "SUBMITTED" for task in tuple(self._tasks))
