"""The ASGI app: MONAI Label's routes and ours, none of which blocks the event loop.

MONAI Label declares its endpoints `async` and then calls code that blocks, so one inference stops the whole
server. Here its endpoints run in threads, inference in a few of its own (`gate`), and whatever a client sends
is checked first (`guard`, `infer_route`). Not taken over: routes that write model files, reload the app, show
the log to anybody, or open whole-slide images by path.
"""

import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import monailabel
import torch
from fastapi import APIRouter, Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute
from monailabel.endpoints import batch_infer, datastore, info, session
from monailabel.endpoints.user.auth import get_current_user
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.utils.app import app_instance
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.infers.base import REQUEST_ID
from lib.server.access import Identify, Lock
from lib.server.annotation_routes import renewing, sample_router, scoring_router
from lib.server.answers import install_error_answers
from lib.server.gate import InferenceGate
from lib.server.guard import check_batch_model, check_job, check_names
from lib.server.infer_route import infer_router
from lib.server.keys import identifier, provider_of
from lib.server.limits import Limits
from lib.server.login_route import current_user, login_router
from lib.server.memory import SpareMemory
from lib.server.proxy import proxy_router
from lib.server.train_route import train_router
from lib.server.viewer import Viewer
from lib.settings import Settings, parse_settings

logger = logging.getLogger(__name__)

UPSTREAM = (info, batch_infer, datastore, session)
"""MONAI Label's modules whose routes are offered as they are, in threads."""
_QUIET_S = 5.0
"""So long after a user's last inference nothing is computed in the background."""
_STATIC = Path(monailabel.__file__).parent / "endpoints" / "static"


def create_app() -> FastAPI:
    """The app for the studies and settings that MONAI Label's own configuration names.

    Raises:
        ConfigError: a setting is wrong.
        WeightsError: weights are not what they should be.
    """
    instance: MONAILabelApp = app_instance()
    settings = parse_settings(instance.conf)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    gate = InferenceGate(
        settings.max_concurrent_inferences, settings.queue_limit, afterwards=SpareMemory().give_back
    )
    app = FastAPI(title="MedVL", docs_url="/docs", redoc_url=None, lifespan=_lifespan(instance, gate))
    provider = provider_of(settings)
    identify = identifier(settings, provider)
    app.dependency_overrides[get_current_user] = current_user
    app.include_router(login_router(identify, provider))
    infer_checks = [Depends(renewing(instance.annotation))]
    app.include_router(infer_router(app_instance, gate), dependencies=infer_checks)
    app.include_router(proxy_router(instance.studies))
    app.include_router(train_router(app_instance), dependencies=[Depends(check_names), Depends(check_job)])
    for router in (sample_router(app_instance, instance.annotation), scoring_router(instance.annotation)):
        app.include_router(router, dependencies=[Depends(check_names), Depends(check_job)])
    for module in UPSTREAM:
        checks = [check_names, check_job, *([check_batch_model] if module is batch_infer else [])]
        app.include_router(in_threads(module.router), dependencies=[Depends(check) for check in checks])
    app.mount("/ohif", Viewer(directory=_STATIC / "ohif", html=True))
    app.add_api_route("/", _to_docs, include_in_schema=False)
    app.add_api_route("/favicon.ico", _favicon, include_in_schema=False)
    install_error_answers(app)
    _guard_the_door(app, settings, identify)
    return app


class RequestIds:
    """Gives each request a short number, which the log and the answer carry."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex[:12]
        REQUEST_ID.set(request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        await self._app(scope, receive, send_with_id)


def in_threads(router: APIRouter) -> APIRouter:
    """The same routes, whose endpoints run in threads instead of on the event loop."""
    threaded = APIRouter(tags=list(router.tags))
    for route in _api_routes(router.routes):
        threaded.add_api_route(
            route.path,
            _in_thread(route.endpoint),
            methods=list(route.methods or ["GET"]),
            summary=route.summary,
            include_in_schema=route.include_in_schema,
            response_model=None,
        )
    return threaded


def _api_routes(routes: Iterable[Any]) -> Iterable[APIRoute]:
    return (route for route in routes if isinstance(route, APIRoute))


def _in_thread(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """FastAPI runs plain functions in threads; these coroutines never wait, so one step ends them."""

    def call(**arguments: Any) -> Any:
        try:
            endpoint(**arguments).send(None)
        except StopIteration as done:
            return done.value
        raise RuntimeError(f"{endpoint.__name__} waits for something and cannot run in a thread")

    call.__name__ = endpoint.__name__
    call.__signature__ = inspect.signature(endpoint)  # type: ignore[attr-defined] # what FastAPI reads
    return call


def _lifespan(instance: MONAILabelApp, gate: InferenceGate) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        instance.server_mode(True)
        instance.annotation.worker.stand_back_while(lambda: gate.is_busy(_QUIET_S))
        instance.on_init_complete()
        logger.info("ready with %s", ", ".join(instance.info()["models"]) or "no model")
        yield
        gate.close()
        instance.annotation.worker.close()

    return lifespan


def _guard_the_door(app: FastAPI, settings: Settings, identify: Identify | None) -> None:
    """What a request passes before any route: from the inside out, as Starlette adds it."""
    app.add_middleware(Lock, identify=identify, other_origins=settings.cors_origins)
    _allow_origins(app, settings)
    app.add_middleware(Limits, max_requests=settings.max_requests, max_bytes=settings.max_upload_mb * 2**20)
    app.add_middleware(RequestIds)


def _allow_origins(app: FastAPI, settings: Settings) -> None:
    """Pages of other sites may call the server only where its operator has named them."""
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_credentials="*" not in settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
        )


async def _to_docs() -> Response:
    return RedirectResponse("/docs")


async def _favicon() -> Response:
    return FileResponse(_STATIC / "favicon.ico", media_type="image/x-icon")
