"""Runs a command and ends every process that it leaves behind, however it ended; Linux only.

    contained.py COMMAND...

What a test starts (a PACS, a server, a browser) outlives it where a test is killed. Here all of them become
children of this program when their own parent dies, so that none escapes. A process that is left is named
and ended, and makes the status 1 even where the command's was 0. Ctrl-C and SIGTERM reach the command as
ctrl-C, for it to tidy up first.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
TIDY_UP_S = 60.0
END_S = 10.0
POLL_S = 0.1


def main(command: list[str]) -> int:
    """The command's exit status, or 1 where it left something behind."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # background jobs of a shell ignore it
    child = subprocess.Popen(command)  # noqa: S603 - what the caller asked for

    def pass_on(*_: object) -> None:
        child.send_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGHUP, pass_on)
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal has sent it to the command as well
    status = child.wait()
    left = left_behind()
    for process, name in left.items():
        print(f"left running, now ended: process {process}, {name}", file=sys.stderr)
    end(left)
    return status or (1 if left else 0)


def left_behind() -> dict[int, str]:
    """What is still there. /proc may miss processes that come and go; the system knows if there are none."""
    while _collect():
        found = descendants(os.getpid())
        if found:
            return found
        time.sleep(POLL_S)
    return {}


def descendants(ancestor: int) -> dict[int, str]:
    """Living processes below one, by number, with the beginning of their command."""
    found: dict[int, str] = {}
    frontier = [ancestor]
    while frontier:
        for child in _children(frontier.pop()):
            command = _command(child)
            if command:  # a process that has ended and waits to be collected has none
                found[child] = command
            frontier.append(child)
    return found


def end(processes: dict[int, str]) -> None:
    """Ask them to end, and make those end that do not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, number)
        deadline = time.monotonic() + END_S
        while any(map(_command, processes)) and time.monotonic() < deadline:
            _collect()
            time.sleep(POLL_S)


def _children(process: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        return [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:
        return []


def _command(process: int) -> str:
    try:
        return (
            Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120]
        )
    except OSError:
        return ""


def _collect() -> bool:
    """Children that have ended are taken off the list of processes; whether any live on."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
