"""How sure the segmenter is of a scan that nobody has labelled, and what the scan looks like to it.

The segmenter is asked what it would draw, as an annotator would ask: clicks spread evenly over the body on a
few slices. Each click gives a mask, and the box around that mask gives another one. Three things then speak
of uncertainty, each 0 (sure) to 1: the overlap with the truth that the network predicts itself, how much the
two masks differ, and the entropy of the mask's pixels. Their mean over all clicks is the scan's score. It
needs no label and costs a fixed number of slices and clicks, however large the scan is.

What the score cannot see: an error that the network is sure of, and slices that were not looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
from scipy import ndimage

from lib.model.config import TrainedPrompt
from lib.predict.clicks import component_at
from lib.predict.plan import FrameBox, FrameClick, bounding_box
from lib.predict.scan import EmbeddedScan, EmbeddingCache, SliceResult
from lib.predict.segment import Predictor
from lib.shapes import BinaryMask, ScanEmbedding, SliceMask
from lib.transforms.intensity import choose_window
from lib.transforms.spatial import fit_canvas, slice_plane
from lib.volume import Volume

SLICES = 3
"""Slices of a scan that are looked at: at a quarter, the half and three quarters of the body."""
GRID = 3
"""Clicks along each side of a slice's body, so at most its square on a slice."""
METHOD = f"clicks-1/{SLICES}x{GRID}"
"""Names the computation; a change of what a score means changes it, so that old scores are not mixed in."""
_BODY_LEVEL = 0.1
"""Of the window's black to white; below lies air, or whatever else nobody outlines."""
_BOX_FOR_CLICK = 0.5
"""Side of the box that stands for a click, as a part of the grid's step, for weights that know boxes only."""
_CACHE_BYTES = 2**27


@dataclass(frozen=True)
class Doubt:
    """Signs of uncertainty, each 0 (sure) to 1.

    Attributes:
        overlap: 1 minus the overlap with the truth that the network predicts.
        disagreement: 1 minus the Dice of the mask from a click with that from the box around it.
        entropy: mean binary entropy of the pixels in the mask's box, in bits.
    """

    overlap: float
    disagreement: float
    entropy: float

    @property
    def mean(self) -> float:
        """All signs, each with the same weight."""
        return (self.overlap + self.disagreement + self.entropy) / 3


NO_ANSWER = Doubt(1.0, 1.0, 1.0)
"""What a click says that lies in the body and gives no mask."""


@dataclass(frozen=True, eq=False)
class ScanJudgement:
    """What a model thinks of a scan.

    Attributes:
        doubt: mean over all clicks.
        embedding: what the scan looks like, of length 1; scans that look alike lie close together.
    """

    doubt: Doubt
    embedding: ScanEmbedding

    @property
    def uncertainty(self) -> float:
        """0 (sure) to 1."""
        return self.doubt.mean


@runtime_checkable
class JudgesScans(Protocol):
    """A model that can say how sure it is of a scan, and what the scan looks like to it."""

    @property
    def identity(self) -> str:
        """Changes with weights and method, so that judgements of different models are never compared."""
        ...

    def judge(self, volume: Volume, pause: Callable[[], None]) -> ScanJudgement:
        """Judge a scan, with a call of `pause` before each piece of work of about a second."""
        ...


@dataclass(frozen=True, eq=False)
class ClickJudge:
    """The interactive segmenter as a judge.

    Attributes:
        predictor: the segmenter; its cache is not used, so that users' embeddings stay in it.
    """

    predictor: Predictor

    @property
    def identity(self) -> str:
        """The weights' hash and the method."""
        return f"{self.predictor.segmenter.weights_sha256}:{METHOD}"

    def judge(self, volume: Volume, pause: Callable[[], None] = lambda: None) -> ScanJudgement:
        """Judge a scan.

        Args:
            volume: of any modality; a picture is one slice.
            pause: called before each slice is encoded and before each click.
        """
        scan = self._embedded(volume)
        doubts: list[Doubt] = []
        features: list[np.ndarray] = []
        body = _body(scan)
        for index in spread_slices(body):
            pause()
            features.append(_pooled(scan, index, body[index]))
            for row, col in spread_clicks(body[index]):
                pause()
                doubts.append(_doubt(scan, FrameClick(index, row, col, positive=True)))
        return ScanJudgement(_mean_doubt(doubts), _unit(np.mean(features, axis=0)))

    def _embedded(self, volume: Volume) -> EmbeddedScan:
        plane = slice_plane(volume.affine, volume.shape)
        segmenter = self.predictor.segmenter
        return EmbeddedScan(
            volume=volume,
            plane=plane,
            canvas=fit_canvas(plane, segmenter.config.image_size),
            window=choose_window(volume, None),
            segmenter=segmenter,
            cache=EmbeddingCache(_CACHE_BYTES),
            gate=self.predictor.gate,
        )


