"""Which keys open the server: what the operator's settings say, as one function from token to person."""

import hmac
import logging
import os
import secrets
from typing import Any

import requests
from monailabel.config import settings as monai_label

from lib.errors import ConfigError, UnauthorizedError
from lib.server.access import Identify, first_of
from lib.server.oidc import OidcVerifier, configured_realm
from lib.server.roles import Identity, Role
from lib.server.tokens import PREFIX, TokenStore
from lib.settings import Access, Settings

logger = logging.getLogger(__name__)

JOB_TOKEN_VARIABLE = "MEDVL_JOB_TOKEN"  # noqa: S105 - the name of a variable
"""Through which the processes that the server starts for training or scoring can call it."""
SERVER_VARIABLE = "MEDVL_SERVER"
"""Set by `medvl serve`."""
_ANSWER_S = 30


def chosen_access(settings: Settings) -> Access:
    """Who may use the server; MONAI Label's own switch means its identity provider."""
    return Access.OIDC if monai_label.MONAI_LABEL_AUTH_ENABLE else settings.access


def require_own_server(settings: Settings) -> None:
    """Refuse to be a locked app in a server that has no lock, such as MONAI Label's own.

    Raises:
        ConfigError: `medvl serve` has not started this process, or the one that has.
    """
    if chosen_access(settings) is not Access.OPEN and SERVER_VARIABLE not in os.environ:
        raise ConfigError(
            "--conf access works with `medvl serve` only: MONAI Label's own launcher has no lock."
        )


def provider_of(settings: Settings) -> OidcVerifier | None:
    """The identity provider, if there is to be one.

    Raises:
        ConfigError: it is not said rightly which.
    """
    return OidcVerifier(configured_realm()) if chosen_access(settings) is Access.OIDC else None


def identifier(settings: Settings, provider: OidcVerifier | None) -> Identify | None:
    """Whose token one is; None if the server is open.

    Raises:
        ConfigError: the file of tokens cannot be used.
    """
    if chosen_access(settings) is Access.OPEN:
        return None
    store = TokenStore(settings.token_file)
    if not store.entries() and provider is None:
        logger.warning("there is no token yet, so nobody gets in; make one with: medvl token create NAME")
    ways = [_job_key(), _stored(store)]
    return first_of(*ways, *([provider.identify] if provider else []))


def call_server(address: str, params: object, action: str) -> Any:
    """Ask the server, from a process that it has started, to begin something.

    Args:
        address: of the route.
        params: for it, as JSON.
        action: what it is, for the log.

    Returns:
        Its answer; None if it refuses or does not answer.
    """
    key = os.environ.get(JOB_TOKEN_VARIABLE, "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        reply = requests.post(address, json=params or {}, headers=headers, timeout=_ANSWER_S)
        reply.raise_for_status()
        return reply.json()
    except (requests.RequestException, ValueError) as error:
        logger.error("%s could not be begun: %s", action, type(error).__name__)  # noqa: TRY400
        return None


def _stored(store: TokenStore) -> Identify:
    def identify(token: str) -> Identity:
        identity = store.identify(token) if token.startswith(PREFIX) else None
        if identity is None:
            raise UnauthorizedError("The token is not known here, or no more; ask this server's operator.")
        return identity

    return identify


def _job_key() -> Identify:
    """A key of this run of the server, which only its own child processes learn."""
    key = secrets.token_urlsafe(32)
    os.environ[JOB_TOKEN_VARIABLE] = key

    def identify(token: str) -> Identity:
        if not hmac.compare_digest(token.encode(), key.encode()):
            raise UnauthorizedError("The token is not known here.")
        return Identity("job", Role.ADMIN)

    return identify
