"""The routes of training, as MONAI Label's own, but with one sentence at once where a training cannot run.

Training runs in a process of its own, one at a time; its checkpoints outlive it.
"""

import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Depends, HTTPException
from monailabel.config import RBAC_ADMIN, RBAC_USER, settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.app import MONAILabelApp
from monailabel.utils.async_tasks.task import AsyncTask
from monailabel.utils.async_tasks.utils import processes, tasks

from lib.errors import NotFoundError
from lib.trainers.medvl import MedVLTrainer

_METHOD = "train"
_ALIVE = ("SUBMITTED", "RUNNING")
_END_S = 30.0
"""For the kernel to take back what a killed training held."""


def train_router(instance: Callable[[], MONAILabelApp]) -> APIRouter:
    """The routes; their endpoints block.

    Args:
        instance: the app.
    """
    router = APIRouter(prefix="/train", tags=["Train"])
    user = [Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
    admin = [Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))]

    @router.get("/", summary=f"{RBAC_USER}Get Status of Training Task", dependencies=user)
    def status(*, all: bool = False, check_if_running: bool = False) -> Any:  # noqa: A002 - the protocol's
        found, detail = AsyncTask.status(_METHOD, all, check_if_running)
        if found is None:
            raise HTTPException(404, detail)
        return found

    @router.post("/", summary=f"{RBAC_ADMIN}Run All Training Tasks", dependencies=admin)
    def run_all(params: dict[str, Any] | None = None, *, run_sync: bool = False) -> Any:
        options = params or {}
        return {
            model: {
                "result": start(instance(), model, options.get(model) or {}, in_process=run_sync),
                "detail": None,
            }
            for model in instance().info()["trainers"]
        }

    @router.post("/{model}", summary=f"{RBAC_ADMIN}Run Training Task for specific model", dependencies=admin)
    def run_one(
        model: str, params: dict[str, Any] | None = None, *, run_sync: bool = False, enqueue: bool = False
    ) -> Any:
        return start(instance(), model, params or {}, in_process=run_sync, enqueue=enqueue)

    @router.delete("/", summary=f"{RBAC_ADMIN}Stop Training Task", dependencies=admin)
    def stop() -> Any:
        return stop_training()

    return router


def start(
    app: MONAILabelApp, model: str, params: dict[str, Any], *, in_process: bool = False, enqueue: bool = False
) -> Any:
    """Start a training if it can run.

    Args:
        app: with the trainers.
        model: which of them.
        params: the client's options.
        in_process: in this process, and wait for its end.
        enqueue: after the one that runs.

    Raises:
        NotFoundError: there is no such trainer.
        InputError: it could not run so.
        HTTPException: 429, one runs already.
    """
    trainers: dict[str, Any] = app._trainers
    if model not in trainers:
        raise NotFoundError(
            f"There is no trainer {model[:40]!r}; there are: {', '.join(trainers) or 'none'}."
        )
    options = {key: value for key, value in params.items() if key not in {"model", "local_rank"}}
    if isinstance(trainers[model], MedVLTrainer):
        trainers[model].check(options, app.datastore())
    running = next((task for task in tasks(_METHOD) if task["status"] in _ALIVE), None)
    if running is not None and not enqueue:
        raise HTTPException(
            429,
            f"A training is {running['status'].lower()} since {running['start_ts']}; wait for it "
            "(GET /train/), or stop it (DELETE /train/).",
        )
    result, detail = AsyncTask.run(
        _METHOD, request={"model": model}, params=options, force_sync=in_process, enqueue=True
    )
    if result is None:
        raise HTTPException(429, detail)
    return result


def stop_training() -> Any:
    """Stop the training that runs; what it learnt so far is kept for the next one. None if none runs."""
    running = list(processes(_METHOD).values())
    stopped = AsyncTask.stop(_METHOD)
    for process in running:
        # It was killed; whoever asks for figures next must not find it running still.
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
    if stopped is not None and not stopped.get("details"):
        stopped["details"] = ["stopped before it began"]  # 3D Slicer shows the last line, and fails on none
    return stopped
