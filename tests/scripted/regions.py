"""Finds and draws bright things: where a map says they are, they must come back at the same millimetre."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from lib.geometry import voxel_to_world, world_to_voxel
from lib.model.config import load_segmenter_config
from lib.model.part_decoder import PartOutput
from lib.model.volume_segmenter import SliceEmbedding, VolumeSegmenter
from lib.predict.cropped import CroppedMask
from lib.predict.named import NamedMask
from lib.predict.regions import RegionMap
from lib.predict.scan import EmbeddingCache
from lib.predict.segment import Predictor
from lib.volume import Volume

CELL_MM = 5.0
BRIGHT_HU = 150
SURE = 0.97


class ScriptedLocator:
    """The bright thing is the kidney of its side; whatever else it knows is not there."""

    names = ("kidney_left", "kidney_right", "spleen")
    identity = "scripted"

    def __init__(self) -> None:
        self.calls = 0

    def locate(self, volume: Volume, names: Sequence[str]) -> dict[str, RegionMap]:
        self.calls += 1
        cells, affine = _bright_cells(volume)
        bright_x = voxel_to_world(np.argwhere(cells).astype(float), affine)[:, 0]
        side = "kidney_right" if bright_x.mean() > _middle_x(volume) else "kidney_left"
        found = {}
        for name in names:
            logits = np.where(cells & (name == side), 4.0, -4.0).astype(np.float32)
            found[name] = RegionMap(logits, affine, SURE if name == side else 1 - SURE)
        return found


def _bright_cells(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """On a grid along the patient's axes, whatever those of the scan."""
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(volume.shape) - 1)
    world = voxel_to_world(corners.astype(float), volume.affine)
    affine = np.diag([CELL_MM, CELL_MM, CELL_MM, 1.0])
    affine[:3, 3] = world.min(axis=0)
    shape = tuple(int(n) for n in np.ceil((world.max(axis=0) - world.min(axis=0)) / CELL_MM) + 1)
    cells = np.indices(shape).reshape(3, -1).T.astype(float)
    voxels = np.rint(world_to_voxel(voxel_to_world(cells, affine), volume.affine)).astype(int)
    inside = ((voxels >= 0) & (voxels < np.array(volume.shape))).all(axis=1)
    bright = np.zeros(len(cells), dtype=bool)
    bright[inside] = volume.voxels[0][tuple(voxels[inside].T)] > BRIGHT_HU
    return bright.reshape(shape), affine


def _middle_x(volume: Volume) -> float:
    middle = (np.array(volume.shape, dtype=float) - 1) / 2
    return float(voxel_to_world(middle[np.newaxis], volume.affine)[0, 0])


class ScriptedSegmenter(VolumeSegmenter):
    """Draws what is white on the canvas inside the box; counts what it embeds."""

    def __init__(self) -> None:
        self.config = load_segmenter_config("medvl-lite")
        self.weights_sha256 = self.encoder_sha256 = "scripted"
        self.device = torch.device("cpu")
        self.encoded = 0

    def encode(self, canvases):
        self.encoded += len(canvases)
        return [SliceEmbedding((canvas[None],)) for canvas in canvases]

    def decode_part(self, embedding, prompts):
        rows, cols = prompts.part.window
        x0, y0, x1, y1 = (float(edge) for edge in prompts.boxes_px[0])
        white = embedding.levels[0][0, 0].float() > 0.75
        at = torch.arange(white.shape[0]) + 0.5
        inside = ((at > y0) & (at < y1))[:, None] & ((at > x0) & (at < x1))[None, :]
        logits = torch.where(white & inside, 8.0, -8.0)[rows, cols]
        return PartOutput(logits[None, None], torch.tensor([0.9]), torch.tensor([5.0]))


def scripted_predictor() -> Predictor:
    return Predictor(ScriptedSegmenter(), EmbeddingCache(2**28))


@dataclass
class ScriptedByName:
    """Structures with given masks; those with None are known and absent."""

    masks: dict[str, np.ndarray | None]
    identity: str = "scripted"
    asked: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.masks)

    def segment_names(self, volume: Volume, names: Sequence[str]) -> dict[str, NamedMask]:
        self.asked.append(tuple(names))
        return {name: self._named(volume, self.masks[name]) for name in names if name in self.masks}

    def _named(self, volume: Volume, mask: np.ndarray | None) -> NamedMask:
        if mask is None:
            return NamedMask(CroppedMask.empty(volume.shape), 0.04, 0.0, 0.0)
        return NamedMask(CroppedMask.of(mask), 0.98, 0.9, 0.8)


class BrightByName:
    """What is bright is the kidney of its side; nothing else is there."""

    names = ScriptedLocator.names
    identity = "scripted"

    def segment_names(self, volume: Volume, names: Sequence[str]) -> dict[str, NamedMask]:
        bright = volume.voxels[0] > BRIGHT_HU
        centre = voxel_to_world(np.argwhere(bright).mean(axis=0)[np.newaxis], volume.affine)[0, 0]
        side = "kidney_right" if centre > _middle_x(volume) else "kidney_left"
        masks = {name: bright if name == side else None for name in self.names}
        return ScriptedByName(masks).segment_names(volume, names)
