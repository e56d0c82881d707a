"""Which scans to annotate next: pure choices, for the server and for simulations alike.

Each function ranks candidates by id and gives the best `count` of them; the same input gives the same answer.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lib.shapes import ScanEmbedding


def choose_first(candidates: Iterable[str], count: int = 1) -> list[str]:
    """Candidates in the order of their names."""
    return sorted(candidates)[:count]


def choose_random(candidates: Iterable[str], rng: np.random.Generator, count: int = 1) -> list[str]:
    """Candidates drawn without replacement, each equally likely, whatever order they come in."""
    pool = sorted(candidates)
    return [pool[index] for index in rng.permutation(len(pool))[:count]]


def choose_uncertain(
    candidates: Iterable[str], uncertainty: Mapping[str, float], count: int = 1
) -> list[str]:
    """The most uncertain candidates first, then those without a score, by name.

    Args:
        candidates: ids.
        uncertainty: by id; higher is less certain. Need not hold all candidates.
        count: how many are wanted.
    """
    pool = set(candidates)
    known = sorted(pool & uncertainty.keys(), key=lambda key: (-uncertainty[key], key))
    return [*known, *sorted(pool - uncertainty.keys())][:count]


def choose_diverse(
    candidates: Iterable[str],
    embeddings: Mapping[str, ScanEmbedding],
    covered: Iterable[str] = (),
    count: int = 1,
) -> list[str]:
    """Candidates that lie farthest from what is covered, one after the other (k-centre greedy).

    The greedy core-set of Sener and Savarese 2018 (Active Learning for Convolutional Neural Networks: A
    Core-Set Approach), on the Euclidean distance of embeddings. With nothing covered, the candidate nearest
    to the mean of all comes first.

    Args:
        candidates: ids.
        embeddings: by id, all of one length. Candidates without one come last, by name.
        covered: ids of scans that are labelled, or being labelled; those without an embedding do not count.
        count: how many are wanted.
    """
    pool = sorted(set(candidates) & embeddings.keys())
    centres = sorted(set(covered) & embeddings.keys())
    chosen = _farthest_first(pool, centres, embeddings, count) if pool else []
    unknown = sorted(set(candidates) - embeddings.keys())
    return [*chosen, *unknown][:count]


def _farthest_first(
    pool: Sequence[str], centres: Sequence[str], embeddings: Mapping[str, ScanEmbedding], count: int
) -> list[str]:
    points = np.stack([embeddings[key] for key in pool]).astype(np.float64)
    nearest = np.full(len(pool), np.inf)
    for key in centres:
        nearest = np.minimum(nearest, np.linalg.norm(points - embeddings[key], axis=1))
    chosen: list[str] = []
    while len(chosen) < min(count, len(pool)):
        is_open = np.isfinite(nearest).any()
        centrality = -np.linalg.norm(points - points.mean(axis=0), axis=1)
        best = int(np.argmax(nearest if is_open else centrality))
        chosen.append(pool[best])
        nearest = np.minimum(nearest, np.linalg.norm(points - points[best], axis=1))
        nearest[best] = -1.0  # never twice, also where candidates are equal
    return chosen