def spread_slices(body: BinaryMask) -> list[int]:
    """Indices of the slices to look at, evenly over those that show the body; of all, if none does.

    Args:
        body: shape (D, H, W).
    """
    shown = np.flatnonzero(body.any(axis=(1, 2)))
    if not shown.size:
        shown = np.arange(len(body))
    parts = np.arange(1, SLICES + 1) / (SLICES + 1)
    return sorted({int(shown[round(part * (len(shown) - 1))]) for part in parts})


def spread_clicks(body: SliceMask) -> list[tuple[int, int]]:
    """Rows and columns of clicks inside the body, one in each field of a grid that the body reaches into.

    Args:
        body: shape (H, W); where it is empty the whole slice counts.
    """
    inside = body if body.any() else np.ones_like(body)
    box = bounding_box(inside)
    rows = np.linspace(box.row0, box.row1 + 1, GRID + 1).astype(int)
    cols = np.linspace(box.col0, box.col1 + 1, GRID + 1).astype(int)
    clicks = []
    for row0, row1 in pairwise(rows.tolist()):
        for col0, col1 in pairwise(cols.tolist()):
            position = _deepest(inside[row0:row1, col0:col1])
            if position is not None:
                clicks.append((row0 + position[0], col0 + position[1]))
    return clicks


def _deepest(field: SliceMask) -> tuple[int, int] | None:
    """The position farthest from the outside of a mask; the first among equals."""
    if not field.any():
        return None
    depth = ndimage.distance_transform_edt(np.pad(field, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(row), int(col)


def _body(scan: EmbeddedScan) -> BinaryMask:
    """Where slices show more than air in their window, shape (D, H, W), slice by slice to spare memory."""
    return np.stack(
        [
            scan.window.apply(scan.plane.slice_of(scan.volume.voxels, index)).mean(axis=0) > _BODY_LEVEL
            for index in range(scan.plane.count)
        ]
    )


def _pooled(scan: EmbeddedScan, index: int, body: SliceMask) -> np.ndarray:
    """The slice's embedding, averaged over the cells that show the body, shape (C,)."""
    coarsest = scan.embedding(index).levels[-1][0].float().cpu().numpy()
    height, width = (
        max(1, round(length / scan.canvas.side * coarsest.shape[-1])) for length in scan.canvas.inner
    )
    rows, cols = (
        ((np.arange(cells) + 0.5) * length / cells).astype(int)
        for cells, length in zip((height, width), body.shape, strict=True)
    )
    shown = body[np.ix_(rows, cols)]
    features = coarsest[:, :height, :width]
    return features[:, shown].mean(axis=1) if shown.any() else features.mean(axis=(1, 2))


def _doubt(scan: EmbeddedScan, click: FrameClick) -> Doubt:
    first = _from_click(scan, click)
    part = component_at(first.mask, (click.row, click.col))
    if not part.any():
        return NO_ANSWER
    box = bounding_box(part)
    again = scan.decode(click.index, box=box, is_tight=True)
    return Doubt(
        overlap=1.0 - float(np.clip(again.iou, 0.0, 1.0)),
        disagreement=1.0 - _dice(part, component_at(again.mask, (click.row, click.col))),
        entropy=_entropy_bits(again.logits[box.row0 : box.row1 + 1, box.col0 : box.col1 + 1]),
    )


def _from_click(scan: EmbeddedScan, click: FrameClick) -> SliceResult:
    if scan.segmenter.config.knows(TrainedPrompt.CLICK):
        return scan.decode(click.index, clicks=(click,))
    height, width = scan.plane.size
    rows, cols = (max(1, round(length / GRID * _BOX_FOR_CLICK / 2)) for length in (height, width))
    box = FrameBox(
        max(0, click.row - rows),
        max(0, click.col - cols),
        min(height - 1, click.row + rows),
        min(width - 1, click.col + cols),
    )
    return scan.decode(click.index, box=box)


def _dice(first: SliceMask, second: SliceMask) -> float:
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2.0 * np.count_nonzero(first & second) / total


def _entropy_bits(logits: np.ndarray) -> float:
    """Mean of -p log2 p - (1 - p) log2 (1 - p), p = sigmoid(logits), in a form that does not overflow."""
    size = np.abs(logits.astype(np.float64))
    small = np.exp(-size)
    return float(np.mean((np.log1p(small) + size * small / (1.0 + small)) / np.log(2.0)))


def _mean_doubt(doubts: list[Doubt]) -> Doubt:
    return Doubt(
        overlap=float(np.mean([doubt.overlap for doubt in doubts])),
        disagreement=float(np.mean([doubt.disagreement for doubt in doubts])),
        entropy=float(np.mean([doubt.entropy for doubt in doubts])),
    )


def _unit(vector: np.ndarray) -> ScanEmbedding:
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
