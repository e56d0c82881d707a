"""What the stage `joint` learns from: cached slice embeddings with masks, and cached states of sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lib.errors import InputError
from lib.model.sentence_queries import SentenceQueries
from lib.shapes import HiddenStates
from lib.train.dataset import Case
from lib.train.descriptions import Use
from lib.train.features import StoredView
from lib.train.joint_config import JointStageConfig
from lib.train.region_data import structure_of
from lib.train.sentences import Phrasebook

_KEPT_EVERY = 7
"""Every so many-th slice of a case is kept for validation, with its neighbours left out of training."""


@dataclass(frozen=True)
class AskedSlice:
    """One structure on one slice.

    Attributes:
        view: the slice's view.
        position: of the slice in the view.
        name: of the structure.
        values: label values that make it up; none where it is known not to be on the slice.
    """

    view: StoredView
    position: int
    name: str
    values: tuple[int, ...]

    def mask(self) -> Tensor:
        """Its mask on the canvas, (1, side, side), 0 or 1."""
        found = np.isin(self.view.labels[self.position], self.values)
        return torch.from_numpy(found.astype(np.float32))[None]

    def embedding(self) -> Tensor:
        """The slice's embedding, (C, h, w)."""
        return self.view.embedding(self.position)


@dataclass(frozen=True)
class JointSamples:
    """Slices with what is on them.

    Attributes:
        present: for each name its slices.
        absent: for each name slices on which it is known not to be.
        kept: for validation.
    """

    present: Mapping[str, list[AskedSlice]]
    absent: Mapping[str, list[AskedSlice]]
    kept: Sequence[AskedSlice]

    def batch(self, step: int, config: JointStageConfig) -> list[AskedSlice]:
        """The slices of a step; they depend on the seed and the step alone."""
        rng = np.random.default_rng([config.seed, step])
        return [self._one(rng, config.absent_share) for _ in range(config.batch_size)]

    def _one(self, rng: np.random.Generator, absent_share: float) -> AskedSlice:
        names = sorted(self.present)
        name = names[int(rng.integers(len(names)))]
        group = self.absent.get(name) if rng.random() < absent_share else None
        chosen = group or self.present[name]
        return chosen[int(rng.integers(len(chosen)))]


def joint_samples(pairs: Sequence[tuple[Case, StoredView]], config: JointStageConfig) -> JointSamples:
    """What is known of the slices of some cases.

    Args:
        pairs: each case with its view.
        config: names the structures.

    Raises:
        InputError: none of the cases shows any of the structures.
    """
    present: dict[str, list[AskedSlice]] = {}
    absent: dict[str, list[AskedSlice]] = {}
    kept: list[AskedSlice] = []
    for case, view in pairs:
        for name, values in values_by_name(case, config.names).items():
            shown = sorted({position for value in values for position in view.present.get(value, [])})
            for position in range(len(view.labels)):
                is_there = position in shown
                asked = AskedSlice(view, position, name, values if is_there else ())
                if position % _KEPT_EVERY == 0:
                    kept += [asked] if is_there else []
                elif position % _KEPT_EVERY not in (1, _KEPT_EVERY - 1):
                    (present if is_there else absent).setdefault(name, []).append(asked)
    if not present:
        raise InputError("None of the cases shows any of the structures that the stage joint is to learn.")
    order = np.random.default_rng(config.seed).permutation(len(kept))[: config.validated]
    return JointSamples(present, absent, [kept[number] for number in order])


def values_by_name(case: Case, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The label values of each structure that a case's labels speak of, of those that are to be learned."""
    found: dict[str, tuple[int, ...]] = {}
    for value, label in case.labels.items():
        name = structure_of(label)
        if name in names:
            found[name] = (*found.get(name, ()), value)
    return found


def sentence_states(
    queries: SentenceQueries, book: Phrasebook, config: JointStageConfig, folder: Path
) -> dict[str, HiddenStates]:
    """States at [SEG] of several sentences for each structure; computed once, then read.

    Args:
        queries: whose language model is asked.
        book: what structures are called.
        config: how many sentences.
        folder: where they are kept.
    """
    path = folder / "states.safetensors"
    if path.is_file():
        stored = load_file(path)
        if set(stored) == set(config.names) and all(len(s) <= config.wordings for s in stored.values()):
            return stored
    states = {}
    for name in config.names:
        with torch.no_grad():
            states[name] = queries.language.seg_states(_wordings(name, book, config))
    folder.mkdir(parents=True, exist_ok=True)
    save_file(states, path)
    return states


def _wordings(name: str, book: Phrasebook, config: JointStageConfig) -> list[str]:
    number = next(n for n, target in enumerate(book.targets) if target.name == name)
    rng = np.random.default_rng([config.seed, number])
    told = [f"the {one.text}" for one in book.described(Use.TRAIN) if one.target == number]
    named = list(book.phrases[number])
    rng.shuffle(told)
    rng.shuffle(named)
    described = told[: config.wordings // 2]
    return [*described, *named[: config.wordings - len(described)]]
