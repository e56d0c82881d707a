"""What is remembered of one object while it is followed, for weights that learned to use it.

A part of the embedding around the object is remembered: of the slices that the user prompted, and of the two
drawn last. Where the object leaves the part, another one is taken and all is remembered anew.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from lib.model.decoder import PIXELS_PER_CELL
from lib.model.part_decoder import Part
from lib.model.slice_memory import MemoryMap, RememberedSlice, mark_of
from lib.model.volume_segmenter import SliceEmbedding
from lib.predict.scan import EmbeddedScan
from lib.shapes import SliceMask

SIDES = (16, 32, 64)
"""Of the part that is remembered, in cells."""
LARGEST_IN = (8, 20, 64)
"""The largest object, in cells, that each side is for: it may move and grow."""
_LAST = 2
"""So many of the slices drawn last are remembered."""


def part_around(canvas_mask: SliceMask, cells: int, rng: np.random.Generator | None = None) -> Part:
    """The square part of an embedding that is remembered of an object.

    Args:
        canvas_mask: the object on the whole canvas, four pixels a cell, not empty.
        cells: side of the embedding.
        rng: places the part at random around the object; None: the object in its middle.
    """
    ends = [(int(pixels.min()) // PIXELS_PER_CELL, int(pixels.max()) // PIXELS_PER_CELL)
            for pixels in np.nonzero(canvas_mask)]  # fmt: skip
    longest = max(last - first + 1 for first, last in ends)
    side = min(cells, next(side for side, most in zip(SIDES, LARGEST_IN, strict=True) if longest <= most))
    corner = []
    for first, last in ends:
        lowest, highest = max(0, last + 1 - side), min(first, cells - side)
        middle = round((first + last + 1 - side) / 2)
        corner.append(
            int(np.clip(middle, lowest, highest)) if rng is None else int(rng.integers(lowest, highest + 1))
        )
    return Part(corner[0], corner[1], side, side)


@dataclass(frozen=True, eq=False)
class _Slice:
    canvas_mask: SliceMask
    is_prompted: bool


@dataclass(eq=False)
class ObjectMemory:
    """Slices of one object, of one propagation.

    Attributes:
        scan: the scan.
        is_used: False: nothing is remembered, and embeddings are the slices' own.
    """

    scan: EmbeddedScan
    is_used: bool = True
    _slices: dict[int, _Slice] = field(default_factory=dict)
    _features: dict[int, MemoryMap] = field(default_factory=dict)
    _part: Part | None = None

    def add(self, index: int, mask: SliceMask, *, is_prompted: bool = False) -> None:
        """Remember a slice and the object on it, if it shows any of it."""
        if not self.is_used or not mask.any():
            return
        canvas_mask = self.scan.canvas.paint_logits(np.where(mask, 1.0, -1.0)).numpy() > 0
        if not canvas_mask.any():  # thinner than a pixel of the canvas
            return
        self._slices[index] = _Slice(canvas_mask, is_prompted)
        self._features.pop(index, None)
        drawn = [number for number, one in self._slices.items() if not one.is_prompted]
        for number in drawn[:-_LAST]:
            del self._slices[number]
            self._features.pop(number, None)
        if self._part is None or not _holds(self._part, canvas_mask):
            self._part = part_around(canvas_mask, self.scan.segmenter.config.embedding_size)
            self._features.clear()

    def embedding(self, index: int) -> SliceEmbedding:
        """A slice's embedding, with what is remembered of others added to it."""
        plain = self.scan.embedding(index)
        if self._part is None:
            return plain
        segmenter, memory = self.scan.segmenter, []
        for number, one in self._slices.items():
            mark = torch.tensor([mark_of(abs(number - index) * self._spacing_mm)], device=segmenter.device)
            memory.append(RememberedSlice(self._remembered(number, self._part), mark, one.is_prompted))
        with self.scan.gate.turn():
            return segmenter.with_memory(plain, self._part, memory)

    def _remembered(self, number: int, part: Part) -> MemoryMap:
        if number not in self._features:
            embedding = self.scan.embedding(number)
            mask = torch.from_numpy(self._slices[number].canvas_mask[part.window])[None, None]
            with self.scan.gate.turn():
                self._features[number] = self.scan.segmenter.remembered_part(embedding, part, mask)
        return self._features[number]

    @property
    def _spacing_mm(self) -> float:
        return self.scan.plane.spacing_mm[self.scan.plane.axis]


def _holds(part: Part, canvas_mask: SliceMask) -> bool:
    return np.count_nonzero(canvas_mask[part.window]) == np.count_nonzero(canvas_mask)
