"""Structures drawn from the [SEG] prompt alone, slice by slice: a coupling to compare region maps with.

As in LISA the decoder is told one vector and nothing of where the structure is; which slices show it follows
from what is drawn there. It exists to be measured, not to serve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.model.seg_prompt import SegPrompt, load_seg_prompt
from lib.model.sentence_queries import SENTENCES, load_sentence_queries
from lib.predict.cropped import CroppedMask, union
from lib.predict.named import NamedMask
from lib.predict.scan import EmbeddedScan
from lib.predict.segment import Predictor
from lib.shapes import LabelMap
from lib.transforms.intensity import choose_window
from lib.transforms.spatial import fit_canvas, slice_plane
from lib.volume import Volume

_STEP_MM = 3.0
"""Slices are drawn about so far apart; those between are as the one before."""
_LEAST_SHARE = 0.05
"""Parts smaller than this share of the largest are dropped, as where maps are drawn from."""
_THERE, _NOT_THERE, _OVERLAP = 0.95, 0.05, 0.5
"""There is no estimate; these say what was drawn."""


@dataclass(frozen=True, eq=False)
class SegTokenSegmenter:
    """Segments by name as `NamedSegmenter` does, from vectors in place of maps.

    Attributes:
        predictor: embeds and draws.
        vectors: name to its prompt, shape (prompt size,).
        identity: changes with its answers.
    """

    predictor: Predictor
    vectors: dict[str, Tensor]
    identity: str

    @property
    def names(self) -> tuple[str, ...]:
        """Structures it can draw."""
        return tuple(self.vectors)

    def segment_names(self, volume: Volume, names: Sequence[str]) -> dict[str, NamedMask]:
        """One mask for each of the names that it knows, in their order."""
        known = [name for name in dict.fromkeys(names) if name in self.vectors]
        labels = self._labels(volume, known) if known else np.zeros(volume.shape, dtype=np.uint8)
        return {name: _named(labels == value) for value, name in enumerate(known, start=1)}

    def _labels(self, volume: Volume, names: Sequence[str]) -> LabelMap:
        segmenter = self.predictor.segmenter
        plane = slice_plane(volume.affine, volume.shape)
        canvas = fit_canvas(plane, segmenter.config.image_size)
        window = choose_window(volume, None)
        cache, gate = self.predictor.cache, self.predictor.gate
        scan = EmbeddedScan(volume, plane, canvas, window, segmenter, cache, gate)
        prompts = torch.stack([self.vectors[name] for name in names])
        painted = np.zeros((plane.count, *plane.size), dtype=np.uint8)
        step = max(1, int(_STEP_MM / plane.spacing_mm[plane.axis] + 1e-6))
        for index in range(0, plane.count, step):
            painted[index : index + step] = _best(scan, index, prompts)
        return plane.volume_of(painted)


def load_seg_token(
    predictor: Predictor, path: Path, names: Sequence[str], weights_dir: Path
) -> SegTokenSegmenter:
    """With what the stage `joint` learned.

    Args:
        predictor: embeds and draws.
        path: the stage's parameters.
        names: structures.
        weights_dir: holds the language model.

    Raises:
        WeightsError: a missing or wrong file, or no language model.
    """
    prompt = load_seg_prompt(path)
    language = load_sentence_queries(weights_dir, SENTENCES).language
    with torch.inference_mode():
        states = language.seg_states([f"the {_spoken(name)}" for name in names])
        vectors = _vectors(prompt, states)
    return SegTokenSegmenter(predictor, dict(zip(names, vectors, strict=True)), f"seg_token:{path.name}")


def _vectors(prompt: SegPrompt, states: Tensor) -> list[Tensor]:
    prompts, _ = prompt(states)
    return list(prompts)


def _best(scan: EmbeddedScan, index: int, prompts: Tensor) -> np.ndarray:
    """For each pixel of a slice the number from 1 of the structure that is surest of it; 0 for none."""
    embedding = scan.embedding(index).levels[-1].float()
    with scan.gate.turn():
        drawn = scan.segmenter.decode_vectors(embedding.expand(len(prompts), -1, -1, -1), prompts).mask_logits
    logits = np.stack([scan.canvas.read(one) for one in drawn[:, 0].float().cpu()])
    return np.where(logits.max(axis=0) > 0, logits.argmax(axis=0) + 1, 0).astype(np.uint8)


def _named(inside: np.ndarray) -> NamedMask:
    whole = CroppedMask.of(inside)
    parts = whole.components() if whole.count else []
    largest = max((part.count for part in parts), default=0)
    shape = (inside.shape[0], inside.shape[1], inside.shape[2])
    mask = union([part for part in parts if part.count >= _LEAST_SHARE * largest], shape)
    return NamedMask(mask, _THERE if mask.count else _NOT_THERE, _OVERLAP)


def _spoken(name: str) -> str:
    """A name as people say it: left kidney for kidney_left."""
    words = name.split("_")
    return " ".join(sorted(words, key=lambda word: word not in ("left", "right")))
