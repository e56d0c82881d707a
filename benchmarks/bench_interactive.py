"""How long does an annotator wait, and for what? Three systems, one CT of 512 x 512 x 32 voxels, one run.

  medvl        our `interactive` with the default weights
  hiera        our `interactive` with SAM2.1's Hiera-T
  sam_3d       MONAI Label's own (`monailabel.sam2.infer.Sam2InferTask`) with the same Hiera-T

Each runs in a process of its own and is asked as the server asks it, from the request to the written mask:

  ready_s          until it could answer; sam_3d builds its network with the first click, which counts there
  first_visible_s  a click on a slice of a scan that it has not seen, until a mask of that slice is there;
                   sam_3d shows nothing before it has done the whole scan
  first_click_s    the same until all slices are done
  later_click_s    one more click, on another slice, that the mask does not agree with; the median of several
  peak_mb          the largest memory of the process

The first click is on the first slice, because sam_3d follows an object forward only: so both have the same
way. Hiera-T's weights are random, since none can be fetched everywhere; its speed does not depend on them,
but how far a mask is followed does: for `hiera`, whatever the decoder drew is replaced by a disc after it was
computed. The CT is the sample CT, interpolated.

In the same run, with the default weights: `organ`, the liver interpolated to 40 slices, from a 3D box on a
scan not seen before; and `tall`, a box of six slices in 512 x 512 x 600 with a cache of 64 MB, for its peak
memory.

`--slices N ...` and `--users N ...` measure instead how the default weights' cost grows with either. The last
line is one JSON document; with `--append FILE` it is also added to FILE. Run: `make bench`.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import nibabel
import numpy as np
import torch
from common import circumstances, finish
from rich.console import Console
from rich.table import Table
from scans import Stack, click_in, write_copy, write_noise, write_scan, wrong_click

from lib.configs import interactive_task
from lib.infers.interactive import InteractiveTask, Segments
from lib.model.build import build_sam2
from lib.model.config import load_segmenter_config
from lib.model.volume_segmenter import SliceOutput, VolumeSegmenter
from lib.model.weights import default_name, default_weights_dir
from lib.predict import load_predictor
from lib.predict.scan import EmbeddingCache
from lib.predict.segment import Predictor
from lib.response import ModelCard
from lib.settings import Settings

SLICES = 32
ORGAN_SLICES = 40
TALL_SLICES = 600
LATER_CLICKS = 3
SHARE = 0.6
"""Of the liver's height, so that every slice of the 32 shows much of it."""
HIERA = "sam2.1-hiera-tiny"
MEGABYTE = 2**20
SYSTEMS = ("medvl", "hiera", "sam_3d", "organ", "tall")
LIMIT_S = 1800


def peak_mb() -> float:
    """The largest memory of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0)


def seconds_of(action: Callable[[], object]) -> float:
    """How long something takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


class FollowsAlways(VolumeSegmenter):
    """Computes everything, then shows a disc, so that random weights do not lose the object."""

    def _shown(self, output: SliceOutput) -> SliceOutput:
        size = output.mask_logits.shape[-1]
        rows, cols = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        disc = 10.0 - 0.5 * ((rows - size / 2) ** 2 + (cols - size / 2) ** 2).sqrt()
        present = None if output.object_logit is None else torch.ones_like(output.object_logit)
        logits = disc.expand_as(output.mask_logits)
        return replace(output, mask_logits=logits, iou=torch.ones(1), object_logit=present)

    def decode(self, *arguments: object) -> SliceOutput:
        """As the network does, but for what is drawn."""
        return self._shown(super().decode(*arguments))

    def follow(self, *arguments: object, **options: object) -> SliceOutput:
        """As the network does, but for what is drawn."""
        return self._shown(super().follow(*arguments, **options))


def hiera_predictor() -> Segments:
    """Ours, around Hiera-T with random weights."""
    config = load_segmenter_config(HIERA)
    segmenter = FollowsAlways(build_sam2(config), config, "random", torch.device("cpu"))
    return Predictor(segmenter, EmbeddingCache(2048 * MEGABYTE))


def default_predictor(cache_mb: int = 2048) -> Segments:
    """Ours with the default weights, nothing kept on disk."""
    return load_predictor(default_name(), default_weights_dir(), "cpu", cache_mb * MEGABYTE)


def ours(predictor: Segments, folder: Path) -> InteractiveTask:
    """The task around a predictor, as the server has it."""
    return interactive_task(Settings(), lambda: [folder], lambda: predictor, ModelCard("benchmark", "0" * 64))


def ask(task: Callable, image: Path, **options: object) -> Path:
    """One request; the file of its mask."""
    path, _ = task({"image": str(image), "model": "interactive"} | options)
    return Path(path)


