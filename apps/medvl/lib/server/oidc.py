"""Identity tokens of an OpenID Connect provider, such as Keycloak.

MONAI Label's own check names no algorithm, which today's PyJWT refuses, so that no token passes. Here the
signature is checked against the provider's published keys, and issuer, audience and time as well. Which
provider and which claims are MONAI Label's own settings, MONAI_LABEL_AUTH_*.

Reference: OpenID Connect Core 1.0, section 3.1.3.7; RFC 8725 on algorithms.
"""

import logging
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import jwt
import requests
from monailabel.config import settings as monai_label

from lib.errors import CapacityError, ConfigError, ForbiddenError, UnauthorizedError
from lib.server.roles import Identity, highest_role

logger = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256")
"""With a public key only: a token must not choose that its key is a shared secret, or none."""
_LEEWAY_S = 30
_RETRY_S = 10
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class OidcRealm:
    """A provider and what its tokens must say.

    Attributes:
        issuer: its address, which every token names.
        client_id: for whom tokens are meant, as audience or authorised party.
        name_claim: claim with the user's name.
        roles_claim: claim with the list of roles; `#` leads into nested claims.
        timeout_s: for the provider's answers.
    """

    issuer: str
    client_id: str
    name_claim: str = "preferred_username"
    roles_claim: str = "realm_access#roles"
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        address = urlsplit(self.issuer)
        is_safe = address.scheme == "https" or (address.scheme == "http" and address.hostname in _LOOPBACK)
        if not is_safe or not self.client_id:
            raise ConfigError(
                "access oidc needs MONAI_LABEL_AUTH_REALM_URI (https, or http on this computer) and "
                f"MONAI_LABEL_AUTH_CLIENT_ID; got {self.issuer[:80]!r} and {self.client_id[:40]!r}."
            )


def configured_realm() -> OidcRealm:
    """The realm that MONAI Label's settings name.

    Raises:
        ConfigError: an address that anybody on the way could read or change, or no client.
    """
    return OidcRealm(
        issuer=monai_label.MONAI_LABEL_AUTH_REALM_URI.rstrip("/"),
        client_id=monai_label.MONAI_LABEL_AUTH_CLIENT_ID,
        name_claim=monai_label.MONAI_LABEL_AUTH_TOKEN_USERNAME,
        roles_claim=monai_label.MONAI_LABEL_AUTH_TOKEN_ROLES,
        timeout_s=float(monai_label.MONAI_LABEL_AUTH_TIMEOUT),
    )


@dataclass
class OidcVerifier:
    """Checks tokens of one realm. Safe to use from several threads.

    Attributes:
        realm: whose tokens are taken.
    """

    realm: OidcRealm
    _keys: jwt.PyJWKClient | None = None
    _document: dict[str, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def identify(self, token: str) -> Identity:
        """Who the provider says this is.

        Raises:
            UnauthorizedError: forged, expired, or not meant for this server.
            ForbiddenError: a good token without any role here.
            CapacityError: the provider does not answer.
        """
        claims = self._claims(token)
        name = str(claims.get(self.realm.name_claim) or claims["sub"])
        role = highest_role(_roles(claims, self.realm.roles_claim))
        if role is None:
            raise ForbiddenError(f"The identity provider gives {name[:40]!r} no role on this server.")
        return Identity(name, role)

    def token_endpoint(self) -> str:
        """Where the provider hands out tokens; empty if it does not say.

        Raises:
            CapacityError: it does not answer.
        """
        return str(self._configuration().get("token_endpoint") or "")

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            key = self._key_client().get_signing_key_from_jwt(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                issuer=self._configuration().get("issuer") or self.realm.issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "sub"], "verify_aud": False},  # below, as azp counts too
            )
        except jwt.PyJWKClientConnectionError as error:
            raise _silent_provider() from error
        except jwt.PyJWTError as error:
            raise UnauthorizedError(
                f"The token is refused ({type(error).__name__}); get a new one from the identity provider."
            ) from error
        self._check_audience(claims)
        return claims

    def _check_audience(self, claims: dict[str, Any]) -> None:
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if self.realm.client_id not in [*named, claims.get("azp")]:  # Keycloak names the client in azp only
            raise UnauthorizedError(
                "The token is meant for another program; get one from the identity provider for the client "
                f"{self.realm.client_id!r}."
            )

    def _key_client(self) -> jwt.PyJWKClient:
        address = str(self._configuration()["jwks_uri"])
        with self._lock:
            if self._keys is None:
                self._keys = jwt.PyJWKClient(address, lifespan=300, timeout=self.realm.timeout_s)
            return self._keys

    def _configuration(self) -> dict[str, Any]:
        """The provider's own description, asked for once.

        Raises:
            CapacityError: it does not answer, or not as it should.
        """
        with self._lock:
            if not self._document:
                self._document = _fetched(self.realm)
            return self._document


def _fetched(realm: OidcRealm) -> dict[str, Any]:
    try:
        reply = requests.get(
            f"{realm.issuer}/.well-known/openid-configuration", timeout=realm.timeout_s, allow_redirects=False
        )
        reply.raise_for_status()
        document = reply.json()
    except (requests.RequestException, ValueError) as error:
        raise _silent_provider() from error
    if not isinstance(document, dict) or not isinstance(document.get("jwks_uri"), str):
        logger.error("the identity provider does not describe itself as OpenID Connect asks for")
        raise _silent_provider()
    if str(document.get("issuer", "")).rstrip("/") != realm.issuer:
        logger.error("the identity provider calls itself otherwise than MONAI_LABEL_AUTH_REALM_URI does")
        raise _silent_provider()
    return document


def _silent_provider() -> CapacityError:
    return CapacityError("The identity provider does not answer as it should; try again later.", _RETRY_S)


def _roles(claims: dict[str, Any], path: str) -> list[Any]:
    value: Any = claims
    for part in path.split("#"):
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, list) else []
