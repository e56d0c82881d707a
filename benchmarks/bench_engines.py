"""Which engine encodes slices fastest without changing masks?

Real slices with the boxes of their labelled structures; one run, one processor, engines in turn slice by
slice. For each engine: seconds until it is ready, seconds a slice (median), how far its embedding is from
PyTorch in float32 (norm of the difference over the norm), and the Dice between the masks that the default
weights draw on both embeddings from the same box: the mean over all boxes and the worst.

  torch float32      the network as it is, batch normalisation fused, channels last: the reference
  torch bfloat16     the same under autocast; a gain only where the processor has AMX or AVX512-BF16
  torch.compile      inductor; needs a C++ compiler, which a user may not have
  openvino float32   MedVL's graph: what is used
  openvino bfloat16  the same with half precision allowed; as float32 where the processor has none
  int8 simulated     every linear layer's weights and inputs rounded to 8 bits in groups of 32; for Dice only,
                     its seconds mean nothing

`--data DIR` takes a folder with a manifest instead of the sample CT. The last line is one JSON document; with
`--append FILE` it is also added to FILE. Run: `make bench`.
"""

import argparse
import copy
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import torch
from common import circumstances, finish
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lib.cli.sample_data import CACHE, fetch_sample_data, load_sample_data
from lib.formats import read_volume
from lib.model.build import load_sam2
from lib.model.engine import TorchEngine
from lib.model.engine_openvino import OpenVinoEngine
from lib.model.volume_segmenter import SliceEmbedding, VolumeSegmenter
from lib.model.weights import default_name, default_weights_dir
from lib.predict.plan import bounding_box
from lib.predict.scan import STORED_DTYPE, ComputeGate, EmbeddedScan
from lib.train.dataset import LabelledScan, load_manifest, read_case, select_cases
from lib.transforms.intensity import choose_window
from lib.transforms.spatial import fit_canvas, slice_plane

REFERENCE = "torch float32"
SMALLEST_AREA = 50
"""Voxels of a structure on a slice, below which its Dice says little."""
BOXES_PER_SLICE = 6
GROUP = 32
"""Inputs that share one scale when 8 bits are simulated."""


@dataclass(frozen=True)
class Picture:
    """One real slice: its canvas (1, 3, side, side), and what decodes boxes on its embedding."""

    canvas: Tensor
    decode: Callable[[tuple[Tensor, ...]], list[np.ndarray]]


@dataclass
class Score:
    """What one engine did."""

    ready_s: float
    slice_s: list[float] = field(default_factory=list)
    distance: list[float] = field(default_factory=list)
    dice: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, float]:
        """Rounded, for the table and the JSON line."""
        return {
            "ready_s": round(self.ready_s, 2),
            "slice_s": round(float(np.median(self.slice_s)), 4),
            "distance": float(f"{np.mean(self.distance):.2g}"),
            "dice_mean": round(float(np.mean(self.dice)), 5),
            "dice_worst": round(float(np.min(self.dice)), 5),
        }


class Compiled:
    """The network through torch.compile."""

    def __init__(self, sam2: nn.Module) -> None:
        self._run = torch.compile(sam2.image_encoder)
        self.identity = "inductor"

    def encode(self, canvas: Tensor) -> tuple[Tensor, ...]:
        """Embed one slice."""
        return (self._run(canvas)["vision_features"],)


def rounded(values: Tensor, group: int) -> Tensor:
    """To 8 bits, symmetric, one scale for each group along the last axis, and back."""
    grouped = values.unflatten(-1, (-1, group))
    scale = (grouped.abs().amax(-1, keepdim=True) / 127).clamp_min(1e-12)
    return ((grouped / scale).round() * scale).flatten(-2)


def simulated_int8(sam2: nn.Module) -> TorchEngine:
    """The network with the inputs and weights of its linear layers rounded to 8 bits."""
    sam2 = copy.deepcopy(sam2)
    for module in sam2.image_encoder.modules():
        if isinstance(module, nn.Linear):
            module.weight.data = rounded(module.weight.data, GROUP)
            module.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0], GROUP),))
    return TorchEngine(sam2)


def makers(sam2: nn.Module, side: int, threads: int, names: set[str]) -> dict[str, Callable]:
    """How to make each engine."""
    known: dict[str, Callable] = {
        REFERENCE: lambda: TorchEngine(sam2),
        "torch bfloat16": lambda: TorchEngine(sam2, torch.bfloat16),
        "openvino float32": lambda: OpenVinoEngine(sam2.image_encoder, side, threads),
        "openvino bfloat16": lambda: OpenVinoEngine(sam2.image_encoder, side, threads, "bf16"),
        "int8 simulated": lambda: simulated_int8(sam2),
    }
    if shutil.which("g++") or shutil.which("clang++"):
        known["torch.compile"] = lambda: Compiled(sam2)
    return {name: make for name, make in known.items() if not names or name in {REFERENCE, *names}}


