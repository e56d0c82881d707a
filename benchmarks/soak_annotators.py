"""Do several annotators at once get in each other's way?

Eight annotators work on one server for five minutes: each asks for the next sample, has an organ drawn from a
box, corrects it with a click, saves the mask, and goes on. Watched are

  errors        any answer that is not 200;
  collisions    a scan offered while somebody holds it, or after it has been saved;
  lost labels   a saved label that the server does not give back as it was sent;
  memory        resident memory of the server, every few seconds; the slope of the second half in MB a minute.

Scans are small and all different, so that the work is done anew for each. The last line is one JSON document;
with `--append FILE` it is also added to FILE. Run: `python benchmarks/soak_annotators.py --seconds 300`.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import psutil
import requests
from common import circumstances, finish

from lib.cli.server_process import running_server

SHAPE = (64, 60, 10)
BOX = [[20, 18, 2], [44, 42, 7]]
CLICK = [32, 30, 5]
TIMEOUT_S = 300
WATCH_S = 3.0


@dataclass
class Log:
    """What has happened so far; safe to use from several threads."""

    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    held: dict[str, str] = field(default_factory=dict)
    saved: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    collisions: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    memory_mb: list[tuple[float, float]] = field(default_factory=list)

    def take(self, annotator: str, image: str) -> None:
        """Note that somebody has been given a scan."""
        with self.lock:
            other = self.held.get(image)
            if other is not None:
                self.collisions.append(f"{image}: {other} and {annotator}")
            self.held[image] = annotator

    def put(self, image: str, content: bytes) -> None:
        """Note that a label is about to be saved; nobody should be offered the scan any more."""
        with self.lock:
            self.saved[image] = hashlib.sha256(content).hexdigest()

    def release(self, image: str) -> None:
        """Note that somebody gives a scan back undone."""
        with self.lock:
            self.held.pop(image, None)


def write_scans(folder: Path, count: int) -> None:
    """Small scans with one bright body each, no two alike."""
    rng = np.random.default_rng(0)
    i, j, k = np.indices(SHAPE)
    for number in range(count):
        radius = rng.uniform(8, 12)
        distance = np.sqrt((i - 32) ** 2 + (j - 30) ** 2 + (2.5 * (k - 5)) ** 2)
        hu = np.where(distance < radius, 80, -60) + rng.normal(0, 8, SHAPE)
        image = nibabel.Nifti1Image(hu.astype(np.int16), np.diag([1.5, 1.5, 4.0, 1.0]))
        nibabel.save(image, folder / f"scan{number:04d}.nii.gz")


def annotate(address: str, name: str, log: Log) -> None:
    """One annotator, until told to stop, or until nothing is left to do."""
    with requests.Session() as session:
        while not log.stop.is_set():
            try:
                if not one_scan(session, address, name, log):
                    return
            except (requests.RequestException, ValueError) as error:
                if not log.stop.is_set():
                    log.errors.append(f"{name}: {type(error).__name__} {error}"[:300])


def one_scan(session: requests.Session, address: str, name: str, log: Log) -> bool:
    """Next sample, two inferences, save; False if there is no scan left."""
    asked = {"client_id": name}
    reply = session.post(f"{address}/activelearning/random", json=asked, timeout=TIMEOUT_S)
    reply.raise_for_status()
    image = reply.json().get("id")
    if not image:
        log.counts["nothing left"] += 1
        return False
    log.take(name, image)
    prompts = {"box": BOX, "label": "organ", "client_id": name, "result_extension": ".nii.gz"}
    for options in (prompts, {**prompts, "foreground": [CLICK]}):
        drawn = session.post(
            f"{address}/infer/interactive",
            params={"image": image, "output": "image"},
            data={"params": json.dumps(options)},
            timeout=TIMEOUT_S,
        )
        if drawn.status_code == 503:
            log.counts["told to come again"] += 1
            time.sleep(float(drawn.headers.get("Retry-After", "1")))
            log.release(image)
            return True
        drawn.raise_for_status()
        log.counts["inferences"] += 1
    log.put(image, drawn.content)
    note = json.dumps({"label_info": [{"name": "organ", "idx": 1}], "client_id": name})
    kept = session.put(
        f"{address}/datastore/label",
        params={"image": image},
        data={"params": note},
        files={"label": (f"{image}.nii.gz", drawn.content)},
        timeout=TIMEOUT_S,
    )
    kept.raise_for_status()
    log.counts["saved"] += 1
    return True


def watch(port: int, log: Log) -> None:
    """Resident memory of the server and its children, until told to stop."""
    begun = time.monotonic()
    process = next(
        psutil.Process(connection.pid)
        for connection in psutil.net_connections("tcp")
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN and connection.pid
    )
    while not log.stop.wait(WATCH_S):
        family = [process, *process.children(recursive=True)]
        resident = sum(one.memory_info().rss for one in family if one.is_running())
        log.memory_mb.append((time.monotonic() - begun, resident / 2**20))


def lost_labels(address: str, log: Log) -> list[str]:
    """Saved labels that do not come back as they were sent."""
    lost = []
    for image, sha256 in log.saved.items():
        query = {"label": image, "tag": "final"}
        reply = requests.get(f"{address}/datastore/label", params=query, timeout=TIMEOUT_S)
        if not reply.ok or hashlib.sha256(reply.content).hexdigest() != sha256:
            lost.append(image)
    return lost


def slope_mb_per_minute(samples: list[tuple[float, float]]) -> float | None:
    """Of the second half, when caches have been filled; None if there are too few samples."""
    later = samples[len(samples) // 2 :]
    if len(later) < 5:
        return None
    seconds, megabytes = np.array(later).T
    return round(float(np.polyfit(seconds, megabytes, 1)[0]) * 60, 2)


def soak(annotators: int, seconds: float, scans: int, conf: tuple[tuple[str, str], ...]) -> dict:
    """Run the server and the annotators, and return what was found."""
    log = Log()
    with tempfile.TemporaryDirectory(prefix="medvl-soak-") as folder:
        studies = Path(folder) / "studies"
        studies.mkdir()
        write_scans(studies, scans)
        with running_server(studies, Path(folder) / "server.log", conf) as address:
            port = int(address.rsplit(":", 1)[-1])
            people = [
                threading.Thread(target=annotate, args=(address, f"annotator{number}", log))
                for number in range(annotators)
            ]
            watcher = threading.Thread(target=watch, args=(port, log))
            for thread in (watcher, *people):
                thread.start()
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and any(person.is_alive() for person in people):
                time.sleep(0.5)
            log.stop.set()
            for thread in (watcher, *people):
                thread.join()
            lost = lost_labels(address, log)
    return {
        "annotators": annotators,
        "seconds": seconds,
        **{name.replace(" ", "_"): count for name, count in log.counts.items()},
        "distinct_labels": len(log.saved),
        "lost_labels": lost,
        "collisions": log.collisions,
        "errors": log.errors,
        "memory_first_mb": round(log.memory_mb[0][1]) if log.memory_mb else None,
        "memory_last_mb": round(log.memory_mb[-1][1]) if log.memory_mb else None,
        "memory_slope_mb_per_minute": slope_mb_per_minute(log.memory_mb),
    }


def main() -> int:
    """Soak and print; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--annotators", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--scans", type=int, default=600)
    parser.add_argument("--conf", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"))
    parser.add_argument("--append", type=Path)
    arguments = parser.parse_args()
    conf = (("cache_mb", "64"), ("volume_cache_mb", "16"), *map(tuple, arguments.conf))
    found = soak(arguments.annotators, arguments.seconds, arguments.scans, conf)
    finish(circumstances("soak_annotators") | found, arguments.append)
    return int(bool(found["errors"] or found["collisions"] or found["lost_labels"]))


if __name__ == "__main__":
    sys.exit(main())
