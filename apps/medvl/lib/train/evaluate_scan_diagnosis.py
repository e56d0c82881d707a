"""Scores of diagnoses of CTs: what is abnormal, the leading condition, and the masks that both rest on.

A CT's diagnosis is rules over the masks that the model draws: sizes against ranges of adults, and lesions
where weights find any. So is the reference, over the reference's masks: what is scored is how far masks
mislead the rules, not whether the rules are a radiologist's.

A structure is judged if its size is, or if it holds a lesion. Of those that the reference judges,
`sensitivity` is the share of the abnormal that the model calls abnormal, `specificity` of the normal that it
calls normal, `structure_accuracy` of both: what it does not judge is wrong. `precision` is the share of what
it calls abnormal that is; `abnormal_f1` counts structure and state together, so that enlarged is not small.
Counts of all scans of a kind are added up. `accuracy` is the share of scans whose leading condition is one of
the reference's.

gIoU is the mean overlap (IoU) of the structures' masks, 1 where both are empty; cIoU is the sum of all
intersections over the sum of all unions. All lesions of a scan are one mask.

Baselines: `majority` says of every structure that it is normal, and draws nothing; `blank` is the model shown
a blank image.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.errors import MedVLError
from lib.predict.cropped import CroppedMask, union
from lib.predict.diagnose_scan import NORMAL, diagnosis_of
from lib.predict.measure import volume_ml
from lib.predict.named import NamedMask, SegmentsByName
from lib.predict.report_scan import ScanReport, report_scan, seeks_lesions
from lib.text import Size
from lib.train.baselines import blank
from lib.train.evaluate_report import Reference, ReportRow, asked_for
from lib.volume import Volume

MAJORITY, BLANK = "majority", "blank"
LESION = "lesion"
METRICS = (
    "giou",
    "ciou",
    "accuracy",
    "structure_accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "abnormal_f1",
)
_ELSEWHERE = "body"
_FAILURES = (MedVLError, OSError, ValueError, RuntimeError, MemoryError)
States = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Overlap:
    """Of two masks of one structure, in millilitres."""

    common_ml: float
    either_ml: float

    @property
    def iou(self) -> float:
        """1 where both are empty."""
        return self.common_ml / self.either_ml if self.either_ml else 1.0


@dataclass(frozen=True)
class ScanDiagnosisRow:
    """One diagnosis of one scan, or one failure.

    Attributes:
        case: its name.
        kind: of the reference, or `kind/baseline`.
        right: what the reference says of each structure that it judges; empty for normal.
        said: the same of the diagnosis.
        is_leading_right: the leading condition is one of the reference's.
        overlaps: of structures' masks; empty for a baseline that draws nothing.
        error: why there are no scores; empty otherwise.
    """

    case: str
    kind: str
    right: States
    said: States
    is_leading_right: bool = False
    overlaps: tuple[Overlap, ...] = ()
    error: str = ""


@dataclass(frozen=True, eq=False)
class _Only:
    """The model with those of its structures that the reference speaks of; of others nothing is known."""

    inner: SegmentsByName
    names: tuple[str, ...]

    @property
    def identity(self) -> str:
        return self.inner.identity

    def segment_names(self, volume: Volume, names: Sequence[str]) -> dict[str, NamedMask]:
        return self.inner.segment_names(volume, names)


def evaluate_scan_diagnosis(
    references: Iterable[Reference | ReportRow],
    by_name: Callable[[], SegmentsByName],
    told: Callable[[str], None],
    *,
    baselines: bool = True,
) -> list[ScanDiagnosisRow]:
    """Diagnoses every scan.

    Args:
        references: scans with their masks.
        by_name: the model.
        told: hears which scan is done.
        baselines: whether what looks at no image is scored too.
    """
    rows: list[ScanDiagnosisRow] = []
    for reference in references:
        if isinstance(reference, ReportRow):
            rows.append(ScanDiagnosisRow(reference.case, reference.kind, {}, {}, error=reference.error))
            continue
        try:
            rows += list(_rows_of(reference, by_name(), baselines=baselines))
        except _FAILURES as error:
            said = str(error) if isinstance(error, MedVLError) else f"{type(error).__name__}: {error}"
            rows.append(ScanDiagnosisRow(reference.name, reference.kind, {}, {}, error=said))
            continue
        told(reference.name)
    return rows


def summarise_scan_diagnoses(rows: Iterable[ScanDiagnosisRow]) -> dict[str, dict[str, float]]:
    """All metrics by kind, over the structures of all its scans together."""
    by_kind: dict[str, list[ScanDiagnosisRow]] = {}
    for row in rows:
        if not row.error:
            by_kind.setdefault(row.kind, []).append(row)
    return {kind: scores_of(same) for kind, same in by_kind.items()}


def scan_diagnosis_as_json(row: ScanDiagnosisRow) -> dict[str, Any]:
    """A row as `--json` writes it."""
    what: dict[str, Any] = {"case": row.case, "label": "ct", "kind": row.kind}
    if row.error:
        return what | {"error": row.error}
    found = {"abnormal": _tags(row.said), "right_abnormal": _tags(row.right)}
    return (
        what
        | {name: [" ".join(tag) for tag in sorted(tags)] for name, tags in found.items()}
        | scores_of([row])
    )


def scores_of(rows: Sequence[ScanDiagnosisRow]) -> dict[str, float]:
    """What was measured of some diagnoses; what there is nothing to measure of is left out."""
    judged = [(right, row.said.get(name)) for row in rows for name, right in row.right.items()]
    abnormal = [bool(said) for right, said in judged if right]
    normal = [said is not None and not said for right, said in judged if not right]
    called = [bool(row.right.get(name)) for row in rows for name, said in row.said.items() if said]
    overlaps = [overlap for row in rows for overlap in row.overlaps]
    either_ml = sum(overlap.either_ml for overlap in overlaps)
    common_ml = sum(overlap.common_ml for overlap in overlaps)
    measured = {
        "giou": _mean([overlap.iou for overlap in overlaps]),
        "ciou": (common_ml / either_ml if either_ml else 1.0) if overlaps else None,
        "accuracy": _mean([row.is_leading_right for row in rows]),
        "structure_accuracy": _mean([*abnormal, *normal]),
        "sensitivity": _mean(abnormal),
        "specificity": _mean(normal),
        "precision": _mean(called),
        "abnormal_f1": _f1(rows),
    }
    return {name: value for name, value in measured.items() if value is not None}


def _rows_of(reference: Reference, by_name: SegmentsByName, *, baselines: bool) -> Iterator[ScanDiagnosisRow]:
    asked = asked_for(reference, by_name.names)
    model = _Only(by_name, tuple(name for name in by_name.names if name in asked.seen))
    right = asked.report
    yield _judged(asked, right, report_scan(asked.volume, model), asked.kind)
    if baselines:
        yield _judged(asked, right, report_scan(blank(asked.volume), model), f"{asked.kind}/{BLANK}")
        states = states_of(right)
        is_normal = NORMAL in _leading(right)
        kind = f"{asked.kind}/{MAJORITY}"
        yield ScanDiagnosisRow(asked.name, kind, states, dict.fromkeys(states, frozenset()), is_normal)


def _judged(asked: Reference, right: ScanReport, said: ScanReport, kind: str) -> ScanDiagnosisRow:
    condition = diagnosis_of(said).condition
    return ScanDiagnosisRow(
        asked.name,
        kind,
        states_of(right),
        states_of(said),
        (_plain(condition) if condition else None) in _leading(right),
        tuple(_overlaps(asked, right, said)),
    )


def states_of(scan: ScanReport) -> States:
    """Of each structure that is judged, what is abnormal of it: nothing, its size, a lesion."""
    states: dict[str, frozenset[str]] = {}
    for one in scan.evidence:
        if one.diameters is not None:
            holder = one.within.name if one.within is not None else _ELSEWHERE
            states[holder] = states.get(holder, frozenset()) | {LESION}
        elif one.size is not None:
            size = {str(one.size)} if one.size is not Size.NORMAL else set()
            states[one.label] = states.get(one.label, frozenset()) | size
    return states


def _leading(scan: ScanReport) -> set[str | None]:
    """The conditions that nothing else considered is surer than."""
    diagnosis = diagnosis_of(scan)
    most = max((share for _, share in diagnosis.considered), default=0.0)
    leading: set[str | None] = {_plain(name) for name, share in diagnosis.considered if share == most}
    return leading or {diagnosis.condition}


def _plain(condition: str) -> str:
    """Without the number of a lesion."""
    return re.sub(r" \d+$", "", condition)


def _overlaps(asked: Reference, right: ScanReport, said: ScanReport) -> Iterator[Overlap]:
    affine, shape = asked.volume.affine, asked.volume.shape
    truth, drawn = _masks(right, asked.volume), _masks(said, asked.volume)
    nothing = CroppedMask.empty(shape)
    for name in dict.fromkeys(LESION if seeks_lesions((name,)) else name for name in asked.seen):
        one, other = truth.get(name, nothing), drawn.get(name, nothing)
        common_ml = volume_ml(one.within(other), affine)
        yield Overlap(common_ml, volume_ml(one, affine) + volume_ml(other, affine) - common_ml)


def _masks(scan: ScanReport, volume: Volume) -> dict[str, CroppedMask]:
    masks = {one.label: one.mask for one in scan.evidence if one.diameters is None}
    lesions = [one.mask for one in scan.evidence if one.diameters is not None]
    return masks | {LESION: union(lesions, volume.shape)}


def _tags(states: States) -> set[tuple[str, str]]:
    return {(name, state) for name, found in states.items() for state in found}


def _f1(rows: Sequence[ScanDiagnosisRow]) -> float | None:
    said = {(row.case, *tag) for row in rows for tag in _tags(row.said)}
    right = {(row.case, *tag) for row in rows for tag in _tags(row.right)}
    return 2 * len(said & right) / (len(said) + len(right)) if said or right else None


def _mean(values: Sequence[float | bool]) -> float | None:
    return float(np.mean(values)) if values else None
