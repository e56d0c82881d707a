"""The lock on the door: who asks is checked before any route sees the request.

Credentials are `Authorization: Bearer TOKEN`, as MONAI Label's clients send them, or the token as the
password of HTTP Basic, for which a browser asks by itself and so opens OHIF. As browsers send the latter
along whoever asks them to, a page of another site may change nothing.
"""

import base64
import binascii
import logging
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from lib.errors import ForbiddenError, MedVLError, UnauthorizedError
from lib.server.answers import error_answer
from lib.server.roles import READING, Identity, Role, needed_role

logger = logging.getLogger(__name__)

IDENTITY = "medvl_identity"
"""Where in the scope of a request it says who asks."""
OPERATOR = Identity("operator", Role.ADMIN)
"""Whoever reaches an open server."""
Identify = Callable[[str], Identity]
"""Whose token this is; raises MedVLError if it is nobody's."""


class Lock:
    """Lets a request through to the app if whoever sends it may do that.

    Args:
        app: behind the door.
        identify: whose token this is; None: the server is open to whoever reaches it.
        other_origins: sites whose pages may call the server.
    """

    def __init__(self, app: ASGIApp, identify: Identify | None, other_origins: Iterable[str] = ()) -> None:
        self._app = app
        self._identify = identify
        self._other_origins = frozenset(origin.rstrip("/").lower() for origin in other_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; nothing but HTTP comes in."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            identity = await self._admitted(scope)
        except MedVLError as error:
            await _refusal(error)(scope, receive, send)
            return
        await self._app({**scope, IDENTITY: identity}, receive, send)

    async def _admitted(self, scope: Scope) -> Identity:
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        if method not in READING:
            self._check_origin(headers)
        if self._identify is None:
            return OPERATOR
        role = needed_role(method, path)
        if role is None:
            return Identity("nobody", Role.USER)
        identity = await run_in_threadpool(self._identify, _token(headers))
        identity.require(role, f"{method} {path[:60]}")
        return identity

    def _check_origin(self, headers: Headers) -> None:
        """Browsers say which site's page sends something; other programs say nothing.

        Raises:
            ForbiddenError: a page of a site that the operator has not named.
        """
        origin = headers.get("origin", "").rstrip("/").lower()
        is_own = not origin or urlsplit(origin).netloc == headers.get("host", "").lower()
        if not is_own and not {origin, "*"} & self._other_origins:
            raise ForbiddenError(
                f"A page of {origin[:80]!r} may change nothing on this server; its operator can allow it "
                "with --conf cors_origins."
            )


def identity_of(request: Request) -> Identity:
    """Who sends a request that has passed the lock."""
    identity: Identity = request.scope.get(IDENTITY, OPERATOR)
    return identity


def first_of(*ways: Identify) -> Identify:
    """Several ways to identify a token: the first one that knows it counts.

    Args:
        ways: each raises UnauthorizedError for a token that it does not know.
    """

    def identify(token: str) -> Identity:
        refusals = []
        for way in ways:
            try:
                return way(token)
            except UnauthorizedError as error:
                refusals.append(error)
        raise refusals[-1]

    return identify


def _token(headers: Headers) -> str:
    """What a request gives as its token.

    Raises:
        UnauthorizedError: nothing, or in a form that is not known.
    """
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    if kind.lower() == "basic":
        return _basic_password(value)
    raise UnauthorizedError("This server asks who you are; send a token as 'Authorization: Bearer TOKEN'.")


def _basic_password(value: str) -> str:
    try:
        _, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise UnauthorizedError("The login is not as HTTP Basic asks for; send a token.") from error
    if not colon or not password:
        raise UnauthorizedError("The login holds no token; give it as the password, with any user name.")
    return password


def _refusal(error: MedVLError) -> ASGIApp:
    answer = error_answer(error)
    if isinstance(error, UnauthorizedError):
        for challenge in ('Bearer realm="MedVL"', 'Basic realm="MedVL: your token as the password"'):
            answer.headers.append("WWW-Authenticate", challenge)
    return answer
