"""Does the server still answer while it segments?

Viewers ask /info/ when they connect, whenever a user opens the panel, and some of them every few seconds.
MONAI Label's own endpoint runs inference on the event loop, so that /info/ waits until a mask is done, which
takes seconds to minutes. MedVL runs inference beside the loop. This script measures what is left of the
effect, in one run on one server: the time from sending GET /info/ to its last byte,

  idle   nothing else happens;
  busy   four users, each on a scan of their own, segment an organ from a 3D box, over and over. The scans are
         four slightly different copies of the sample CT, so that no user finds another's embeddings and the
         slices are encoded while we measure, which is the heaviest work there is.

Latencies are in milliseconds: p50, p95, p99 and the worst. The last line is one JSON document; with `--append
FILE` it is also added to FILE. Run: `make bench`.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import requests
from common import circumstances, finish
from rich.console import Console
from rich.table import Table

from lib.cli.sample_data import CACHE, fetch_sample_data, load_sample_data
from lib.cli.server_process import running_server
from lib.train.label_names import totalsegmentator_names

USERS = 4
PAUSE_S = 0.05
PERCENTILES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}


@dataclass
class Load:
    """What the users have done so far; `stop` ends them after their present request."""

    stop: threading.Event = field(default_factory=threading.Event)
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def write_scans(folder: Path) -> None:
    """Four copies of the sample CT that differ in one voxel, so that their embeddings are not shared."""
    data = load_sample_data()
    fetch_sample_data(data)
    image = nibabel.load(CACHE / data.image)
    for user in range(USERS):
        voxels = np.asarray(image.dataobj).copy()
        voxels[0, 0, 0] += user
        nibabel.save(nibabel.Nifti1Image(voxels, image.affine), folder / f"user{user}.nii.gz")


def boxes() -> list[list[list[int]]]:
    """The tight box of one organ for each user."""
    data = load_sample_data()
    label_map = np.asarray(nibabel.load(CACHE / data.labels).dataobj)
    values = {name: value for value, name in totalsegmentator_names().items()}
    inside = [np.argwhere(label_map == values[organ]) for organ in data.organs[:USERS]]
    return [[points.min(axis=0).tolist(), points.max(axis=0).tolist()] for points in inside]


def segment_repeatedly(address: str, user: int, box: list[list[int]], load: Load) -> None:
    """One user: sends the same box until told to stop."""
    while not load.stop.is_set():
        started = time.perf_counter()
        failure = send_box(address, user, box)
        if load.stop.is_set():  # the server is going down, whatever came back
            return
        if failure:
            load.failures.append(failure)
            return
        load.seconds.append(time.perf_counter() - started)


def send_box(address: str, user: int, box: list[list[int]]) -> str:
    """One request; what went wrong, or nothing."""
    try:
        reply = requests.post(
            f"{address}/infer/interactive",
            params={"image": f"user{user}", "output": "image"},
            data={"params": json.dumps({"box": box, "label": "organ"})},
            timeout=600,
        )
    except requests.RequestException as error:
        return str(error)
    return "" if reply.ok else f"{reply.status_code} {reply.text[:200]}"


def info_latencies_ms(address: str, seconds: float) -> list[float]:
    """GET /info/ again and again for a while, with a short pause between."""
    latencies = []
    deadline = time.monotonic() + seconds
    with requests.Session() as session:
        while time.monotonic() < deadline:
            started = time.perf_counter()
            session.get(f"{address}/info/", timeout=120).raise_for_status()
            latencies.append((time.perf_counter() - started) * 1000)
            time.sleep(PAUSE_S)
    return latencies


def measure(seconds: float) -> dict:
    """Run the server, measure idle and busy, and return what was found."""
    with tempfile.TemporaryDirectory(prefix="medvl-bench-") as folder:
        write_scans(Path(folder))
        conf = (("max_concurrent_inferences", str(USERS)),)
        with running_server(Path(folder), Path(folder) / "server.log", conf) as address:
            info_latencies_ms(address, 1.0)  # the first answers pay for imports
            idle = info_latencies_ms(address, seconds)
            load = Load()
            for user, box in enumerate(boxes()):
                threading.Thread(
                    target=segment_repeatedly, args=(address, user, box, load), daemon=True
                ).start()
            time.sleep(1.0)
            busy = info_latencies_ms(address, seconds)
            load.stop.set()
    return {
        "idle_ms": summary(idle),
        "busy_ms": summary(busy),
        "users": USERS,
        "inferences_finished": len(load.seconds),
        "inference_failures": load.failures,
    }


def summary(latencies_ms: list[float]) -> dict[str, float]:
    """Percentiles and the number of measurements."""
    found = {
        name: round(float(np.percentile(latencies_ms, percent)), 1) for name, percent in PERCENTILES.items()
    }
    return {**found, "requests": len(latencies_ms)}


def print_table(results: dict, console: Console) -> None:
    """The figures for people."""
    table = Table(title="GET /info/, milliseconds")
    for heading in ("", *PERCENTILES, "requests"):
        table.add_column(heading, justify="right")
    for name in ("idle", "busy"):
        table.add_row(name, *(str(value) for value in results[f"{name}_ms"].values()))
    console.print(table)
    console.print(
        f"{results['users']} users segmented throughout; {results['inferences_finished']} masks finished."
    )


def main() -> None:
    """Measure, print a table and one line of JSON; exit 1 if a segmentation failed."""
    parser = argparse.ArgumentParser(description="Latency of /info/ while the server segments.")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to measure, idle and busy each")
    parser.add_argument("--append", type=Path, help="a file to which the JSON line is added")
    options = parser.parse_args()
    results = circumstances("server") | measure(options.seconds)
    print_table(results, Console())
    finish(results, options.append)
    if results["inference_failures"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
