"""How long one waits for an answer in words.

A real server and the sample CT (trunk, 3 mm). Each request twice: on a scan that the server has not seen, a
copy of the sample CT that differs in one voxel, and again, or another one of its kind, on the same scan, when
its slices are embedded:

  sentence   "the liver and the spleen", then "both kidneys" about the same scan;
  question   "Which kidney is larger?", then "Is the gallbladder larger than 10 ml?";
  report     of all structures, then again.

The last line is one JSON document; with `--append FILE` it is also added to FILE.
"""

import argparse
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
from common import circumstances, finish
from monailabel.client import MONAILabelClient
from rich.console import Console
from rich.table import Table

from lib.cli.sample_data import CACHE, fetch_sample_data, load_sample_data
from lib.cli.server_process import running_server

REQUESTS: dict[str, tuple[str, list[dict[str, str]]]] = {
    "sentence": ("referring", [{"text": "the liver and the spleen"}, {"text": "both kidneys"}]),
    "question": (
        "vqa",
        [{"question": "Which kidney is larger?"}, {"question": "Is the gallbladder larger than 10 ml?"}],
    ),
    "report": ("report", [{}, {}]),
}


def write_copies(folder: Path) -> None:
    """A copy of the sample CT for each kind of request, so that none finds another's embeddings."""
    data = load_sample_data()
    fetch_sample_data(data)
    image = nibabel.load(CACHE / data.image)
    for number, name in enumerate(REQUESTS):
        voxels = np.asarray(image.dataobj).copy()
        voxels[0, 0, 0] += number
        nibabel.save(nibabel.Nifti1Image(voxels, image.affine), folder / f"{name}.nii.gz")


def measure(client: MONAILabelClient, name: str) -> dict[str, float]:
    """Seconds of the first request on a scan and of the next one."""
    model, requests = REQUESTS[name]
    taken = []
    for params in requests:
        started = time.perf_counter()
        file, _ = client.infer(model, name, dict(params))
        taken.append(round(time.perf_counter() - started, 2))
        Path(file).unlink()
    return {"cold_s": taken[0], "warm_s": taken[1]}


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=list(REQUESTS), help="only these; default: all")
    parser.add_argument("--append", type=Path, help="a file to which the JSON line is added")
    options = parser.parse_args()
    results = circumstances("words")
    with tempfile.TemporaryDirectory(prefix="medvl-bench-") as name:
        studies = Path(name) / "studies"
        studies.mkdir()
        write_copies(studies)
        with running_server(studies, Path(name) / "server.log") as address:
            client = MONAILabelClient(address)
            results["seconds"] = {kind: measure(client, kind) for kind in options.only or REQUESTS}
    table = Table("asked", "first, s", "then, s", title="answers in words")
    for kind, seconds in results["seconds"].items():
        table.add_row(kind, *(f"{value:.2f}" for value in seconds.values()))
    Console().print(table)
    finish(results, options.append)


if __name__ == "__main__":
    main()