def drawn_in(path: Path) -> np.ndarray:
    """The mask in a file, and the file away."""
    drawn = np.asarray(nibabel.load(path).dataobj) > 0
    path.unlink()
    return drawn


def measure_ours(make: Callable[[], Segments], folder: Path) -> dict:
    """One scan, its first click and some later ones."""
    images = [folder / "one.nii", folder / "two.nii"]
    mask = np.load(folder / "one.npy")
    started = time.perf_counter()
    task = ours(make(), folder)
    ready_s = time.perf_counter() - started
    asked = {"foreground": [click_in(mask, 0)], "client_id": "annotator"}
    visible_s = seconds_of(lambda: ask(task, images[0], **asked, propagation="none").unlink())
    started = time.perf_counter()
    path = ask(task, images[1], **asked)
    first_s = time.perf_counter() - started
    drawn = drawn_in(path)
    reached = np.flatnonzero(drawn.any(axis=(0, 1)))
    wrong, later_s = [], []
    for index in np.linspace(reached[0], reached[-1], LATER_CLICKS + 2).astype(int)[1:-1]:
        wrong.append(wrong_click(drawn, index))
        started = time.perf_counter()
        path = ask(task, images[1], **asked, background=wrong)
        later_s.append(time.perf_counter() - started)
        drawn = drawn_in(path)
    return {
        "ready_s": ready_s,
        "first_visible_s": visible_s,
        "first_click_s": first_s,
        "later_click_s": statistics.median(later_s),
        "slices_drawn": len(reached),
        "peak_mb": peak_mb(),
    }


