"""A locked server over real HTTP: MONAI Label's own client with a token, several people, and strangers."""

import numpy as np
import pytest
import requests
from monailabel.client.client import MONAILabelClient, MONAILabelClientException

from lib.server.roles import Role
from lib.server.tokens import TokenStore
from phantoms import marker_volume
from scripted.client import infer
from scripted.process import ServerProcess
from scripted.studies import write_studies

pytestmark = pytest.mark.server

INSIDE = np.argwhere(marker_volume("LPS").marker_mask)[0].tolist()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("locked")


@pytest.fixture(scope="module")
def tokens(home):
    """Role's name to a token."""
    store = TokenStore(home / "tokens.json")
    return {role.name.lower(): store.create(role.name.title(), role)[1] for role in Role}


@pytest.fixture(scope="module")
def locked(home, tokens):
    """The address of a server that asks who one is."""
    studies = home / "studies"
    studies.mkdir()
    write_studies(studies)
    conf = ("access", "token", "token_file", str(home / "tokens.json"), "max_upload_mb", "1")
    environment = {"MONAI_LABEL_SESSION_PATH": str(home / "sessions"), "TMPDIR": str(home)}
    process = ServerProcess(studies, home / "server.log", environment, conf)
    process.start()
    yield process.address
    process.stop()


def client_with(address, token, folder):
    client = MONAILabelClient(address, tmpdir=str(folder))
    client.update_auth({"token_type": "bearer", "access_token": token})
    return client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/info/"),
        ("GET", "/datastore/?output=all"),
        ("GET", "/datastore/image?image=marker"),
        ("POST", "/infer/interactive?image=marker"),
        ("PUT", "/session/"),
        ("GET", "/ohif/"),
        ("GET", "/proxy/dicom/studies"),
        ("GET", "/openapi.json"),
        ("POST", "/reload"),
        ("DELETE", "/datastore/?id=marker"),
    ],
)
def test_without_a_token_nothing_is_shown_and_nothing_done(locked, method, path):
    reply = requests.request(method, f"{locked}{path}", timeout=60)
    assert reply.status_code == 401
    assert "Bearer" in reply.headers["www-authenticate"]


def test_the_labs_own_client_logs_in_as_slicer_does(locked, tokens, tmp_path):
    client = MONAILabelClient(locked, tmpdir=str(tmp_path))
    assert client.auth_enabled()
    with pytest.raises(MONAILabelClientException):
        client.info()
    token = client.auth_token("ann", tokens["annotator"])
    client.update_auth(token)
    assert client.auth_valid_token()
    assert "interactive" in client.info()["models"]
    with pytest.raises(MONAILabelClientException):
        client.auth_token("ann", "guessed")


def test_an_annotator_draws_and_saves_and_may_not_remove(locked, tokens, home, tmp_path):
    client = client_with(locked, tokens["annotator"], tmp_path)
    file, _ = client.infer("interactive", "marker", {"foreground": [INSIDE]})
    assert client.save_label("marker", file, params={"label_info": []})["label"] == "marker"
    assert (home / "studies" / "labels" / "final" / "marker.nii.gz").is_file()
    headers = {"Authorization": f"Bearer {tokens['annotator']}"}
    refused = requests.delete(f"{locked}/datastore/?id=marker", headers=headers, timeout=60)
    assert refused.status_code == 403
    assert "monailabel-admin" in refused.json()["detail"]


def test_a_user_draws_but_changes_no_label_by_any_way(locked, tokens, home, tmp_path):
    headers = {"Authorization": f"Bearer {tokens['user']}"}
    form = {"params": f'{{"foreground": [{INSIDE}], "save_label": true, "label_tag": "final"}}'}
    address = f"{locked}/infer/interactive?image=oblique&output=json"
    assert requests.post(address, data=form, headers=headers, timeout=60).status_code == 403
    plain = {"params": f'{{"foreground": [{INSIDE}]}}'}
    drawn = requests.post(
        f"{locked}/infer/interactive?image=marker&output=json", data=plain, headers=headers, timeout=60
    )
    assert drawn.status_code == 200, drawn.text
    client = client_with(locked, tokens["user"], tmp_path)
    with pytest.raises(MONAILabelClientException):
        client.save_label("oblique", str(home / "studies" / "oblique.nii.gz"))
    assert not (home / "studies" / "labels" / "final" / "oblique.nii.gz").exists()


def test_only_an_admin_trains_and_removes(locked, tokens):
    for role in ("user", "annotator", "reviewer"):
        headers = {"Authorization": f"Bearer {tokens[role]}"}
        assert requests.post(f"{locked}/train/", json={}, headers=headers, timeout=60).status_code == 403
    headers = {"Authorization": f"Bearer {tokens['admin']}"}
    reply = requests.delete(f"{locked}/datastore/?id=not_an_image", headers=headers, timeout=60)
    assert reply.status_code == 200, reply.text


def test_a_browser_opens_the_viewer_with_the_token_as_password(locked, tokens):
    asked = requests.get(f"{locked}/ohif/", timeout=60)
    assert "Basic" in asked.headers["www-authenticate"]
    page = requests.get(f"{locked}/ohif/", auth=("ann", tokens["user"]), timeout=60)
    assert page.status_code == 200
    assert "<html" in page.text.lower()


def test_a_revoked_token_is_refused_with_the_next_request(locked, home):
    store = TokenStore(home / "tokens.json")
    entry, token = store.create("Guest", Role.USER)
    headers = {"Authorization": f"Bearer {token}"}
    assert requests.get(f"{locked}/info/", headers=headers, timeout=60).status_code == 200
    store.revoke(entry.key)
    assert requests.get(f"{locked}/info/", headers=headers, timeout=60).status_code == 401


def test_an_upload_larger_than_the_operator_allows_is_refused(locked, tokens):
    headers = {"Authorization": f"Bearer {tokens['annotator']}"}
    files = {"file": ("big.nii", bytes(2 * 2**20))}
    reply = requests.put(f"{locked}/datastore/?image=big", files=files, headers=headers, timeout=60)
    assert reply.status_code == 413
    assert "max_upload_mb" in reply.json()["detail"]


def test_tokens_are_not_in_the_log(locked, tokens, home):
    log = (home / "server.log").read_text()
    assert not any(token in log for token in tokens.values())


def test_who_is_refused_by_the_lock_is_not_served_by_the_address_of_another_route(locked):
    assert infer(locked, foreground=[INSIDE]).status_code == 401
    for path in ("//info/", "/info/../info/", "/ohif/../info/"):
        assert requests.get(f"{locked}{path}", timeout=60).status_code == 401
