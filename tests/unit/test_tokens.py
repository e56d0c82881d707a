"""Tokens: only hashes are kept, for the owner's eyes, and a revoked or expired one opens nothing."""

import json
import stat

import pytest
from typer.testing import CliRunner

from lib.cli.token import app
from lib.errors import ConfigError, InputError, NotFoundError
from lib.server import tokens
from lib.server.roles import Role
from lib.server.tokens import PREFIX, TokenStore, role_from_text


@pytest.fixture
def store(tmp_path):
    return TokenStore(tmp_path / "private" / "tokens.json")


def test_a_token_says_whose_it_is_and_its_text_is_not_kept(store, tmp_path):
    _, token = store.create("Ann", Role.ANNOTATOR)
    identity = store.identify(token)
    assert (identity.name, identity.role) == ("Ann", Role.ANNOTATOR)
    kept = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert token not in kept
    assert token.removeprefix(PREFIX) not in kept


def test_the_file_is_the_owners_alone_and_one_that_is_not_is_refused(store, tmp_path):
    _, token = store.create("Ann", Role.USER)
    path = tmp_path / "private" / "tokens.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        store.identify(token)


def test_two_tokens_are_never_alike_and_have_256_bits(store):
    made = {store.create("Ann", Role.USER)[1] for _ in range(20)}
    assert len(made) == 20
    assert all(len(token.removeprefix(PREFIX)) >= 43 for token in made)


def test_a_revoked_token_opens_nothing_for_a_server_that_runs(store, tmp_path):
    entry, token = store.create("Ann", Role.ADMIN)
    _, other = store.create("Bob", Role.USER)
    of_the_server = TokenStore(tmp_path / "private" / "tokens.json")
    assert of_the_server.identify(token) is not None
    store.revoke(entry.key)
    assert of_the_server.identify(token) is None
    assert of_the_server.identify(other).name == "Bob"


def test_an_expired_token_opens_nothing(store, monkeypatch):
    _, token = store.create("Ann", Role.USER, days=2.0)
    now = tokens.time.time()
    assert store.identify(token) is not None
    monkeypatch.setattr(tokens.time, "time", lambda: now + 2 * 86_400 + 1)
    assert store.identify(token) is None


@pytest.mark.parametrize("wrong", ["", "medvl_", "medvl_wrong", "x" * 10_000, "\ud800"])
def test_a_wrong_token_is_nobodys(store, wrong):
    store.create("Ann", Role.USER)
    assert store.identify(wrong) is None


def test_a_hash_from_the_file_is_no_token(store, tmp_path):
    store.create("Ann", Role.USER)
    document = json.loads((tmp_path / "private" / "tokens.json").read_text())
    assert store.identify(document["tokens"][0]["sha256"]) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"tokens": [{"key": "x"}]}', '{"tokens": 7}'])
def test_a_damaged_file_is_refused_and_opens_nothing(store, tmp_path, content):
    _, token = store.create("Ann", Role.USER)
    path = tmp_path / "private" / "tokens.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="medvl token"):
        store.identify(token)


def test_a_role_raised_by_hand_to_one_that_is_none_is_refused(store, tmp_path):
    store.create("Ann", Role.USER)
    path = tmp_path / "private" / "tokens.json"
    path.write_text(path.read_text().replace('"user"', '"root"'))
    with pytest.raises(ConfigError):
        store.entries()


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 81])
def test_a_name_that_would_spoil_the_log_is_refused(store, name):
    with pytest.raises(InputError, match="name"):
        store.create(name, Role.USER)


@pytest.mark.parametrize("days", [0.0, -1.0, float("nan"), 1e9])
def test_a_time_that_is_over_at_once_is_refused(store, days):
    with pytest.raises(InputError, match="days"):
        store.create("Ann", Role.USER, days)


def test_an_unknown_role_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="user, annotator, reviewer, admin"):
        role_from_text("root")


def test_revoking_what_is_not_there_is_refused(store):
    with pytest.raises(NotFoundError, match="medvl token list"):
        store.revoke("nothing")


def test_the_command_makes_lists_and_revokes(tmp_path):
    file = str(tmp_path / "tokens.json")
    runner = CliRunner()
    made = runner.invoke(app, ["create", "Ann", "--role", "admin", "--file", file])
    token = made.stdout.strip().splitlines()[-1]
    assert TokenStore(tmp_path / "tokens.json").identify(token).role is Role.ADMIN
    listed = runner.invoke(app, ["list", "--file", file]).stdout
    assert "Ann" in listed
    assert token not in listed
    key = TokenStore(tmp_path / "tokens.json").entries()[0].key
    assert runner.invoke(app, ["revoke", key, "--file", file]).exit_code == 0
    assert TokenStore(tmp_path / "tokens.json").identify(token) is None
