"""What `make test-clients` runs under: nothing outlives it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY

TOOL = REPOSITORY / "tools" / "contained.py"
ORPHAN = "import subprocess, sys; print(subprocess.Popen(['sleep', '300'], start_new_session=True).pid)"


def is_running(process: int) -> bool:
    try:
        return b"sleep" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def contained(code: str) -> list[str]:
    return [sys.executable, str(TOOL), sys.executable, "-c", code]


def test_a_process_in_a_session_of_its_own_is_named_and_ended():
    ran = subprocess.run(contained(ORPHAN), capture_output=True, text=True, timeout=60, check=False)
    orphan = int(ran.stdout)
    assert ran.returncode == 1
    assert f"process {orphan}, sleep 300" in ran.stderr
    assert not is_running(orphan)


@pytest.mark.parametrize("status", [0, 3])
def test_a_command_that_tidies_up_keeps_its_status(status):
    ran = subprocess.run(contained(f"raise SystemExit({status})"), timeout=60, check=False)
    assert ran.returncode == status


def test_sigterm_lets_the_command_tidy_up_and_takes_what_it_forgot():
    code = (
        f"import time\ntry:\n    {ORPHAN}; sys.stdout.flush(); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('tidied up')\n"
    )
    started = subprocess.Popen(contained(code), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    orphan = int(started.stdout.readline())
    os.kill(started.pid, signal.SIGTERM)
    assert started.stdout.read().strip() == "tidied up"
    assert started.wait(timeout=60) == 1
    assert not is_running(orphan)
