"""A real server in its own process, on a free loopback port, that is gone when the block ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

from lib.errors import CapacityError

HOST = "127.0.0.1"
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 10.0
_POLL_S = 0.25


@contextmanager
def running_server(studies: Path, log: Path, conf: tuple[tuple[str, str], ...] = ()) -> Iterator[str]:
    """Start `medvl serve`, wait until it answers /info/, and stop it whatever happens in the block.

    Args:
        studies: the folder of images to serve.
        log: where the server's output goes.
        conf: settings, as `--conf KEY VALUE`.

    Yields:
        The server's address, such as http://127.0.0.1:43210.

    Raises:
        CapacityError: it did not come up; the message holds its last line.
    """
    port = free_port()
    address = f"http://{HOST}:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 (our own command, arguments are not a shell's)
            _command(studies, port, conf), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait_until_ready(process, address, log)
            yield address
        finally:
            _stop(process)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def _command(studies: Path, port: int, conf: tuple[tuple[str, str], ...]) -> list[str]:
    medvl = str(Path(sys.executable).with_name("medvl"))
    options = [word for key, value in conf for word in ("--conf", key, value)]
    return [medvl, "serve", "--studies", str(studies), "--host", HOST, "--port", str(port), *options]


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CapacityError(f"The server stopped while starting: {_last_line(log)}")
        if _answers(address):
            return
        time.sleep(_POLL_S)
    raise CapacityError(f"The server gave no answer within {START_TIMEOUT_S:.0f} s: {_last_line(log)}")


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/info/", timeout=5).ok
    except requests.RequestException:
        return False


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, and make it and whatever it started end after a while."""
    if process.poll() is None:
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
