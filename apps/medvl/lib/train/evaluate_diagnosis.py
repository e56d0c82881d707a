"""Scores of diagnoses of pictures: gIoU, cIoU and accuracy, with couplings, baselines and test-time scaling.

gIoU is the mean over pictures of the overlap (IoU), 1 where both masks are empty; cIoU is the sum of all
intersections over the sum of all unions. Accuracy counts the pictures whose source names a condition.

Kinds beside a modality's own, which is the plain reading (one path, one look, coupling `region_mask`):
`seg_token`, `points` and `map` are the other couplings; `no_steps` names the condition at a glance, and draws
nothing; `majority` names the condition that most training pictures of the modality had, and draws nothing;
`mM_nN` is the consensus of M paths and N looks; `consensus` that of all; `selected` the best of all by
consensus; `oracle` the best of all by the ground truth, an upper bound that no user can have.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.errors import MedVLError
from lib.model.picture_prior import PictureKind
from lib.predict.candidate import Candidate, Coupling, ReadsPictures
from lib.predict.diagnose import enlarged, reduced
from lib.predict.picture_facts import why_no_picture
from lib.predict.scaling import Consensus, Scaling, consensus, pairwise_overlaps, perturbation
from lib.train.dataset import LabelledScan, read_case
from lib.train.picture_data import PictureCase
from lib.transforms.perturb import Perturbation
from lib.volume import Volume

TASK = "diagnosis"
METRICS = ("giou", "ciou", "accuracy")
ALL = "all"
_FAILURES = (MedVLError, OSError, ValueError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class DiagnosisRow:
    """One answer to one picture, or one failure.

    Attributes:
        case: its name.
        label: the target.
        kind: the modality, or `modality/contender`.
        common_px: pixels in both masks; None where the contender draws nothing.
        either_px: pixels in at least one of them.
        accuracy: 1 or 0; None where the source names no condition.
        error: why there are no scores; empty otherwise.
    """

    case: str
    label: str
    kind: str
    common_px: int | None = None
    either_px: int | None = None
    accuracy: float | None = None
    error: str = ""

    @property
    def giou(self) -> float | None:
        """The overlap; 1 where both masks are empty."""
        if self.common_px is None or self.either_px is None:
            return None
        return self.common_px / self.either_px if self.either_px else 1.0

    @property
    def metrics(self) -> dict[str, float]:
        """All that was measured."""
        named = {"giou": self.giou, "ciou": self.giou, "accuracy": self.accuracy}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, eq=False)
class _Judge:
    """Holds answers against the truth of one picture."""

    case: PictureCase
    scan: LabelledScan
    kinds: tuple[PictureKind, ...]

    def row(self, contender: str, mask: np.ndarray | None, condition: str | None) -> DiagnosisRow:
        truth = self.scan.label_map[:, :, 0] > 0
        kind = f"{self.case.modality}/{contender}" if contender else self.case.modality
        right = None
        if self.case.condition is not None:
            right = float((condition or "").casefold() == self.case.condition.casefold())
        return DiagnosisRow(
            self.case.case.name,
            self.case.target,
            kind,
            None if mask is None else int(np.count_nonzero(mask & truth)),
            None if mask is None else int(np.count_nonzero(mask | truth)),
            right,
        )

    def read(self, contender: str, found: Consensus) -> DiagnosisRow:
        mask = enlarged(found.logits, self.scan.volume.shape[:2])
        return self.row(contender, mask, self._condition(found.kind, found.conditions, mask))

    def _condition(self, kind: int, shares: Sequence[float], mask: np.ndarray) -> str | None:
        names = self.kinds[kind].conditions
        return names[int(np.argmax(shares))] if names and mask.any() else None

    def best(self, contender: str, found: Sequence[Candidate], scores: Sequence[float]) -> DiagnosisRow:
        """The candidate with the highest score."""
        return self.read(contender, consensus([found[int(np.argmax(scores))]]))

    def overlap(self, one: Candidate) -> float:
        """Of a candidate with the truth."""
        row = self.read("", consensus([one]))
        return row.giou or 0.0

    def is_right(self, one: Candidate) -> bool:
        row = self.read("", consensus([one]))
        return row.accuracy == 1.0


def evaluate_diagnosis(
    cases: Iterable[PictureCase],
    reader: ReadsPictures,
    scaling: Scaling,
    told: Callable[[DiagnosisRow], None],
    *,
    ablations: bool = True,
) -> list[DiagnosisRow]:
    """Reads every picture in every way that is compared.

    Args:
        cases: pictures with masks.
        reader: the model.
        scaling: how many paths and looks are compared, at most; its time is not bounded.
        told: hears the plain reading of each picture.
        ablations: whether other couplings and baselines are scored too.
    """
    rows: list[DiagnosisRow] = []
    for case in cases:
        try:
            found = list(_rows_of(case, reader, scaling, ablations=ablations))
        except _FAILURES as error:
            said = str(error) if isinstance(error, MedVLError) else f"{type(error).__name__}: {error}"
            found = [DiagnosisRow(case.case.name, case.target, case.modality, error=said)]
        told(found[0])
        rows += found
    return rows


def summarise_diagnoses(rows: Iterable[DiagnosisRow]) -> dict[str, dict[str, float]]:
    """By kind, and for all modalities together under `all`: gIoU, cIoU and accuracy."""
    by_kind: dict[str, list[DiagnosisRow]] = {}
    for row in rows:
        if not row.error:
            _, _, contender = row.kind.partition("/")
            for kind in (row.kind, f"{ALL}/{contender}" if contender else ALL):
                by_kind.setdefault(kind, []).append(row)
    return {kind: _means(same) for kind, same in sorted(by_kind.items())}


def diagnoses_as_json(rows: Sequence[DiagnosisRow], split: str, weights_sha256: str) -> dict[str, Any]:
    """What `--json` writes."""
    return {
        "task": TASK,
        "split": split,
        "weights_sha256": weights_sha256,
        "summary": summarise_diagnoses(rows),
        "rows": [
            {"case": row.case, "label": row.label, "kind": row.kind}
            | ({"error": row.error} if row.error else row.metrics)
            for row in rows
        ],
    }


def _means(rows: Sequence[DiagnosisRow]) -> dict[str, float]:
    overlaps = [row.giou for row in rows if row.giou is not None]
    right = [row.accuracy for row in rows if row.accuracy is not None]
    either = sum(row.either_px or 0 for row in rows)
    means = {}
    if overlaps:
        means["giou"] = float(np.mean(overlaps))
        means["ciou"] = sum(row.common_px or 0 for row in rows) / either if either else 1.0
    if right:
        means["accuracy"] = float(np.mean(right))
    return means


def _rows_of(
    case: PictureCase, reader: ReadsPictures, scaling: Scaling, *, ablations: bool
) -> Iterator[DiagnosisRow]:
    scan = read_case(case.case)
    judge = _Judge(case, scan, reader.kinds)
    picture = reduced(scan.volume)
    plain = reader.look(picture, Perturbation())
    if why_no_picture(scan.volume) is not None or reader.strangeness(plain) > 1:
        yield judge.row("", np.zeros(scan.volume.shape[:2], dtype=bool), None)
        return
    table = _table(reader, picture, scaling)
    yield judge.read("", consensus([table[0][0]]))
    if scaling.paths * scaling.perturbations > 1:
        yield from _scaled(judge, table)
    if ablations:
        for coupling in (Coupling.SEG_TOKEN, Coupling.POINTS, Coupling.MAP):
            yield judge.read(coupling.value, consensus([reader.follow(plain, coupling=coupling)]))
        yield judge.row("no_steps", None, reader.without_steps(plain))
        yield judge.row("majority", None, _most_frequent(case, reader.kinds))


def _table(reader: ReadsPictures, picture: Volume, scaling: Scaling) -> list[list[Candidate]]:
    """Candidates by look and path."""
    table: list[list[Candidate]] = []
    for number in range(scaling.perturbations):
        look = reader.look(picture, perturbation(number, table[0][0] if table else None))
        table.append([reader.follow(look, path) for path in range(scaling.paths)])
    return table


def _scaled(judge: _Judge, table: Sequence[Sequence[Candidate]]) -> Iterator[DiagnosisRow]:
    for looks in range(1, len(table) + 1):
        for paths in range(1, len(table[0]) + 1):
            some = [one for row in table[:looks] for one in row[:paths]]
            yield judge.read(f"m{paths}_n{looks}", consensus(some))
    every = [one for row in table for one in row]
    yield judge.read("consensus", consensus(every))
    overlaps = pairwise_overlaps([one.mask for one in every])
    scores = [one.iou * one.stability * overlap for one, overlap in zip(every, overlaps, strict=True)]
    yield judge.best("selected", every, scores)
    yield judge.best("oracle", every, [judge.overlap(one) + judge.is_right(one) for one in every])


def _most_frequent(case: PictureCase, kinds: tuple[PictureKind, ...]) -> str | None:
    """The conditions of a kind are listed with the most frequent first."""
    names = [name for kind in kinds if kind.modality == case.modality for name in kind.conditions]
    return names[0] if names else None
