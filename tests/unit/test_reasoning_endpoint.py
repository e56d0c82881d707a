"""A chat model over HTTP, spoken to through a real server: what is sent, and what each failure says."""

import json
import logging
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lib.errors import CapacityError, ConfigError, InputError, MedVLError, NotFoundError, UnauthorizedError
from lib.train.reasoning.endpoint import KEY_VARIABLE, Endpoint, endpoint_from_environment

KEY = "sk-not-for-logs-4711"


def chat(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


@contextmanager
def serving(*answers):
    """A server that gives these answers in turn, and the last one for ever."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, dict(self.headers), body))
            status, content, headers, delay_s = answers[min(len(seen), len(answers)) - 1]
            time.sleep(delay_s)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(status=200, content=None, headers=None, delay_s=0.0):
    return status, chat("Fine.") if content is None else content, headers or {}, delay_s


def endpoint(url, **options):
    return Endpoint(url, "big-model", KEY, **{"timeout_s": 5.0, "wait_s": 0.01, **options})


def test_a_message_is_sent_as_a_chat_and_its_text_comes_back():
    with serving(answer(content=chat(" The mass is large. "))) as (url, seen):
        assert endpoint(url).write("Say this.", 0.3, 7) == "The mass is large."
    path, headers, body = seen[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body["model"] == "big-model"
    assert body["messages"] == [{"role": "user", "content": "Say this."}]
    assert (body["temperature"], body["seed"]) == (0.3, 7)


def test_a_busy_endpoint_is_asked_again():
    busy = answer(429, b"", {"Retry-After": "0"})
    with serving(busy, busy, answer()) as (url, seen):
        assert endpoint(url).write("Say this.", 0.3, 7) == "Fine."
        assert len(seen) == 3


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (answer(401, b'{"error": "bad key sk-not-for-logs-4711"}'), UnauthorizedError, KEY_VARIABLE),
        (answer(404, b""), NotFoundError, "knows no model 'big-model'"),
        (answer(500, b"boom"), CapacityError, "failed .500."),
        (answer(503, b"", {"Retry-After": "0"}), CapacityError, "busy .503. after 3 tries"),
        (answer(302, b"", {"Location": "http://127.0.0.1:9/elsewhere"}), MedVLError, "request .302."),
        (answer(content=b"<html>hello</html>"), InputError, "no chat completion"),
        (answer(content=b'{"choices": []}'), InputError, "no chat completion"),
        (answer(content=b'{"choices": [{"message": {"content": null}}]}'), InputError, "holds no text"),
        (answer(content=b"[" * 2_000_000), InputError, "longer than"),
    ],
    ids=["401", "404", "500", "503", "redirect", "html", "empty", "null", "huge"],
)
def test_a_failure_is_one_clear_sentence_without_the_key(reply, error, says, caplog):
    caplog.set_level(logging.DEBUG)
    with serving(reply) as (url, _), pytest.raises(error, match=says) as raised:
        endpoint(url).write("Say this.", 0.3, 7)
    assert "\n" not in str(raised.value)
    assert KEY not in str(raised.value) + caplog.text


def test_an_endpoint_that_does_not_answer_in_time_and_one_that_is_not_there():
    with (
        serving(answer(delay_s=0.6)) as (url, _),
        pytest.raises(CapacityError, match=r"no answer within 0\.2 s"),
    ):
        endpoint(url, timeout_s=0.2).write("Say this.", 0.3, 7)
    with pytest.raises(CapacityError, match="cannot be reached"):
        endpoint(url).write("Say this.", 0.3, 7)


@pytest.mark.parametrize(
    "url", ["ftp://host/v1", "host/v1", "https://user:secret@host/v1", "https://h/v1?key=1"]
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url):
    with pytest.raises(ConfigError, match="must be an address") as raised:
        Endpoint(url, "m", None)
    assert "secret" not in str(raised.value)


def test_a_key_is_not_sent_in_clear_to_another_machine():
    with pytest.raises(ConfigError, match=r"not sent to models\.example in clear") as raised:
        Endpoint("http://models.example/v1", "m", KEY)
    assert KEY not in str(raised.value)
    Endpoint("http://models.example/v1", "m", None)
    Endpoint("https://models.example/v1", "m", KEY)


def test_the_key_comes_from_the_environment_and_is_not_shown(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    made = endpoint_from_environment("https://models.example/v1", "m", 5.0)
    assert made.key == KEY
    assert KEY not in repr(made)
    monkeypatch.delenv(KEY_VARIABLE)
    assert endpoint_from_environment("https://models.example/v1", "m", 5.0).key is None
    with pytest.raises(ConfigError, match="--endpoint-model"):
        endpoint_from_environment("https://models.example/v1", None, 5.0)
