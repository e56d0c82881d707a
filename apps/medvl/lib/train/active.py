"""Simulated active learning: select, label, train, publish if better, evaluate; by strategy and seed.

The labels of a pool are known, and uncovered only for scans that a strategy selects. All strategies of a
seed begin with the same scans. A round's model replaces the one before only if it is no worse on scans held
out for that; the curves are those of the published model on other scans, held out for nothing else.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np

from lib.errors import InputError
from lib.predict.selection import choose_diverse, choose_random, choose_uncertain
from lib.train.active_head import Head, mean_dice, train_head, uncertainty
from lib.train.active_pool import PoolScan

STRATEGIES = ("random", "uncertainty", "diverse")
ENOUGH = 0.95
"""Of the score with all labels."""


@dataclass(frozen=True)
class Plan:
    """How a simulation goes.

    Attributes:
        seeds: of the first scans, of drawing at random and of training.
        first: labelled scans to begin with.
        per_round: labels a round.
        rounds: after the first training.
        held_out: share of the patients that are not in the pool, half of them to publish by, half to score.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    first: int = 2
    per_round: int = 2
    rounds: int = 8
    held_out: float = 0.35


@dataclass(frozen=True)
class Point:
    """A round of one strategy and seed.

    Attributes:
        strategy: how scans were selected; `all` for a training with every label.
        seed: of the simulation.
        labels: scans labelled so far.
        score: mean Dice of the published model on the scans held out for scoring.
        published_by: its mean Dice on those held out for publishing; never falls.
        selected: names of the scans that were labelled in this round.
    """

    strategy: str
    seed: int
    labels: int
    score: float
    published_by: float
    selected: tuple[str, ...]


ALL_LABELS = "all"


@dataclass(frozen=True, eq=False)
class Sides:
    """Scans to select from, to publish by and to score by, of different patients."""

    pool: tuple[PoolScan, ...]
    gate: tuple[PoolScan, ...]
    test: tuple[PoolScan, ...]


def simulate_active(
    scans: Sequence[PoolScan], plan: Plan, strategies: Sequence[str] = STRATEGIES
) -> Iterator[Point]:
    """All points of all strategies and seeds, in their order; each seed begins with all labels.

    Raises:
        InputError: too few patients, or an unknown strategy.
    """
    unknown = sorted(set(strategies) - set(STRATEGIES))
    if unknown:
        raise InputError(f"There is no strategy {unknown}; there are {list(STRATEGIES)}.")
    for seed in plan.seeds:
        sides = split_scans(scans, plan.held_out, seed)
        names = class_names(sides)
        everything = train_head(sides.pool, names, seed)
        gate = mean_dice(everything, sides.gate)
        yield Point(ALL_LABELS, seed, len(sides.pool), mean_dice(everything, sides.test), gate, ())
        for strategy in strategies:
            yield from _rounds(sides, names, plan, strategy, seed)


