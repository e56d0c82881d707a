"""Scores of what is segmented by name, a structure a row, and their means by kind.

Every label of a case is asked for in words, present or not; so are structures that are the union of labels
(a lung of its lobes). A label that the model does not know gets an empty mask and a row. Structures that a
case's labels do not speak of are unknown and are not scored.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from lib.errors import MedVLError
from lib.predict.atlas import body_frame
from lib.predict.cropped import union
from lib.predict.named import NamedMask, SegmentsByName
from lib.predict.referring import answer_text
from lib.shapes import BinaryMask
from lib.train.dataset import Case, LabelledScan, read_case
from lib.train.label_names import same_name
from lib.train.mirror import mirrored, mirrored_name
from lib.train.structures import values_by_structure
from lib.train.text_scores import TextScores, means, score
from lib.vocabulary import Side, load_vocabulary, target_of_label
from lib.volume import Volume

ATLAS, MAP, MIRRORED, KNOWN, SEG_TOKEN = "atlas", "map", "mirrored", "known", "seg_token"
_FAILURES = (MedVLError, OSError, ValueError, RuntimeError, MemoryError)
"""What one case may die of without taking the others along."""


@dataclass(frozen=True)
class TextRow:
    """One structure of one case, or one failure.

    Attributes:
        case: the case's name.
        label: as the reference calls it; empty when the case could not be read.
        kind: who drew the reference, or `kind/baseline`.
        scores: None for a failure.
        known: whether the model knows the structure.
        error: why there are no scores; empty otherwise.
    """

    case: str
    label: str
    kind: str
    scores: TextScores | None = None
    known: bool = True
    error: str = ""


@dataclass(frozen=True, eq=False)
class Contender:
    """Something that segments by name, and what its rows are called.

    Attributes:
        suffix: of the kind; empty for the model itself.
        by_name: gives it for a case: an atlas must not be made from the case that it is scored on.
        mirrored: whether it is shown the mirror image of each patient.
    """

    suffix: str
    by_name: Callable[[Case], SegmentsByName]
    mirrored: bool = False


@dataclass(frozen=True, eq=False)
class _Remembering:
    """Finds all structures of a scan at once, so that asking one by one costs nothing more."""

    inner: SegmentsByName
    found: dict[str, NamedMask] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return self.inner.names

    @property
    def identity(self) -> str:
        return self.inner.identity

    def segment_names(self, volume: Volume, names: Collection[str]) -> dict[str, NamedMask]:
        missing = [name for name in names if name not in self.found]
        if missing:
            self.found.update(self.inner.segment_names(volume, missing))
        return {name: self.found[name] for name in names if name in self.found}


@dataclass(frozen=True)
class _Wanted:
    """One thing to ask for and its reference."""

    label: str
    values: tuple[int, ...]


def evaluate_text(
    contenders: Collection[Contender], cases: Iterable[Case], labels: Collection[str] = ()
) -> Iterator[TextRow]:
    """Segments every label of every case by its name.

    Args:
        contenders: the model, and whatever it is compared with.
        cases: in the order of the rows.
        labels: only these (case, spaces and underscores do not count); all if empty.
    """
    for case in cases:
        try:
            scan = read_case(case)
        except _FAILURES as error:
            yield TextRow(case.name, "", case.kind, error=_reason(error))
            continue
        for contender in contenders:
            kind = f"{case.kind}/{contender.suffix}" if contender.suffix else case.kind
            blank = TextRow(case.name, "", kind)
            try:
                yield from _rows_of(contender, case, scan, labels, blank)
            except _FAILURES as error:
                yield replace(blank, error=_reason(error))


def summarise_text(rows: Iterable[TextRow]) -> dict[str, dict[str, float]]:
    """Means by kind; where a model does not know every label, `kind/known` holds those that it knows."""
    by_kind: dict[str, list[TextScores]] = {}
    known: dict[str, list[TextScores]] = {}
    for row in rows:
        if row.scores is not None:
            by_kind.setdefault(row.kind, []).append(row.scores)
            if row.known:
                known.setdefault(row.kind, []).append(row.scores)
    summary = {}
    for kind, scores in by_kind.items():
        summary[kind] = means(scores)
        if 0 < len(known.get(kind, [])) < len(scores):
            summary[f"{kind}/{KNOWN}"] = means(known[kind])
    return summary


def text_as_json(rows: Collection[TextRow], split: str, weights_sha256: str) -> dict[str, Any]:
    """What `--json` writes; failures come last, with `error` in place of the metrics."""
    ordered = sorted(rows, key=lambda row: row.scores is None)
    return {
        "task": "text",
        "split": split,
        "weights_sha256": weights_sha256,
        "summary": summarise_text(rows),
        "rows": [_row_as_json(row) for row in ordered],
    }


def _rows_of(
    contender: Contender, case: Case, scan: LabelledScan, labels: Collection[str], blank: TextRow
) -> Iterator[TextRow]:
    by_name = _Remembering(contender.by_name(case))
    names = case.labels or scan.objects
    asked = _wanted(names, scan, by_name.names)
    shown = scan
    if contender.mirrored:
        shown, _ = mirrored(scan, names)
        asked = (
            replace(one, label=label) for one in asked if (label := mirrored_name(one.label)) is not None
        )
    wanted = [one for one in asked if not labels or any(same_name(one.label, label) for label in labels)]
    by_name.segment_names(shown.volume, [name for one in wanted for name in _meant(one.label, by_name.names)])
    frame = body_frame(shown.volume)
    middle_x_mm = (frame.low_mm[0] + frame.high_mm[0]) / 2
    for one in wanted:
        mask = _asked(one.label, shown, by_name)
        reference = np.isin(shown.label_map, one.values)
        scores = score(reference, mask, shown.volume, _side(one.label), middle_x_mm)
        is_known = bool(_meant(one.label, by_name.names))
        yield replace(blank, label=one.label, scores=scores, known=is_known)


def _wanted(names: Mapping[int, str], scan: LabelledScan, served: tuple[str, ...]) -> Iterator[_Wanted]:
    """Labels that are present or known to the model, and known unions of labels."""
    for value, name in {**names, **scan.objects}.items():
        if value in scan.objects or _meant(name, served):
            yield _Wanted(name, (value,))
    by_own_name = values_by_structure(names)
    for name, values in values_by_structure(names, served).items():
        if name not in by_own_name:
            yield _Wanted(name, values)


def _meant(label: str, served: tuple[str, ...]) -> list[str]:
    if label in served:
        return [label]
    target = target_of_label(label)
    return [name for name in target.names if name in served] if target else []


def _asked(label: str, scan: LabelledScan, by_name: SegmentsByName) -> BinaryMask:
    """What is drawn when the label's name is the text."""
    answer = answer_text(label.replace("_", " "), scan.volume, by_name)
    return union(answer.masks.values(), scan.volume.shape).full()


def _side(label: str) -> Side | None:
    target = target_of_label(label)
    structures = target.structures if target else ()
    structure = load_vocabulary().structure(label) or (structures[0] if len(structures) == 1 else None)
    return structure.side if structure else None


def _row_as_json(row: TextRow) -> dict[str, Any]:
    what: dict[str, Any] = {"case": row.case, "label": row.label, "kind": row.kind}
    if row.scores is None:
        return {**what, "error": row.error}
    measured = {name: value for name, value in asdict(row.scores).items() if value is not None}
    return {**what, "known": row.known, **measured}


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, MedVLError) else f"{type(error).__name__}: {error}"
