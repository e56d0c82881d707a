"""A batch on several computers, by Ray: actors hold the model, this process holds the list and the labels.

A case goes to whichever actor is free. If its computer is lost, the case goes to another one; nothing but
this process writes labels, so every case is kept once. Ray is an optional part: pip install ray.
"""

import importlib
import itertools
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask

from lib.errors import CapacityError, ConfigError, InputError
from lib.response import RESULT_PREFIX
from lib.server.batch import Drawn, sentence

logger = logging.getLogger(__name__)

MakeTask = Callable[[], InferTask]
"""Makes the task on the computer that it is to run on."""
_TRIES = 4
"""Computers that may be lost under one case before it counts as failed: it may be the case that ends them."""


@dataclass(frozen=True)
class RemoteAnswer:
    """What an actor sends back: the mask's file as bytes, or why there is none.

    Attributes:
        name: of the mask's file; empty: none.
        content: of it.
        document: beside it.
        why: the model did not answer; empty: it did.
    """

    name: str
    content: bytes
    document: dict[str, Any]
    why: str = ""


class Drawer:
    """Holds a task, and so the model, on one computer.

    Args:
        make_task: of the task.
        model: its name.
    """

    def __init__(self, make_task: MakeTask, model: str) -> None:
        self._task = make_task()
        self._model = model

    def draw(self, image: str, options: dict[str, Any]) -> RemoteAnswer:
        """Answer for one image, by its path, which must lead to the same image on every computer."""
        try:
            file, document = self._task({**options, "model": self._model, "image": image})
        except Exception as error:  # noqa: BLE001 - what goes wrong with a case is its answer
            return RemoteAnswer("", b"", {}, sentence(error))
        if not file:
            return RemoteAnswer("", b"", document)
        path = Path(file)
        content = path.read_bytes()
        path.unlink()
        return RemoteAnswer(path.name, content, document)


class RayDrawers:
    """Actors on a cluster, used by as many threads as there are actors.

    Args:
        address: of the cluster, such as 10.0.0.1:6379; auto: the one that this computer belongs to.
        make_task: what an actor makes for itself.
        model: name of the task.
        count: of actors.
        scratch: folder for masks on their way to the datastore.

    Raises:
        ConfigError: Ray is not installed.
        CapacityError: the cluster does not answer.
    """

    def __init__(self, address: str, make_task: MakeTask, model: str, count: int, scratch: Path) -> None:
        self._ray = _ray()
        try:
            self._ray.init(address=address, log_to_driver=False, ignore_reinit_error=True)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise CapacityError(
                f"There is no Ray cluster at {address!r}; start one, or leave --ray out."
            ) from error
        actor = self._ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(Drawer)
        self._new: Callable[[], Any] = lambda: actor.remote(make_task, model)
        self._idle: queue.Queue[Any] = queue.Queue()
        self._alive = count
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._scratch = scratch
        for _ in range(count):
            self._idle.put(self._new())

    def draw(self, image: str, options: dict[str, Any]) -> Drawn:
        """Have one image drawn, again if its computer is lost.

        Raises:
            InputError: the model does not answer for this image.
            CapacityError: one computer after the other was lost.
        """
        for _ in range(_TRIES):
            actor = self._idle.get()
            try:
                answer: RemoteAnswer = self._ray.get(actor.draw.remote(image, options))
            except self._ray.exceptions.RayActorError:
                logger.warning("a computer of the cluster was lost; its case is done again elsewhere")
                self._bury()
                continue
            self._idle.put(actor)
            return self._received(answer)
        raise CapacityError(f"The cluster lost {_TRIES} actors on this case.")

    def close(self) -> None:
        """Let go of the cluster; its actors end."""
        self._ray.shutdown()

    def _bury(self) -> None:
        """One actor fewer; the last one is replaced, wherever there is room."""
        with self._lock:
            self._alive -= 1
            if self._alive == 0:
                self._alive = 1
                self._idle.put(self._new())

    def _received(self, answer: RemoteAnswer) -> Drawn:
        if answer.why:
            raise InputError(answer.why)
        if not answer.name:
            return Drawn(None, answer.document)
        suffix = "".join(Path(answer.name.removeprefix(RESULT_PREFIX)).suffixes)
        path = self._scratch / f"{RESULT_PREFIX}{next(self._numbers)}{suffix}"
        path.write_bytes(answer.content)
        return Drawn(path, answer.document)


def _ray() -> ModuleType:
    try:
        ray = importlib.import_module("ray")  # optional, and no dependency
        importlib.import_module("ray.exceptions")
    except ImportError as error:
        raise ConfigError(
            "--ray needs Ray on this computer and on all of the cluster: pip install ray."
        ) from error
    return ray
