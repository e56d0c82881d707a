"""Test-time scaling: several paths of reasoning from several looks, and what they agree on.

No ground truth is used. A candidate weighs by the overlap that the decoder expects, by how stable its mask is
when its logits are shifted, and by how far the other candidates agree with it; the mask is what the weighed
candidates have in common, and the diagnosis what most of them say. (Sim4Seg chooses with the ground truth;
that is an upper bound, and lives in evaluation as `oracle`.)
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lib.predict.candidate import Candidate, Coupling, Look, ReadsPictures
from lib.transforms.perturb import Part, Perturbation, PictureLogits
from lib.volume import Volume

MOST = 4
"""Of paths, and of perturbations."""
_AROUND = 0.45
_LARGE = 0.8


@dataclass(frozen=True)
class Scaling:
    """How much is spent on one picture.

    Attributes:
        paths: of reasoning from each look.
        perturbations: looks; the first is at the picture as it is.
        seconds: no further candidate is begun after so long; the first one always is.
    """

    paths: int = 1
    perturbations: int = 1
    seconds: float = 20.0


PLAIN = Scaling()
"""One path from one look."""


@dataclass(frozen=True, eq=False)
class Consensus:
    """What candidates agree on.

    Attributes:
        logits: of the mask on the picture's grid.
        kind: number of the kind of picture.
        modality: probability of each kind.
        conditions: probability of each condition of the kind.
        iou: overlap with the truth that is expected, the candidates' weighed mean.
        agreement: of the candidates, 0 to 1: mean overlap of their masks, times the share of them that name
            the same kind and condition; 1 for a single candidate.
        candidates: how many there are.
    """

    logits: PictureLogits
    kind: int
    modality: tuple[float, ...]
    conditions: tuple[float, ...]
    iou: float
    agreement: float
    candidates: int

    @property
    def mask(self) -> np.ndarray:
        """The pixels that are taken to be the target's."""
        return self.logits > 0


def read_picture_scaled(reader: ReadsPictures, picture: Volume, scaling: Scaling = PLAIN) -> Consensus:
    """The picture read as often as the budget allows, and what the readings agree on.

    Args:
        reader: reads.
        picture: of one slice.
        scaling: how often.
    """
    return consensus(list(candidates(reader, picture, scaling)))


def candidates(
    reader: ReadsPictures,
    picture: Volume,
    scaling: Scaling,
    coupling: Coupling = Coupling.REGION_MASK,
) -> Iterator[Candidate]:
    """The readings, the plain one first; each look is encoded once, for all its paths.

    Args:
        reader: reads.
        picture: of one slice.
        scaling: how often.
        coupling: what the decoder is told.
    """
    until = time.monotonic() + scaling.seconds
    first: Candidate | None = None
    for number in range(scaling.perturbations):
        look: Look | None = None
        for path in range(scaling.paths):
            if first is not None and time.monotonic() > until:
                return
            if look is None:
                look = reader.look(picture, perturbation(number, first))
            found = reader.follow(look, path, coupling)
            first = first or found
            yield found


def perturbation(number: int, first: Candidate | None) -> Perturbation:
    """The n-th look: as it is, mirrored, nearer to what was found, darker.

    Args:
        number: of the look.
        first: what the plain reading found; None for the first look.
    """
    if number == 0 or first is None:
        return Perturbation()
    if number == 1:
        return Perturbation(mirrored=True)
    if number == 2:
        part = _around(first.mask)
        return Perturbation(part=part) if part is not None else Perturbation(gamma=1.2)
    return Perturbation(mirrored=number % 2 == 0, gamma=0.8)


def consensus(found: Sequence[Candidate]) -> Consensus:
    """What candidates agree on, without ground truth.

    Args:
        found: at least one; the first one is plain.
    """
    modality = np.mean([one.modality for one in found], axis=0)
    kind = int(modality.argmax())
    alike = [one for one in found if one.kind == kind] or list(found)
    overlaps = pairwise_overlaps([one.mask for one in alike])
    weights = np.array(
        [max(one.iou, 0.05) * one.stability * overlap for one, overlap in zip(alike, overlaps, strict=True)]
    )
    weights = weights / weights.sum() if weights.sum() > 0 else np.full(len(alike), 1 / len(alike))
    conditions = np.average([one.conditions for one in alike], axis=0, weights=weights)
    return Consensus(
        logits=_weighed(alike, weights),
        kind=kind,
        modality=tuple(modality.tolist()),
        conditions=tuple(conditions.tolist()),
        iou=float(np.average([one.iou for one in alike], weights=weights)),
        agreement=_votes(found, alike, conditions) * float(np.mean(overlaps)),
        candidates=len(found),
    )


def pairwise_overlaps(masks: Sequence[np.ndarray]) -> list[float]:
    """For each mask its mean overlap (IoU) with the others; 1 where both are empty, and for a single one."""
    if len(masks) == 1:
        return [1.0]
    table = np.eye(len(masks))
    for one in range(len(masks)):
        for other in range(one):
            either = np.count_nonzero(masks[one] | masks[other])
            common = np.count_nonzero(masks[one] & masks[other])
            table[one, other] = table[other, one] = common / either if either else 1.0
    return [float((row.sum() - 1) / (len(masks) - 1)) for row in table]


def _votes(found: Sequence[Candidate], alike: Sequence[Candidate], conditions: np.ndarray) -> float:
    """Share of all candidates that name the kind and the condition that were agreed on."""
    if not len(conditions):
        return len(alike) / len(found)
    best = int(np.argmax(conditions))
    return sum(int(np.argmax(one.conditions)) == best for one in alike) / len(found)


def _weighed(alike: Sequence[Candidate], weights: np.ndarray) -> PictureLogits:
    """Mean logits, of those candidates that see a pixel."""
    total = np.zeros(alike[0].logits.shape, dtype=np.float32)
    seen = np.zeros_like(total)
    for one, weight in zip(alike, weights.astype(np.float32), strict=True):
        shown = np.isfinite(one.logits)
        total[shown] += weight * one.logits[shown]
        seen += weight * shown
    return np.where(seen > 0, total / np.maximum(seen, np.float32(1e-6)), np.float32(-1.0)).astype(np.float32)


def _around(mask: np.ndarray) -> Part | None:
    """The part of the picture around a mask, with room; None where that is nearly all of it."""
    if not mask.any():
        return None
    begins, ends = [], []
    for axis in range(2):
        there = np.flatnonzero(mask.any(axis=1 - axis))
        size = mask.shape[axis]
        middle, side = (there[0] + there[-1] + 1) / 2, there[-1] + 1 - there[0]
        half = max(side * (0.5 + _AROUND), size * 0.25)
        begins.append(float(np.clip((middle - half) / size, 0, 1)))
        ends.append(float(np.clip((middle + half) / size, 0, 1)))
    if max(end - begin for begin, end in zip(begins, ends, strict=True)) > _LARGE:
        return None
    return (begins[0], begins[1], ends[0], ends[1])
