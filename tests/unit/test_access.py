"""The lock on the door and the bounds beside it, on a server of a few lines."""

import base64

import pytest
from fastapi import FastAPI, Request, UploadFile
from starlette.middleware.cors import CORSMiddleware
from starlette.testclient import TestClient

from lib.errors import CapacityError, UnauthorizedError
from lib.server.access import Lock, first_of, identity_of
from lib.server.limits import Limits
from lib.server.roles import Identity, Role, highest_role, needed_role

TOKENS = {role.name.lower(): Identity(role.name.title(), role) for role in Role}


def identify(token: str) -> Identity:
    if token not in TOKENS:
        raise UnauthorizedError("Not known.")
    return TOKENS[token]


def small_server(*, is_open: bool = False, origins: tuple[str, ...] = (), **limits: int) -> TestClient:
    app = FastAPI()

    @app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "DELETE"])
    async def whoever(request: Request) -> str:
        if request.method in {"POST", "PUT"} and "multipart" in request.headers.get("content-type", ""):
            form = await request.form()
            return str(sum(part.size or 0 for part in form.values() if isinstance(part, UploadFile)))
        await request.body()
        return identity_of(request).name

    app.add_middleware(Lock, identify=None if is_open else identify, other_origins=origins)
    app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["*"])
    app.add_middleware(Limits, **{"max_requests": 4, "max_bytes": 1000} | limits)
    return TestClient(app, base_url="http://medvl.example", raise_server_exceptions=False)


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {role}"}


def basic(password: str, user: str = "ann") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", "/info/", "user"),
        ("GET", "/datastore/image", "user"),
        ("POST", "/infer/interactive", "user"),
        ("POST", "/activelearning/random", "user"),
        ("PUT", "/session/", "user"),
        ("GET", "/proxy/dicom/studies", "user"),
        ("GET", "/ohif/", "user"),
        ("GET", "/docs", "user"),
        ("GET", "/train/", "user"),
        ("PUT", "/datastore/label", "annotator"),
        ("PUT", "/datastore/", "annotator"),
        ("GET", "/datastore/dataset", "annotator"),
        ("POST", "/scoring/dice", "annotator"),
        ("POST", "/proxy/dicom/studies", "annotator"),
        ("POST", "/train/medvl", "admin"),
        ("DELETE", "/train/", "admin"),
        ("POST", "/batch/infer/interactive", "admin"),
        ("DELETE", "/datastore/image", "admin"),
        ("DELETE", "/datastore/label", "admin"),
        ("PUT", "/model/interactive", "admin"),
        ("GET", "/model/interactive", "admin"),
        ("GET", "/logs/", "admin"),
        ("POST", "/reload", "admin"),
        ("POST", "/reload/", "admin"),
        ("POST", "/something-new", "admin"),
        ("PATCH", "/info/", "admin"),
    ],
)
def test_a_request_needs_its_role_and_no_lower_one_will_do(method, path, least):
    needed = needed_role(method, path)
    assert needed is Role[least.upper()]
    client = small_server()
    assert client.request(method, path).status_code == 401
    for role in Role:
        status = client.request(method, path, headers=bearer(role.name.lower())).status_code
        assert status in {200, 405} if role >= needed else status == 403, role


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/auth/"])
def test_what_tells_a_client_to_log_in_is_open(path):
    assert small_server().get(path).status_code == 200
    assert small_server().post(path).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["/auth/../train/", "//train/", "/auth/token/../../train/", "/AUTH/", "/auth/token/valid", "/%2e/"],
)
def test_no_spelling_of_a_path_gets_round_the_lock(path):
    assert small_server().post(path).status_code in {401, 404}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nobody",
        "Basic",
        "Basic nobody",
        "Basic !!!",
        "Digest admin",
        "admin",
        "Basic " + base64.b64encode(b"admin").decode(),
        "Basic " + base64.b64encode(b"admin:").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
    ],
)
def test_who_does_not_say_who_asks_in_a_known_way_stays_outside(header):
    response = small_server().get("/info/", headers={"Authorization": header})
    assert response.status_code == 401
    challenges = response.headers.get_list("www-authenticate")
    assert any(challenge.startswith("Bearer") for challenge in challenges)
    assert any(challenge.startswith("Basic") for challenge in challenges)


def test_a_browser_gives_the_token_as_a_password_which_may_hold_colons():
    TOKENS["a:b"] = Identity("Colon", Role.USER)
    assert small_server().get("/info/", headers=basic("a:b")).json() == "Colon"


def test_the_refusal_says_which_role_is_missing():
    response = small_server().post("/train/", headers=bearer("annotator"))
    assert "monailabel-admin" in response.json()["detail"]


def test_an_open_server_lets_everybody_in_as_before():
    assert small_server(is_open=True).post("/train/").json() == "operator"


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://medvl.example.evil.example"])
def test_a_page_of_another_site_changes_nothing_even_with_the_browsers_login(is_open, origin):
    client = small_server(is_open=is_open)
    response = client.post("/train/", headers=basic("admin") | {"Origin": origin})
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


def test_the_servers_own_page_and_a_named_site_may_change_things():
    client = small_server(origins=("https://viewer.example",))
    for origin in ("http://medvl.example", "https://viewer.example"):
        assert client.post("/train/", headers=basic("admin") | {"Origin": origin}).status_code == 200
    preflight = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "POST"}
    assert client.options("/train/", headers=preflight).status_code == 200


def test_the_first_way_that_knows_a_token_counts_and_trouble_of_a_way_is_not_hidden():
    def broken(token: str) -> Identity:
        raise CapacityError("The provider does not answer.")

    assert first_of(identify, broken)("admin").name == "Admin"
    with pytest.raises(CapacityError):
        first_of(identify, broken)("unknown")
    with pytest.raises(UnauthorizedError):
        first_of(identify, identify)("unknown")


def test_only_known_names_are_roles():
    assert highest_role(["monailabel-user", "monailabel-reviewer", "root", 7, None]) is Role.REVIEWER
    assert highest_role(["ADMIN", "admin"]) is None


def test_a_request_larger_than_the_bound_is_refused_by_its_announced_length():
    response = small_server(is_open=True).post("/x", content=b"x" * 1001)
    assert response.status_code == 413
    assert "max_upload_mb" in response.json()["detail"]
    assert small_server(is_open=True).post("/x", content=b"x" * 1000).status_code == 200


@pytest.mark.parametrize("length", [None, "10"])
def test_a_request_that_does_not_announce_its_length_rightly_is_refused_on_the_way(length):
    def chunks():
        for _ in range(30):
            yield b"x" * 100

    headers = {} if length is None else {"Content-Length": length}
    response = small_server(is_open=True).post("/x", content=chunks(), headers=headers)
    assert response.status_code == 413


def test_an_uploaded_file_larger_than_the_bound_is_refused():
    client = small_server(is_open=True)
    assert client.put("/x", files={"file": ("a.nii", b"x" * 900)}).status_code in {200, 413}
    assert client.put("/x", files={"file": ("a.nii", b"x" * 5000)}).status_code == 413


def test_more_requests_than_the_bound_are_told_to_come_again():
    app = Limits(_never_called, max_requests=0, max_bytes=10)
    response = TestClient(app).get("/info/")
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0


async def _never_called(scope, receive, send):
    raise AssertionError("a refused request has come through")