def measure_sam_3d(folder: Path) -> dict:
    """MONAI Label's own task on the same scan, with a checkpoint and configuration made for it."""
    os.environ["MONAI_LABEL_DATASTORE_CACHE_PATH"] = str(folder / "cache")  # it empties its cache at import
    weights, description = folder / "hiera.pt", folder / "sam2.1_hiera_t.yaml"
    os.environ["MONAI_SAM_MODEL_PT"] = f"file:///{weights.name}"
    os.environ["MONAI_SAM_MODEL_CFG"] = f"file:///{description.name}"
    torch.save({"model": build_sam2(load_segmenter_config(HIERA)).state_dict()}, weights)
    packaged = resources.files("sam2") / "configs" / "sam2.1" / "sam2.1_hiera_t.yaml"
    description.write_text(packaged.read_text(encoding="utf-8"), encoding="utf-8")
    mask = np.load(folder / "one.npy")
    from monailabel.interfaces.tasks.infer_v2 import InferType  # noqa: PLC0415 - reads the environment
    from monailabel.sam2.infer import Sam2InferTask  # noqa: PLC0415

    task = Sam2InferTask(model_dir=str(folder), type=InferType.DEEPGROW, dimension=3)
    clicks = [click_in(mask, 0), click_in(mask, mask.shape[2] // 2)]
    request = {"image": str(folder / "one.nii"), "device": "cpu", "result_extension": ".nii.gz"}
    first_s = seconds_of(lambda: task({**request, "foreground": clicks[:1]}))
    later_s = seconds_of(lambda: task({**request, "foreground": clicks}))
    return {
        "ready_s": 0.0,
        "first_visible_s": first_s,
        "first_click_s": first_s,
        "later_click_s": later_s,
        "peak_mb": peak_mb(),
    }


def measure_organ(folder: Path) -> dict:
    """An organ on 40 slices from a 3D box, on a scan not seen before; the mask's Dice too."""
    image, mask = folder / "one.nii", np.load(folder / "one.npy")
    inside = np.argwhere(mask)
    box = [inside.min(axis=0).tolist(), inside.max(axis=0).tolist()]
    task = ours(default_predictor(), folder)
    started = time.perf_counter()
    path = ask(task, image, box=box)
    cold_s = time.perf_counter() - started
    drawn = drawn_in(path)
    overlap = 2 * (drawn & mask).sum() / (drawn.sum() + mask.sum())
    warm_s = seconds_of(lambda: ask(task, image, box=box).unlink())
    return {"cold_s": cold_s, "warm_s": warm_s, "dice_silver": float(overlap), "peak_mb": peak_mb()}


def measure_tall(folder: Path) -> dict:
    """Six slices of a scan of 600, with a small cache."""
    task = ours(default_predictor(cache_mb=64), folder)
    before_mb = peak_mb()
    box = [[205, 205, 295], [295, 295, 300]]
    taken_s = seconds_of(lambda: ask(task, folder / "one.nii", box=box).unlink())
    return {"seconds": taken_s, "peak_mb_before": before_mb, "peak_mb": peak_mb()}


def measure_users(counts: list[int], folder: Path) -> dict:
    """Users who correct at the same time, each a scan of his own that has been embedded."""
    mask = np.load(folder / "one.npy")
    task = ours(default_predictor(), folder)
    first = {"foreground": [click_in(mask, 0)]}
    found = {}
    for user in range(max(counts)):
        write_copy(folder / "one.nii", folder / f"{user}.nii", user + 1)
        drawn = drawn_in(ask(task, folder / f"{user}.nii", **first))
    wrong = wrong_click(drawn, int(np.flatnonzero(drawn.any(axis=(0, 1))).mean()))
    for count in counts:
        taken_s: list[float] = []

        def correct(user: int, count: int = count, taken_s: list[float] = taken_s) -> None:
            image, options = folder / f"{user}.nii", first | {"client_id": f"{count}-{user}"}
            ask(task, image, **options).unlink()
            taken_s.append(seconds_of(lambda: ask(task, image, **options, background=[wrong]).unlink()))

        users = [threading.Thread(target=correct, args=(user,)) for user in range(count)]
        for thread in users:
            thread.start()
        for thread in users:
            thread.join()
        found[str(count)] = {"later_click_s": statistics.median(taken_s), "worst_s": max(taken_s)}
    return found


def run_system(system: str, folder: Path) -> dict:
    """One system's figures, in this process."""
    name, _, count = system.partition(":")
    measures: dict[str, Callable[[], dict]] = {
        "medvl": lambda: measure_ours(default_predictor, folder),
        "hiera": lambda: measure_ours(hiera_predictor, folder),
        "sam_3d": lambda: measure_sam_3d(folder),
        "organ": lambda: measure_organ(folder),
        "tall": lambda: measure_tall(folder),
        "slices": lambda: measure_ours(default_predictor, folder),
        "users": lambda: measure_users([int(part) for part in count.split(",")], folder),
    }
    return measures[name]()


def prepare(system: str, folder: Path, depth: int) -> None:
    """The scans that a system is measured on; made here so that its process's memory is its own."""
    name, _, count = system.partition(":")
    image = folder / "one.nii"
    if name == "tall":
        write_noise(image, TALL_SLICES)
        return
    slices = int(count) if name == "slices" else depth
    write_scan(image, Stack(ORGAN_SLICES, around=4) if name == "organ" else Stack(slices, share=SHARE))
    write_copy(image, folder / "two.nii", 1)


def in_own_process(system: str, depth: int) -> dict:
    """One system's figures, measured by this script in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="medvl-bench-") as folder:
        prepare(system, Path(folder), depth)
        run = [sys.executable, __file__, "--measure", system, "--folder", folder]
        finished = subprocess.run(run, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    if finished.returncode:
        raise SystemExit(f"{system} failed:\n{finished.stderr[-3000:]}")
    return rounded(json.loads(finished.stdout.splitlines()[-1]))


def rounded(figures: dict) -> dict:
    """Three digits after the point, in dictionaries of any depth."""
    return {
        name: rounded(value) if isinstance(value, dict) else round(value, 3)
        for name, value in figures.items()
    }


def ratios(found: dict[str, dict]) -> dict[str, float]:
    """How many times sam_3d takes longer."""
    theirs = found.get("sam_3d")
    if theirs is None:
        return {}
    return {
        f"{system}_{step}": round(theirs[f"{step}_s"] / found[system][f"{step}_s"], 1)
        for system in ("medvl", "hiera")
        if system in found
        for step in ("first_visible", "first_click", "later_click")
    }


def print_tables(found: dict[str, dict], console: Console) -> None:
    """The figures for people."""
    for system, figures in found.items():
        table = Table(title=system)
        for heading in figures:
            table.add_column(heading, justify="right")
        table.add_row(*(json.dumps(value) for value in figures.values()))
        console.print(table)


def main() -> None:
    """Measure, print tables and one line of JSON."""
    parser = argparse.ArgumentParser(description="What an annotator waits for, beside MONAI Label's sam_3d.")
    parser.add_argument("--system", action="append", choices=SYSTEMS, help="only these; default: all")
    parser.add_argument("--depth", type=int, default=SLICES, help="slices of the scan")
    parser.add_argument("--slices", type=int, nargs="+", default=[], help="cost against number of slices")
    parser.add_argument("--users", type=int, nargs="+", default=[], help="cost against number of users")
    parser.add_argument("--append", type=Path, help="a file to which the JSON line is added")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(run_system(options.measure, options.folder)))
        return
    systems = [f"slices:{count}" for count in options.slices]
    if options.users:
        systems.append(f"users:{','.join(map(str, options.users))}")
    console = Console()
    found = {}
    for system in options.system or systems or SYSTEMS:
        found[system] = in_own_process(system, options.depth)
        print_tables({system: found[system]}, console)
    results = {"depth": options.depth, "systems": found, "ratios": ratios(found)}
    finish(circumstances("interactive") | results, options.append)


if __name__ == "__main__":
    main()
