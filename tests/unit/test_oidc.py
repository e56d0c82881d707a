"""Tokens of an identity provider: a good one opens, and no forged, foreign, stale or unsigned one does."""

import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lib.errors import CapacityError, ConfigError, ForbiddenError, UnauthorizedError
from lib.server.oidc import OidcRealm, OidcVerifier
from lib.server.roles import Role

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CLIENT = "monailabel-app"


class Provider(ThreadingHTTPServer):
    """Describes itself and publishes its key, as Keycloak does."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Pages)
        self.issuer = f"http://127.0.0.1:{self.server_address[1]}/realms/hospital"
        self.calls_itself = self.issuer


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
        pages = {
            "/realms/hospital/.well-known/openid-configuration": {
                "issuer": self.server.calls_itself,
                "jwks_uri": f"{self.server.issuer}/certs",
                "token_endpoint": f"{self.server.issuer}/token",
            },
            "/realms/hospital/certs": {"keys": [public | {"kid": "one", "alg": "RS256", "use": "sig"}]},
        }
        self.send_response(200 if self.path in pages else 404)
        self.end_headers()
        self.wfile.write(json.dumps(pages.get(self.path, {})).encode())

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def provider():
    server = Provider()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def verifier(provider):
    return OidcVerifier(OidcRealm(provider.issuer, CLIENT))


def claims_of(provider, **changed):
    claims = {
        "iss": provider.issuer,
        "aud": CLIENT,
        "sub": "4711",
        "exp": time.time() + 300,
        "preferred_username": "ann",
        "realm_access": {"roles": ["monailabel-annotator", "offline_access"]},
    }
    return {key: value for key, value in (claims | changed).items() if value is not None}


def signed(claims, key=KEY, algorithm="RS256", kid="one"):
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


def test_a_good_token_says_who_and_in_which_role(provider, verifier):
    identity = verifier.identify(signed(claims_of(provider)))
    assert (identity.name, identity.role) == ("ann", Role.ANNOTATOR)


def test_the_highest_of_several_roles_counts(provider, verifier):
    roles = {"roles": ["monailabel-user", "monailabel-admin"]}
    assert verifier.identify(signed(claims_of(provider, realm_access=roles))).role is Role.ADMIN


def test_a_client_named_as_authorised_party_is_enough(provider, verifier):
    claims = claims_of(provider, aud="account", azp=CLIENT)
    assert verifier.identify(signed(claims)).name == "ann"


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": 1_000_000_000},
        {"exp": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another-program"},
        {"aud": None},
        {"sub": None},
        {"nbf": 9_000_000_000},
    ],
)
def test_a_stale_or_foreign_token_is_refused(provider, verifier, changed):
    with pytest.raises(UnauthorizedError):
        verifier.identify(signed(claims_of(provider, **changed)))


def test_a_token_signed_with_another_key_is_refused(provider, verifier):
    with pytest.raises(UnauthorizedError):
        verifier.identify(signed(claims_of(provider), key=OTHER_KEY))


def test_a_token_without_a_signature_is_refused(provider, verifier):
    with pytest.raises(UnauthorizedError):
        verifier.identify(signed(claims_of(provider), key="", algorithm="none"))


def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(provider, verifier):
    public = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def part(document):
        return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=")

    message = part({"alg": "HS256", "kid": "one"}) + b"." + part(claims_of(provider))
    seal = base64.urlsafe_b64encode(hmac.new(public, message, hashlib.sha256).digest()).rstrip(b"=")
    with pytest.raises(UnauthorizedError):
        verifier.identify((message + b"." + seal).decode())


def test_a_changed_claim_breaks_the_signature(provider, verifier):
    head, body, seal = signed(claims_of(provider)).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["realm_access"] = {"roles": ["monailabel-admin"]}
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    with pytest.raises(UnauthorizedError):
        verifier.identify(f"{head}.{forged}.{seal}")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "medvl_something", "." * 50])
def test_what_is_no_token_is_refused(verifier, token):
    with pytest.raises(UnauthorizedError):
        verifier.identify(token)


@pytest.mark.parametrize("roles", [None, {"roles": []}, {"roles": "monailabel-admin"}, [], {"roles": [7]}])
def test_a_good_token_without_a_role_here_is_forbidden(provider, verifier, roles):
    with pytest.raises(ForbiddenError, match="no role"):
        verifier.identify(signed(claims_of(provider, realm_access=roles)))


def test_a_provider_that_does_not_answer_means_try_again():
    verifier = OidcVerifier(OidcRealm("http://127.0.0.1:9/realms/x", CLIENT, timeout_s=1.0))
    with pytest.raises(CapacityError):
        verifier.identify(signed({"sub": "x"}))


def test_a_provider_that_calls_itself_otherwise_is_not_believed(provider, verifier):
    provider.calls_itself = "https://evil.example"
    try:
        with pytest.raises(CapacityError):
            verifier.identify(signed(claims_of(provider, iss="https://evil.example")))
    finally:
        provider.calls_itself = provider.issuer


@pytest.mark.parametrize("issuer", ["http://login.example", "ftp://127.0.0.1", "", "login.example"])
def test_a_provider_that_anybody_on_the_way_could_speak_for_is_refused(issuer):
    with pytest.raises(ConfigError, match="MONAI_LABEL_AUTH_REALM_URI"):
        OidcRealm(issuer, CLIENT)
