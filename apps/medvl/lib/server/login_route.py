"""/auth: how MONAI Label's clients learn that they must say who they are, and get a token for it.

3D Slicer's extension asks for a user name and a password and sends the token that it gets. With tokens of
`medvl token`, the token itself is the password; with an identity provider, the provider decides.
"""

from typing import Any

import requests
from fastapi import APIRouter, Depends, Form, Request
from monailabel.endpoints.user.auth import User

from lib.errors import CapacityError, NotFoundError, UnauthorizedError
from lib.server.access import Identify, identity_of
from lib.server.oidc import OidcVerifier
from lib.server.roles import held_roles


def login_router(identify: Identify | None, provider: OidcVerifier | None) -> APIRouter:
    """The routes.

    Args:
        identify: whose token this is; None: the server is open.
        provider: of identities, if there is one.
    """
    router = APIRouter(prefix="/auth", tags=["Auth"])
    realm = provider.realm if provider else None

    @router.get("/", summary="Check If Auth is Enabled")
    def api_auth_enabled() -> dict[str, Any]:
        return {
            "enabled": identify is not None,
            "client_id": realm.client_id if realm else "",
            "realm": realm.issuer if realm else "",
        }

    @router.post("/token", summary="Fetch new access code/token")
    def api_token(username: str = Form(), password: str = Form()) -> dict[str, Any]:
        if identify is None:
            return {"access_token": None, "token_type": None}
        return _exchanged(username, password, identify, provider)

    @router.get("/token/valid", summary="Check If current token is Valid")
    def api_valid(user: User = Depends(current_user)) -> dict[str, Any]:  # noqa: B008 - how FastAPI declares it
        valid: dict[str, Any] = user.model_dump()
        return valid

    return router


def current_user(request: Request) -> User:
    """Who sends a request, as MONAI Label's routes want to know it."""
    identity = identity_of(request)
    return User(username=identity.name, name=identity.name, roles=held_roles(identity.role))


def _exchanged(
    username: str, password: str, identify: Identify, provider: OidcVerifier | None
) -> dict[str, Any]:
    try:
        identify(password)
    except UnauthorizedError:
        if provider is None:
            raise
        return _granted(username, password, provider)
    return {"access_token": password, "token_type": "bearer"}


def _granted(username: str, password: str, provider: OidcVerifier) -> dict[str, Any]:
    """What the provider gives for a user name and a password.

    Raises:
        UnauthorizedError: it gives nothing.
        NotFoundError: it has no such way.
        CapacityError: it does not answer.
    """
    address = provider.token_endpoint()
    if not address:
        raise NotFoundError("The identity provider hands out no token for a password; log in on its page.")
    form = {"client_id": provider.realm.client_id, "username": username, "password": password}
    try:
        reply = requests.post(
            address, data={**form, "grant_type": "password"}, timeout=provider.realm.timeout_s
        )
        token = reply.json().get("access_token") if reply.ok else None
    except (requests.RequestException, ValueError, AttributeError) as error:
        raise CapacityError("The identity provider does not answer; try again later.", 10) from error
    if not isinstance(token, str):
        raise UnauthorizedError("The identity provider does not know this user name and password.")
    return {"access_token": token, "token_type": "bearer"}