def labelled_scans(data: Path | None) -> Iterator[LabelledScan]:
    """The sample CT, or the val split of a folder."""
    if data is not None:
        yield from (read_case(case) for case in select_cases(load_manifest(data), "val"))
        return
    sample = load_sample_data()
    fetch_sample_data(sample)
    label_map = np.asarray(nibabel.load(CACHE / sample.labels).dataobj).astype(np.int32)
    yield LabelledScan(read_volume(CACHE / sample.image), label_map, {})


def pictures(scan: LabelledScan, segmenter: VolumeSegmenter, count: int) -> Iterator[Picture]:
    """Slices of one scan that show a structure, evenly spread."""
    plane = slice_plane(scan.volume.affine, scan.volume.shape)
    canvas = fit_canvas(plane, segmenter.config.image_size)
    window = choose_window(scan.volume, None)
    frames = plane.frames(scan.label_map)
    shown = np.flatnonzero((frames > 0).sum(axis=(1, 2)) >= SMALLEST_AREA)
    for index in shown[np.linspace(0, len(shown) - 1, min(count, len(shown))).astype(int)]:
        masks = [frames[index] == value for value in np.unique(frames[index]) if value]
        masks = [mask for mask in masks if mask.sum() >= SMALLEST_AREA][:BOXES_PER_SLICE]
        if masks:
            picture = canvas.paint(window.apply(plane.slice_of(scan.volume.voxels, int(index))))[None]
            embedded = (scan.volume, plane, canvas, window, segmenter)
            yield Picture(picture, decoder(embedded, int(index), masks))


@dataclass(frozen=True)
class Given:
    """Stands for the cache of embeddings: whatever is asked for, it has this one."""

    embedding: SliceEmbedding

    def get(self, key: object, make: object) -> SliceEmbedding:  # noqa: ARG002 - as a cache is asked
        """The one embedding."""
        return self.embedding


def decoder(embedded: tuple, index: int, masks: list[np.ndarray]) -> Callable:
    """What draws the structures of a slice from their boxes on any embedding of it."""

    def decode(levels: tuple[Tensor, ...]) -> list[np.ndarray]:
        stored = SliceEmbedding(tuple(level.to(STORED_DTYPE) for level in levels))
        scan = EmbeddedScan(*embedded, Given(stored), ComputeGate())
        return [scan.decode(index, box=bounding_box(mask), is_tight=True).mask for mask in masks]

    return decode


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two masks; 1 where both are empty."""
    both = one.sum() + other.sum()
    return float(2 * (one & other).sum() / both) if both else 1.0


def measure(shown: list[Picture], engines: dict[str, Callable]) -> dict[str, Score]:
    """Every engine on every slice, in turn, so that what else the machine does hits all of them."""
    ready, scores = {}, {}
    with torch.inference_mode():
        for name, make in engines.items():
            started = time.perf_counter()
            ready[name] = make()
            ready[name].encode(shown[0].canvas)
            scores[name] = Score(time.perf_counter() - started)
        for picture in shown:
            expected, wanted = None, []
            for name, engine in ready.items():
                started = time.perf_counter()
                levels = engine.encode(picture.canvas)
                scores[name].slice_s.append(time.perf_counter() - started)
                masks = picture.decode(levels)
                if expected is None:
                    expected, wanted = levels[0].float(), masks
                distance = (levels[0].float() - expected).norm() / expected.norm()
                scores[name].distance.append(float(distance))
                scores[name].dice += [dice(*pair) for pair in zip(masks, wanted, strict=True)]
    return scores


def print_table(results: dict, console: Console) -> None:
    """The figures for people."""
    headings = ("ready_s", "slice_s", "distance", "dice_mean", "dice_worst")
    table = Table(title=f"Encoding a slice, {results['slices']} slices, {results['boxes']} boxes")
    for heading in ("", *headings):
        table.add_column(heading, justify="right")
    for name, score in results["engines"].items():
        table.add_row(name, *(str(score[heading]) for heading in headings))
    console.print(table)


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description="Engines for the slice encoder: speed and Dice.")
    parser.add_argument("--data", type=Path, help="a folder with a manifest; by default the sample CT")
    parser.add_argument("--slices", type=int, default=8, help="slices of each scan")
    parser.add_argument("--engine", action="append", default=[], help="only this one, beside the reference")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--append", type=Path, help="a file to which the JSON line is added")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sam2, config = load_sam2(default_name(), default_weights_dir())
    segmenter = VolumeSegmenter(sam2, config, "benchmark", torch.device("cpu"))
    shown = [
        picture
        for scan in labelled_scans(options.data)
        for picture in pictures(scan, segmenter, options.slices)
    ]
    engines = makers(sam2, config.image_size, options.threads, set(options.engine))
    scores = measure(shown, engines)
    results = circumstances("engines") | {
        "threads": options.threads,
        "slices": len(shown),
        "boxes": len(scores[REFERENCE].dice),
        "engines": {name: score.as_json() for name, score in scores.items()},
    }
    print_table(results, Console())
    finish(results, options.append)


if __name__ == "__main__":
    main()
