"""Bounds on what clients may ask for at once: how many requests, how many bytes each."""

import time

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.errors import CapacityError, MedVLError, TooLargeError
from lib.server.answers import error_answer

_DRAIN_S = 5.0
"""For how long the rest of a refused upload is taken and thrown away, so that its sender reads the answer."""


class Limits:
    """Refuses a request that comes when there are too many, or that is too large.

    Args:
        app: behind.
        max_requests: at the same time.
        max_bytes: of one request's body.
    """

    def __init__(self, app: ASGIApp, max_requests: int, max_bytes: int) -> None:
        self._app = app
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope))
        if refusal is not None:
            await error_answer(refusal)(scope, receive, send)
            await _drain(receive)
            return
        self._running += 1
        try:
            await self._app(scope, _counted(receive, self._max_bytes), send)
        finally:
            self._running -= 1

    def _refusal(self, headers: Headers) -> MedVLError | None:
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._max_bytes:
            return _too_large(self._max_bytes)
        if self._running >= self._max_requests:
            return CapacityError(
                f"The server works on {self._running} requests, which is all it takes; try again soon."
            )
        return None


def _counted(receive: Receive, max_bytes: int) -> Receive:
    """The same messages, until they hold more than they may."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > max_bytes:  # an HTTPException, as FastAPI takes any other error in a body for a 400
            raise HTTPException(TooLargeError.status, str(_too_large(max_bytes)))
        return message

    return counted


def _too_large(max_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"The request is larger than {max_bytes / 2**20:.0f} MB, which is all this server takes; its "
        "operator can allow more with --conf max_upload_mb."
    )


async def _drain(receive: Receive) -> None:
    until = time.monotonic() + _DRAIN_S
    while time.monotonic() < until:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
