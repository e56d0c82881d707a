"""POST /activelearning/{strategy} and /scoring: MONAI Label's protocol, for several annotators at once.

Viewers tell little of who asks: 3D Slicer sends the name in its settings, which is the same for everybody who
has not changed it, and OHIF sends none. Where the name says nothing, the address of the computer counts too.

What they do with an answer that holds no scan: 3D Slicer shows its own message for one without `id`, and the
text of an error; OHIF reports any error, but would open an empty form for an answer without `id`.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from monailabel.interfaces.app import MONAILabelApp

from lib.activelearning.strategies import HOLDER
from lib.configs.annotation import Annotation
from lib.errors import MedVLError, NotFoundError
from lib.server.access import OPERATOR, identity_of

logger = logging.getLogger(__name__)

SLICERS_DEFAULT = "user-xyz"
"""The client id of everybody who has not chosen one in 3D Slicer's settings."""
_MAX_NAME_CHARACTERS = 100


def sample_router(instance: Callable[[], MONAILabelApp], annotation: Annotation) -> APIRouter:
    """The route that offers the next scan.

    Args:
        instance: the app.
        annotation: its active learning.
    """
    router = APIRouter(prefix="/activelearning", tags=["ActiveLearning"])

    @router.post("/{strategy}", summary="Run Active Learning strategy to get next sample")
    def api_sample(request: Request, strategy: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        options = {**(params or {}), "strategy": strategy, HOLDER: holder_of(request, params or {})}
        answer: dict[str, Any] = instance().next_sample(options)
        if answer:
            return _described(instance(), answer, options)
        why = annotation.desk.why_nothing(instance().datastore())
        if "/ohif/" in request.headers.get("referer", ""):
            raise NotFoundError(why)
        return {"detail": why}

    return router


def scoring_router(annotation: Annotation) -> APIRouter:
    """The routes that begin, watch and stop scoring.

    Args:
        annotation: the app's active learning.
    """
    router = APIRouter(prefix="/scoring", tags=["Scoring"])
    worker = annotation.worker

    @router.get("/", summary="Get Status of Scoring Task")
    def api_status(all: bool = False, check_if_running: bool = False) -> Any:  # noqa: A002 - the protocol's name
        tasks = [task for task in worker.tasks() if not (check_if_running and task.is_over)]
        if not tasks:
            state = "running" if check_if_running else "known"
            raise NotFoundError(f"No scoring task is {state}; POST /scoring/{{method}} begins one.")
        return [task.plain() for task in tasks] if all and not check_if_running else tasks[-1].plain()

    @router.post("/", summary="Run All Scoring Tasks", include_in_schema=False)
    def api_run_all(params: dict[str, Any] | None = None, run_sync: bool = False) -> dict[str, Any]:
        begun = {}
        for method in annotation.scoring:
            options = (params or {}).get(method) or {}
            result = worker.run_now(method, options) if run_sync else worker.submit(method, options).plain()
            begun[method] = {"result": result, "detail": None}
        return begun

    @router.post("/{method}", summary="Run Scoring Task for specific method")
    def api_run(method: str, params: dict[str, Any] | None = None, run_sync: bool = False) -> dict[str, Any]:
        if run_sync:
            return worker.run_now(method, params or {})
        return worker.submit(method, params or {}).plain()

    @router.delete("/", summary="Stop Scoring Task")
    def api_stop() -> dict[str, Any] | None:
        task = worker.stop_tasks()
        return task.plain() if task is not None else None

    return router


def renewing(annotation: Annotation) -> Callable[[Request], None]:
    """A dependency of inference: somebody works on the scan, so that its reservation holds on."""

    def renew(request: Request) -> None:
        image_id = request.query_params.get("image", "")
        if image_id:
            annotation.desk.reservations.renew(image_id)

    return renew


def holder_of(request: Request, params: dict[str, Any]) -> str:
    """Who asks: the login and the client's own name, with the computer's address where these say nothing."""
    login = identity_of(request)
    client = str(params.get("client_id") or "")[:_MAX_NAME_CHARACTERS]
    is_known = login is not OPERATOR or client not in {"", SLICERS_DEFAULT}
    address = "" if is_known or request.client is None else request.client.host
    return "|".join((login.name, client, address))


def _described(app: MONAILabelApp, answer: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The answer with all that is known of the image, where it is noted who was offered it and when."""
    datastore, image_id, strategy = app.datastore(), answer["id"], options["strategy"]
    info = datastore.get_image_info(image_id)
    offered = {"ts": int(time.time()), "client_id": options.get("client_id")}
    try:
        datastore.update_image_info(image_id, {"strategy": {**info.get("strategy", {}), strategy: offered}})
    except MedVLError as error:  # studies that cannot be written
        logger.warning("it could not be noted that a scan was offered: %s", error)
    return info | answer
