"""What every benchmark says: its circumstances, and its results as one line of JSON."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path


def circumstances(benchmark: str) -> dict:
    """What the figures depend on.

    Args:
        benchmark: its name.
    """
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "benchmark": benchmark,
        "commit": commit,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_before": [round(load, 1) for load in os.getloadavg()],
    }


def finish(results: dict, append_to: Path | None) -> None:
    """Print the results as one line of JSON, last, and add them to a file.

    Args:
        results: all figures.
        append_to: the file; None: none.
    """
    line = json.dumps(results, separators=(",", ":"))
    if append_to is not None:
        append_to.parent.mkdir(parents=True, exist_ok=True)
        with append_to.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    print(line)
