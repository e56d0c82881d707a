"""Clips for the stage `memory`: one object on consecutive slices, to its end or one further.

As with single slices (`lib.train.tasks`), a step's batch depends on the seed and its number alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lib.errors import ConfigError, InputError
from lib.model.part_decoder import Part
from lib.predict.object_memory import SIDES, part_around
from lib.shapes import FeatureMap, SliceMask
from lib.train.features import StoredView
from lib.train.tasks import CANVAS_CELLS

_MOST_TRIES = 2000
_NEAR_END = 0.35
"""Share of clips that begin a few slices before the object's end."""
_MOST_BEFORE_END = 5
_LEAST_SLICES = 3
_LEAST_SEEN = 32
"""Cells along each side that are drawn on at least."""


@dataclass(frozen=True, eq=False)
class Clip:
    """One object on consecutive slices; the last one alone may show nothing of it.

    Attributes:
        embeddings: (T, C, h, w), of the part of the canvas that is seen, which is cheaper than all of it.
        truths: the object on each slice, four pixels a cell.
        part: of what is seen, that is remembered.
        spacing_mm: between slices.
    """

    embeddings: FeatureMap
    truths: tuple[SliceMask, ...]
    part: Part
    spacing_mm: float


class ClipSampler:
    """Draws clips from stored views.

    Args:
        views: what there is; pictures are left out.
        kind_shares: kind of a view to how often it is drawn.
        side_shares: side of the remembered part, in cells, to how often.
        longest: slices of a clip at most.
        seed: of everything.

    Raises:
        ConfigError: shares for kinds or sides that cannot be.
        InputError: no volume shows an object on two slices.
    """

    def __init__(
        self,
        views: Sequence[StoredView],
        kind_shares: Mapping[str, float],
        side_shares: Mapping[int, float],
        longest: int,
        seed: int,
    ) -> None:
        self._by_kind: dict[str, list[StoredView]] = {}
        for view in views:
            if not view.record.is_picture and any(len(shown) > 1 for shown in view.present.values()):
                self._by_kind.setdefault(view.record.kind, []).append(view)
        if not self._by_kind:
            raise InputError("No case shows an object on two slices, so there is nothing to follow.")
        if not set(self._by_kind) <= set(kind_shares) or not set(side_shares) <= set(SIDES):
            raise ConfigError(
                f"kind_shares must name every kind of case ({sorted(self._by_kind)}), and side_shares only "
                f"sides of {list(SIDES)} cells; got {sorted(kind_shares)} and {sorted(side_shares)}."
            )
        self._kind_shares, self._side_shares = kind_shares, side_shares
        self._longest, self._seed = longest, seed

    def batch(self, step: int, size: int) -> tuple[list[Clip], np.random.Generator]:
        """The clips of one step, whose remembered parts have one side, and what further draws come from."""
        rng = np.random.default_rng([self._seed, step])
        side = int(rng.choice(list(self._side_shares), p=_normalised(self._side_shares.values())))
        clips: list[Clip] = []
        for _ in range(_MOST_TRIES * size):
            if len(clips) == size:
                return clips, rng
            clip = self._clip(rng, side)
            if clip is not None:
                clips.append(clip)
        raise InputError(f"Hardly any object needs a part of {side} cells; change side_shares.")

    def _clip(self, rng: np.random.Generator, side: int) -> Clip | None:
        kinds = list(self._by_kind)
        kind = kinds[rng.choice(len(kinds), p=_normalised(self._kind_shares[one] for one in kinds))]
        view = self._by_kind[kind][rng.integers(len(self._by_kind[kind]))]
        value = int(rng.choice(sorted(view.present)))
        shown, direction = view.present[value], int(rng.choice([-1, 1]))
        start = int(rng.choice(shown))
        if rng.random() < _NEAR_END:
            last = shown[-1] if direction > 0 else shown[0]
            start = last - direction * int(rng.integers(1, _MOST_BEFORE_END + 1))
        positions = _until_end(view, shown, start, direction, self._longest)
        if len(positions) < _LEAST_SLICES:
            return None
        truths = [view.mask(position, value) for position in positions]
        part = part_around(np.logical_or.reduce(truths), CANVAS_CELLS, rng)
        if part.width != side:
            return None
        seen = _seen_around(part, rng)
        return Clip(
            torch.stack([view.embedding(position)[:, *seen.cells] for position in positions]),
            tuple(np.ascontiguousarray(truth[seen.window]) for truth in truths),
            Part(part.row - seen.row, part.col - seen.col, side, side),
            view.record.spacing_mm,
        )


def _seen_around(part: Part, rng: np.random.Generator) -> Part:
    """A part of the canvas to draw on, around the one that is remembered."""
    side = max(_LEAST_SEEN, part.width)
    row, col = (
        int(rng.integers(max(0, at + part.width - side), min(at, CANVAS_CELLS - side) + 1))
        for at in (part.row, part.col)
    )
    return Part(row, col, side, side)


def _until_end(view: StoredView, shown: Sequence[int], start: int, direction: int, longest: int) -> list[int]:
    """Positions from the start on while they show the object, and one more if there is one."""
    positions: list[int] = []
    for position in range(start, start + direction * longest, direction):
        if not 0 <= position < len(view.labels):
            break
        positions.append(position)
        if position not in shown:
            break
    return positions


def _normalised(shares: Iterable[float]) -> np.ndarray:
    values = np.array(list(shares), dtype=np.float64)
    return values / values.sum()
