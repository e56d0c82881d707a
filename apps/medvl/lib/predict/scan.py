"""A scan's slices, embedded when they are first needed, and decoded in the coordinates of the slice."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from lib.model.volume_segmenter import SliceEmbedding, SliceOutput, SlicePrompt, VolumeSegmenter
from lib.predict.cache import ByteBoundedCache
from lib.predict.plan import FrameBox, FrameClick
from lib.shapes import BoxPx, SliceLogits
from lib.transforms.intensity import Window
from lib.transforms.spatial import Canvas, SlicePlane
from lib.volume import Volume

EmbeddingCache = ByteBoundedCache[SliceEmbedding]
"""Slice embeddings of all scans in use, shared between users."""
STORED_DTYPE = torch.float16
"""Embeddings are decoded from half precision always, so that a mask is the same with and without cache."""

STABILITY_SHIFT = 1.0
"""Logits are raised and lowered by this to see how much of a mask is certain."""


class ComputeGate:
    """Lets one network call run at a time: on a few cores, two at once are slower than one after the other.

    Each slice is its own turn, so that users take turns slice by slice.
    """

    def __init__(self, slots: int = 1) -> None:
        self._slots = threading.BoundedSemaphore(slots)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and run without gradients."""
        with self._slots, torch.inference_mode():
            yield


@dataclass(frozen=True, eq=False)
class SliceResult:
    """The object on one slice, at the slice's own resolution.

    Attributes:
        logits: above zero inside, shape (H, W).
        iou: predicted overlap with the truth; nan if the network did not say.
        object_logit: above zero where the network sees the object; None if the weights do not say.
        raw: what the decoder gave.
    """

    logits: SliceLogits
    iou: float
    object_logit: float | None
    raw: SliceOutput

    @property
    def mask(self) -> np.ndarray:
        """The voxels of the object if it is on this slice, shape (H, W)."""
        return self.logits > 0

    @property
    def stability(self) -> float:
        """Share of a mask that is left when logits fall by one, of what it is when they rise by one; or 0.

        SAM's stability score (Kirillov et al., ICCV 2023, appendix B).
        """
        possible = np.count_nonzero(self.logits > -STABILITY_SHIFT)
        return float(np.count_nonzero(self.logits > STABILITY_SHIFT) / possible) if possible else 0.0

    @property
    def is_absent(self) -> bool:
        """Whether the network says that the object is not on this slice; a user who points at it knows."""
        return self.object_logit is not None and self.object_logit <= 0


@dataclass(frozen=True, eq=False)
class EmbeddedScan:
    """One scan as the segmenter sees it: slices across one axis, in one window.

    Attributes:
        volume: the scan.
        plane: how its slices are shown.
        canvas: where a slice lies on the network's canvas.
        window: intensities shown.
        segmenter: the network.
        cache: shared embeddings.
        gate: turns at the processor.
    """

    volume: Volume
    plane: SlicePlane
    canvas: Canvas
    window: Window
    segmenter: VolumeSegmenter
    cache: EmbeddingCache
    gate: ComputeGate

    def embedding(self, index: int) -> SliceEmbedding:
        """One slice's embedding, computed once for a scan, window, axis and weights."""
        key = (
            self.volume.digest,
            self.segmenter.encoder_sha256,
            self.plane.axis,
            self.window.key,
            index,
        )
        return self.cache.get(key, lambda: self._encode(index))

    def _encode(self, index: int) -> SliceEmbedding:
        # One slice a call: a batch could round differently, and a mask must not depend on who else waits.
        picture = self.window.apply(self.plane.slice_of(self.volume.voxels, index))
        canvas = self.canvas.paint(picture)[None]
        with self.gate.turn():
            (embedding,) = self.segmenter.encode(canvas)
            return embedding.to(self.segmenter.device, STORED_DTYPE)

    def decode(
        self,
        index: int,
        box: FrameBox | None = None,
        clicks: tuple[FrameClick, ...] = (),
        mask_logits: SliceLogits | None = None,
        *,
        is_tight: bool = False,
        embedding: SliceEmbedding | None = None,
    ) -> SliceResult:
        """Draw the object that a prompt means on one slice.

        Args:
            index: the slice.
            box: around the object.
            clicks: on this slice.
            mask_logits: the mask before, positive inside, shape (H, W).
            is_tight: the box touches the object, as users draw it; it is then loosened as in training.
            embedding: of the slice, with memory; None: its own.
        """
        seen = embedding or self.embedding(index)
        margin_px = self.segmenter.config.box_margin_px if is_tight else 0.0
        prompt = self._slice_prompt(self._box_px(box, margin_px), clicks, mask_logits)
        with self.gate.turn():
            return self.result(self.segmenter.decode(seen, prompt))

    def result(self, output: SliceOutput) -> SliceResult:
        """A decoder's output at the slice's own resolution."""
        present = None if output.object_logit is None else float(output.object_logit)
        return SliceResult(self.canvas.read(output.mask_logits[0, 0]), float(output.iou), present, output)

    def _slice_prompt(
        self, box_px: BoxPx | None, clicks: tuple[FrameClick, ...], mask_logits: SliceLogits | None
    ) -> SlicePrompt:
        points = np.array([[click.row, click.col] for click in clicks], dtype=np.float64).reshape(-1, 2)
        return SlicePrompt(
            points_px=self.canvas.to_px(points),
            point_labels=np.array([click.positive for click in clicks], dtype=np.int64),
            box_px=box_px,
            mask_logits=None if mask_logits is None else self.canvas.paint_logits(mask_logits)[None, None],
        )

    def _box_px(self, box: FrameBox | None, margin_px: float) -> BoxPx | None:
        if box is None:
            return None
        height, width = self.canvas.inner
        loosened = self.canvas.to_px(box.corners) + np.array([[-margin_px], [margin_px]])
        return np.clip(loosened, 0.0, np.array([width, height], dtype=np.float64)).reshape(4)
