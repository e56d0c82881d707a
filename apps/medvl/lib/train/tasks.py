"""Training tasks on slices: which object on which slice, and how it is prompted.

The batch of a step depends on the seed and the step's number alone, so that a run that was interrupted
goes on with exactly the batches it would have seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from torch import Tensor

from lib.errors import ConfigError, InputError
from lib.model.decoder import PIXELS_PER_CELL
from lib.shapes import SliceMask
from lib.train.distil import PseudoMasks
from lib.train.features import SMALLEST_OBJECT_PX, StoredView


@dataclass(frozen=True)
class Recipe:
    """How all objects of a batch are prompted.

    Attributes:
        share: how often, relative to the other recipes.
        start: `box`, `click`, `scribble`, or `neighbour`: the mask of the slice before.
        rounds: at most so many clicks into what is still wrong.
        hops: with `neighbour`: at most so many slices are followed, each from the mask drawn before.
        with_box: with `neighbour`: also the box of the mask before.
        beyond_ends: with `neighbour`: share of slices on which the object has ended.
    """

    share: float
    start: str
    rounds: int = 0
    hops: int = 1
    with_box: bool = False
    beyond_ends: float = 0.0

    def __post_init__(self) -> None:
        if self.start not in {"box", "click", "scribble", "neighbour"}:
            raise ConfigError(f"A recipe starts with box, click, scribble or neighbour; got {self.start!r}.")


@dataclass(frozen=True, eq=False)
class SliceTask:
    """One object on consecutive slices; the last is the one to be drawn, the others lead to it.

    Attributes:
        embeddings: of each slice, (C, h, w).
        truths: the object on each slice; the last one may be empty.
    """

    embeddings: tuple[Tensor, ...]
    truths: tuple[SliceMask, ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """Tasks with one recipe and one number of rounds.

    Attributes:
        recipe: how they are prompted.
        rounds: corrections before the mask that is scored.
        tasks: all chains of one length, on parts of the canvas of one size.
        rng: makes the prompts.
        corner: row and column of the canvas cell where the parts are said to lie. The slice encoder knows no
            positions, so that a part may be moved: the decoder sees objects everywhere.
    """

    recipe: Recipe
    rounds: int
    tasks: tuple[SliceTask, ...]
    rng: np.random.Generator
    corner: tuple[int, int] = (0, 0)


class TaskSampler:
    """Draws batches from stored views.

    Args:
        views: what there is.
        kind_shares: kind of a view (expert, silver, a picture's modality) to how often it is drawn.
        pseudo: masks of the network before training, by view.
        pseudo_share: how often one of them is the target instead of a label.
        crop_shares: side of the part of the canvas that is seen, in cells, to how often; a part is cheaper.
        seed: of everything.
    """

    def __init__(
        self,
        views: Sequence[StoredView],
        kind_shares: Mapping[str, float],
        pseudo: Mapping[StoredView, PseudoMasks],
        pseudo_share: float,
        crop_shares: Mapping[int, float],
        seed: int,
    ) -> None:
        self._by_kind: dict[str, list[StoredView]] = {}
        for view in views:
            if view.present:
                self._by_kind.setdefault(view.record.kind, []).append(view)
        unknown = sorted(set(self._by_kind) - set(kind_shares))
        if unknown:
            raise ConfigError(f"kind_shares must name every kind of case; missing are {unknown}.")
        self._shares = kind_shares
        self._pseudo = pseudo
        self._pseudo_share = pseudo_share
        self._crop_shares = crop_shares
        self._seed = seed

    def batch(self, step: int, recipes: Sequence[Recipe], size: int) -> Batch:
        """The batch of one step."""
        rng = np.random.default_rng([self._seed, step])
        shares = np.array([recipe.share for recipe in recipes])
        recipe = recipes[rng.choice(len(recipes), p=shares / shares.sum())]
        rounds = int(rng.integers(1, recipe.rounds + 1)) if recipe.rounds else 0
        hops = int(rng.integers(1, recipe.hops + 1)) if recipe.start == "neighbour" else 0
        sides = np.array(list(self._crop_shares.values()))
        crop = list(self._crop_shares)[rng.choice(len(sides), p=sides / sides.sum())]
        tasks: list[SliceTask] = []
        too_large = 0
        while len(tasks) < size:
            task = self._chain(hops, recipe.beyond_ends, rng) if hops else self._single(rng)
            cut = cropped(task, crop, rng)
            if cut is not None:
                tasks.append(cut)
            elif (too_large := too_large + 1) > _MOST_TRIES:  # hardly any object fits: show the whole canvas
                crop, tasks = CANVAS_CELLS, []
        corner = rng.integers(0, CANVAS_CELLS - crop + 1, size=2)
        return Batch(recipe, rounds, tuple(tasks), rng, (int(corner[0]), int(corner[1])))

    def _view(self, rng: np.random.Generator, *, volumes_only: bool) -> StoredView:
        kinds = [
            kind
            for kind, views in self._by_kind.items()
            if not volumes_only or any(not view.record.is_picture for view in views)
        ]
        shares = np.array([self._shares[kind] for kind in kinds])
        if not kinds:
            raise InputError(
                "There are only pictures; they have no neighbouring slices to follow an object on."
            )
        views = self._by_kind[kinds[rng.choice(len(kinds), p=shares / shares.sum())]]
        return views[rng.integers(len(views))]

    def _single(self, rng: np.random.Generator) -> SliceTask:
        view = self._view(rng, volumes_only=False)
        pseudo = self._pseudo.get(view)
        if pseudo is not None and pseudo.count and rng.random() < self._pseudo_share:
            position, mask = pseudo.mask(int(rng.integers(pseudo.count)))
        else:
            value = int(rng.choice(sorted(view.present)))
            position = int(rng.choice(view.present[value]))
            mask = _one_or_all_parts(view.mask(position, value), rng)
        return SliceTask((view.embedding(position),), (mask,))

    def _chain(self, hops: int, beyond_ends: float, rng: np.random.Generator) -> SliceTask:
        """Consecutive slices that show an object, or lead out of it.

        Raises:
            InputError: hardly any object is on so many slices.
        """
        has_ended = rng.random() < beyond_ends
        for attempt in range(2 * _MOST_TRIES):
            if attempt == _MOST_TRIES:  # no object ends, or none goes on
                has_ended = not has_ended
            view = self._view(rng, volumes_only=True)
            value = int(rng.choice(sorted(view.present)))
            shown = set(view.present[value])
            start, direction = int(rng.choice(sorted(shown))), int(rng.choice([-1, 1]))
            chain = [start + direction * hop for hop in range(hops + 1)]
            if not all(0 <= position < len(view.labels) for position in chain):
                continue
            leads_on = all(position in shown for position in chain[:-1])
            if leads_on and (chain[-1] not in shown) == has_ended:
                truths = tuple(view.mask(position, value) for position in chain)
                return SliceTask(tuple(view.embedding(position) for position in chain), truths)
        raise InputError("No object is on enough neighbouring slices to learn how to follow it.")


def cropped(task: SliceTask, cells: int, rng: np.random.Generator) -> SliceTask | None:
    """A square part of all slices of a task that holds the object on each; None if no such part is so small.

    Args:
        task: on whole canvases.
        cells: side of the part, in cells of the embedding.
        rng: places the part.
    """
    height = task.embeddings[0].shape[-1]
    if cells >= height:
        return task
    rows, cols = np.nonzero(np.logical_or.reduce(task.truths))
    corner = []
    for pixels in (rows, cols):
        first, last = int(pixels.min()) // PIXELS_PER_CELL, int(pixels.max()) // PIXELS_PER_CELL
        lowest, highest = max(0, last - cells + 1), min(first, height - cells)
        if highest < lowest:
            return None
        corner.append(int(rng.integers(lowest, highest + 1)))
    row, col = corner
    pixel = tuple(slice(PIXELS_PER_CELL * at, PIXELS_PER_CELL * (at + cells)) for at in corner)
    return SliceTask(
        tuple(embedding[:, row : row + cells, col : col + cells] for embedding in task.embeddings),
        tuple(np.ascontiguousarray(truth[pixel]) for truth in task.truths),
    )


CANVAS_CELLS = 64
_MOST_TRIES = 1000
"""Of drawing an object at random that suits; labels may hold none."""
_ALL_PARTS = 0.3
"""How often an object that falls into parts on a slice is asked for as a whole."""


def _one_or_all_parts(mask: SliceMask, rng: np.random.Generator) -> SliceMask:
    labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count <= 1 or rng.random() < _ALL_PARTS:
        return mask
    sizes = np.bincount(labelled.ravel())[1:].astype(float)
    sizes[sizes < SMALLEST_OBJECT_PX] = 0
    if not sizes.any():
        return mask
    return labelled == 1 + rng.choice(count, p=sizes / sizes.sum())