def split_scans(scans: Sequence[PoolScan], held_out: float, seed: int) -> Sides:
    """Patients drawn at random for the three sides.

    Raises:
        InputError: fewer than six patients.
    """
    patients = sorted({scan.patient for scan in scans})
    if len(patients) < 6:
        raise InputError(
            f"The simulation needs scans of at least 6 patients; got {len(patients)}. Give more --data, or "
            "--phantoms."
        )
    order = [patients[index] for index in np.random.default_rng(seed).permutation(len(patients))]
    count = min(max(1, round(held_out * len(patients) / 2)), (len(patients) - 2) // 2)
    gate, test = set(order[:count]), set(order[count : 2 * count])
    return Sides(
        tuple(scan for scan in scans if scan.patient not in gate | test),
        tuple(scan for scan in scans if scan.patient in gate),
        tuple(scan for scan in scans if scan.patient in test),
    )


def class_names(sides: Sides) -> tuple[str, ...]:
    """Classes that can be learnt and scored: in at least two scans of the pool and one to score by."""
    learnt = Counter(name for scan in sides.pool for name in set(scan.classes.values()))
    scored = {name for scan in sides.test for name in scan.classes.values()}
    names = tuple(sorted(name for name in scored if learnt[name] >= 2))
    if not names:
        raise InputError("No structure is labelled in at least two scans of the pool and in one to score by.")
    return names


def _rounds(sides: Sides, names: Sequence[str], plan: Plan, strategy: str, seed: int) -> Iterator[Point]:
    by_name = {scan.name: scan for scan in sides.pool}
    rng = np.random.default_rng([seed, 1])
    selected = choose_random(by_name, rng, plan.first)  # the same for all strategies
    labelled: list[str] = []
    published, gate = None, -1.0
    for _ in range(plan.rounds + 1):
        labelled += selected
        candidate = train_head([by_name[name] for name in labelled], names, seed)
        reached = mean_dice(candidate, sides.gate)
        if published is None or reached >= gate:
            published, gate = candidate, reached
        score = mean_dice(published, sides.test)
        yield Point(strategy, seed, len(labelled), score, gate, tuple(selected))
        left = [name for name in by_name if name not in labelled]
        if not left:
            return
        selected = _selector(strategy, by_name, labelled, published, rng)(left, plan.per_round)


def _selector(
    strategy: str, scans: dict[str, PoolScan], labelled: list[str], head: Head, rng: np.random.Generator
) -> Callable[[list[str], int], list[str]]:
    if strategy == "uncertainty":
        return lambda left, count: choose_uncertain(
            left, {name: uncertainty(head, scans[name]) for name in left}, count
        )
    if strategy == "diverse":
        embeddings = {name: scan.embedding for name, scan in scans.items()}
        return lambda left, count: choose_diverse(left, embeddings, labelled, count)
    return lambda left, count: choose_random(left, rng, count)


def summarise_active(points: Sequence[Point]) -> dict[str, dict[str, float]]:
    """Of each strategy, means over the seeds.

    `auc` is the area under the score by labels, per label, so that it is a mean score.
    `labels_for_95_percent` counts the labels until the curve first reaches 95 % of the score with all labels,
    linearly between rounds; the whole pool where it never does. `share_of_random` relates that to `random`.
    """
    full = {point.seed: point for point in points if point.strategy == ALL_LABELS}
    summary: dict[str, dict[str, float]] = {
        ALL_LABELS: {"score": fmean(point.score for point in full.values())}
    }
    for strategy in dict.fromkeys(point.strategy for point in points if point.strategy != ALL_LABELS):
        curves = [
            [point for point in points if (point.strategy, point.seed) == (strategy, seed)] for seed in full
        ]
        needed = [labels_needed(curve, full[curve[0].seed]) for curve in curves]
        summary[strategy] = {
            "auc": fmean(area(curve) for curve in curves),
            "score_first": fmean(curve[0].score for curve in curves),
            "score_last": fmean(curve[-1].score for curve in curves),
            "labels_for_95_percent": fmean(needed),
        }
    if "random" in summary:
        for strategy in set(summary) - {ALL_LABELS}:
            random = summary["random"]["labels_for_95_percent"]
            summary[strategy]["share_of_random"] = summary[strategy]["labels_for_95_percent"] / random
    return summary


def area(curve: Sequence[Point]) -> float:
    """Area under a curve by the trapezoid rule, divided by its width; its score where it is one point."""
    if len(curve) == 1:
        return curve[0].score
    labels, scores = [point.labels for point in curve], [point.score for point in curve]
    trapezoids = [
        (after - before) * (scores[index] + scores[index + 1]) / 2
        for index, (before, after) in enumerate(pairwise(labels))
    ]
    return sum(trapezoids) / (labels[-1] - labels[0])


def labels_needed(curve: Sequence[Point], full: Point) -> float:
    """Labels until a curve reaches 95 % of the score with all labels."""
    wanted = ENOUGH * full.score
    before: Point | None = None
    for point in curve:
        if point.score >= wanted:
            if before is None:
                return float(point.labels)
            part = (wanted - before.score) / (point.score - before.score)
            return before.labels + part * (point.labels - before.labels)
        before = point
    return float(full.labels)


def active_as_json(points: Sequence[Point], split: str, weights_sha256: str) -> dict[str, Any]:
    """What `--json` writes; a strategy is a kind, a round a row."""
    rows = [
        {
            "case": f"seed {point.seed}",
            "label": f"{point.labels} labels",
            "kind": point.strategy,
            "labels": point.labels,
            "dice": point.score,
            "dice_published_by": point.published_by,
            "selected": list(point.selected),
        }
        for point in points
    ]
    return {
        "task": "active",
        "split": split,
        "weights_sha256": weights_sha256,
        "summary": summarise_active(points),
        "rows": rows,
    }
