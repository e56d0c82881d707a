"""A server started for a block is up inside it and gone after it, whatever happens."""

import socket
import sys
import time
from pathlib import Path

import pytest
import requests

from lib.cli import server_process
from lib.cli.server_process import free_port, running_server
from lib.errors import CapacityError

ANSWERING = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
FAILING = "import sys; print('first line'); sys.exit('Unknown settings; got weight.')"


@pytest.fixture
def fake_server(monkeypatch):
    """Replaces `medvl serve` by a short program."""

    def use(program: str) -> None:
        monkeypatch.setattr(
            server_process,
            "_command",
            lambda _studies, port, _conf: [sys.executable, "-c", program, str(port)],
        )

    return use


def is_listening(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(address.rsplit(":", 1)[1]))) == 0


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"  # killed, and nobody has waited for it yet


@pytest.mark.parametrize("ending", [None, RuntimeError, KeyboardInterrupt])
def test_the_server_and_its_children_are_gone_after_the_block(fake_server, tmp_path, ending):
    fake_server(ANSWERING)
    log = tmp_path / "server.log"
    seen = []

    def block() -> None:
        with running_server(tmp_path, log) as address:
            seen.append(address)
            assert requests.get(f"{address}/info/", timeout=5).ok
            if ending is not None:
                raise ending

    if ending is None:
        block()
    else:
        with pytest.raises(ending):
            block()
    assert not is_listening(seen[0])
    child = int(log.read_text().split()[1])
    deadline = time.monotonic() + 60
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def test_a_server_that_stops_while_starting_is_reported_with_its_last_line(fake_server, tmp_path):
    fake_server(FAILING)
    with (
        pytest.raises(CapacityError, match=r"stopped while starting: Unknown settings; got weight\."),
        running_server(tmp_path, tmp_path / "server.log"),
    ):
        pytest.fail("the block must not run")


def test_a_server_that_never_answers_is_stopped_after_the_limit(fake_server, tmp_path, monkeypatch):
    fake_server("import time; time.sleep(600)")
    monkeypatch.setattr(server_process, "START_TIMEOUT_S", 0.5)
    with (
        pytest.raises(CapacityError, match="no answer within"),
        running_server(tmp_path, tmp_path / "server.log"),
    ):
        pytest.fail("the block must not run")


def test_a_free_port_can_be_listened_on():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
