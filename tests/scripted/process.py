"""The scripted server as a process of its own, over real HTTP."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import requests

from lib.cli.server_process import free_port

TESTS = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 280


@dataclass
class ServerProcess:
    """A server that can be started, killed and started again on the same studies."""

    studies: Path
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    conf: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "scripted.serve", str(self.studies), str(self.port), *self.conf]

    def start(self) -> None:
        path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command(),
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": path} | self.environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.is_answering():
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.2)

    def is_answering(self) -> bool:
        try:
            return requests.get(f"{self.address}/info/", timeout=5).status_code in {200, 401}
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """kill -9: nothing is cleaned up."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()
