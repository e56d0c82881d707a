"""Scores of a segmenter and of baselines on a split, an object a row, and their means by kind.

Kinds (expert, assisted, silver, or a picture's modality) are never mixed; a baseline is a kind of its own,
named `kind/baseline`. A case that fails becomes a row that says why, and the others go on.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from time import perf_counter
from typing import Any

import numpy as np

from lib.errors import MedVLError
from lib.predict.propagate import Propagation
from lib.shapes import BinaryMask
from lib.train.baselines import BOX_ORACLE, CONFIDENCE_CONNECTED, box_oracle_prompt, confidence_connected
from lib.train.clicks import next_click
from lib.train.dataset import Case, read_case
from lib.train.interaction import (
    Scores,
    Segmenter,
    Setup,
    Target,
    scores_of_one_mask,
    simulate,
    timed_segment,
)
from lib.train.label_names import same_name
from lib.train.metrics import mean_of

METRICS = tuple(column.name for column in fields(Scores))

_FAILURES = (MedVLError, OSError, ValueError, RuntimeError, MemoryError)
"""What one case may die of without taking the others along."""


@dataclass(frozen=True)
class Row:
    """One object, or one failure.

    Attributes:
        case: the case's name.
        label: the object's name; empty when the case could not be read.
        kind: who drew the reference, or `kind/baseline`.
        scores: None for a failure.
        error: why there are no scores; empty otherwise.
    """

    case: str
    label: str
    kind: str
    scores: Scores | None = None
    error: str = ""


def evaluate_interactive(
    segmenter: Segmenter,
    cases: Iterable[Case],
    setup: Setup,
    labels: Collection[str] = (),
    *,
    with_baselines: bool = True,
) -> Iterator[Row]:
    """Segments every object of every case as the simulated user, and by the baselines.

    Args:
        segmenter: one for all, so that the objects of a scan share its cached embeddings.
        cases: in the order of the rows.
        setup: how the user works.
        labels: only objects of these names (case, spaces and underscores do not count); all if empty.
        with_baselines: adds their rows after each object's.
    """
    for case in cases:
        try:
            scan = read_case(case)
        except _FAILURES as error:
            yield Row(case.name, "", case.kind, error=_reason(error))
            continue
        for value, name in scan.objects.items():
            if labels and not any(same_name(name, wanted) for wanted in labels):
                continue
            target = Target(scan.volume, scan.mask(value), in_pixels=case.is_picture)
            row = Row(case.name, name, case.kind)
            yield from _rows_of(segmenter, target, setup, row, with_baselines=with_baselines)


def summarise(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """The mean of each metric over the objects of each kind, kinds in the order of the rows."""
    by_kind: dict[str, list[Scores]] = {}
    for row in rows:
        if row.scores is not None:
            by_kind.setdefault(row.kind, []).append(row.scores)
    return {kind: _means(scores) for kind, scores in by_kind.items()}


def as_json(rows: Collection[Row], split: str, weights_sha256: str) -> dict[str, Any]:
    """What `--json` writes; failures come last, with `error` in place of the metrics."""
    return {
        "task": "interactive",
        "split": split,
        "weights_sha256": weights_sha256,
        "summary": summarise(rows),
        "rows": [_row_as_json(row) for row in failures_last(rows)],
    }


def failures_last(rows: Collection[Row]) -> list[Row]:
    """The rows in their order, failures after all others."""
    return sorted(rows, key=lambda row: row.scores is None)


def _rows_of(
    segmenter: Segmenter, target: Target, setup: Setup, row: Row, *, with_baselines: bool
) -> Iterator[Row]:
    yield _tried(row, lambda: simulate(segmenter, target, setup))
    if with_baselines:
        grown = replace(row, kind=f"{row.kind}/{CONFIDENCE_CONNECTED}")
        yield _tried(grown, lambda: _grow_first_click(target, setup))
        oracle = replace(row, kind=f"{row.kind}/{BOX_ORACLE}")
        yield _tried(oracle, lambda: _box_every_slice(segmenter, target, setup))


def _tried(row: Row, score: Callable[[], Scores]) -> Row:
    try:
        return replace(row, scores=score())
    except _FAILURES as error:
        return replace(row, error=_reason(error))


def _grow_first_click(target: Target, setup: Setup) -> Scores:
    nothing: BinaryMask = np.zeros_like(target.reference)
    click = next_click(target.reference, nothing, np.random.default_rng(setup.seed))
    if click is None:
        raise ValueError("The reference is empty.")
    begin = perf_counter()
    mask = confidence_connected(target.volume, click.ijk)
    elapsed = perf_counter() - begin
    return scores_of_one_mask(target.compare(mask), elapsed, setup.clicks)


def _box_every_slice(segmenter: Segmenter, target: Target, setup: Setup) -> Scores:
    options = replace(setup.options, propagation=Propagation.NONE)
    prompt = box_oracle_prompt(target.reference, target.volume.affine, target.slice_axis(options))
    mask, seconds = timed_segment(segmenter, target.volume, prompt, options)
    return scores_of_one_mask(target.compare(mask), seconds, setup.clicks)


def _means(scores: list[Scores]) -> dict[str, float]:
    means = {metric: mean_of([getattr(score, metric) for score in scores]) for metric in METRICS}
    return {metric: mean for metric, mean in means.items() if mean is not None}


def _row_as_json(row: Row) -> dict[str, Any]:
    what = {"case": row.case, "label": row.label, "kind": row.kind}
    return {**what, **asdict(row.scores)} if row.scores else {**what, "error": row.error}


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, MedVLError) else f"{type(error).__name__}: {error}"
