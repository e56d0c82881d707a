"""Scores of reports, a scan a row, beside the same put together by rule and reports that look at no image.

The reference is what the reporter says of the reference's own masks: of every structure that the labels speak
of and the model knows, and of lesions. Whatever else the model might find is unknown there and is not scored.
It is put together by rule. Word scores (BLEU and so on) are therefore high for reports that are put together
alike, and lower for those that the language model words in its own way; neither is a radiologist's text.

Baselines: `composed` is the report of the same masks, put together by rule; `constant` says of every
structure asked for that it is normal; `template` says so with an adult's usual volumes; `other` is the
reference of another scan.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from lib.errors import MedVLError
from lib.predict.assessable import why_not_assessable
from lib.predict.cropped import CroppedMask
from lib.predict.evidence import Seen
from lib.predict.facts import spoken
from lib.predict.named import SegmentsByName
from lib.predict.ranges import USUAL_ML, judge_size
from lib.predict.regions import ShowsLooks
from lib.predict.report_scan import ScanReport, report_from_masks, seeks_lesions, seen_in
from lib.predict.writing import WritesSentences
from lib.text import Finding, Report
from lib.train.dataset import Case, read_case
from lib.train.label_names import totalsegmentator_names
from lib.train.phantom import make_phantom
from lib.train.phantom_cases import FIRST_PHANTOM, PHANTOM
from lib.train.report_scores import ReportScores, score_report
from lib.train.structures import values_by_structure
from lib.train.text_metrics import bleu, cider, meteor, rouge_l
from lib.vocabulary import load_vocabulary
from lib.volume import Volume

COMPOSED = "composed"
LABEL = "report"
CONSTANT, TEMPLATE, OTHER = "constant", "template", "other"
UNIONS = ("lung_left", "lung_right", "vertebrae", "ribs")
_FAILURES = (MedVLError, OSError, ValueError, RuntimeError, MemoryError)


@dataclass(frozen=True, eq=False)
class Reference:
    """A scan with masks that are taken to be true.

    Attributes:
        name: of the case.
        kind: who drew the masks.
        volume: the scan.
        seen: structure or lesion to mask; empty masks for what the labels say is absent.
    """

    name: str
    kind: str
    volume: Volume
    seen: dict[str, Seen]

    @property
    def report(self) -> ScanReport:
        """What the reporter says of these masks."""
        present = {name: one for name, one in self.seen.items() if one.mask.count}
        return report_from_masks(present, self.volume, lesions_sought=seeks_lesions(tuple(self.seen)))


@dataclass(frozen=True)
class ReportRow:
    """One report of one scan, or one failure.

    Attributes:
        case: its name.
        kind: of the reference, or `kind/baseline`.
        scores: None for a failure.
        words: BLEU, ROUGE-L, METEOR and CIDEr; of written reports also how their sentences came about.
        error: why there are no scores; empty otherwise.
    """

    case: str
    kind: str
    scores: ReportScores | None = None
    words: dict[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """All that was measured."""
        measured = asdict(self.scores) if self.scores else {}
        return self.words | {name: value for name, value in measured.items() if value is not None}


@dataclass(frozen=True, eq=False)
class _Said:
    """What one contender says of one scan."""

    kind: str
    findings: tuple[Finding, ...]
    masks: dict[str, CroppedMask] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return " ".join(finding.text for finding in self.findings)


@dataclass(frozen=True, eq=False)
class _Judged:
    case: str
    right: str
    said: str
    kind: str
    scores: ReportScores
    shares: dict[str, float]


def case_references(cases: Iterable[Case]) -> Iterator[Reference | ReportRow]:
    """The cases of a manifest; one that cannot be read is a row that says why."""
    for case in cases:
        try:
            scan = read_case(case)
            values = values_by_structure(case.labels | scan.objects, UNIONS)
            seen = {name: _seen(np.isin(scan.label_map, value)) for name, value in values.items()}
        except _FAILURES as error:
            yield ReportRow(case.name, case.kind, error=_reason(error))
            continue
        yield Reference(case.name, case.kind, scan.volume, seen)


def phantom_references(seeds: Iterable[int]) -> Iterator[Reference]:
    """Procedural patients, whose lesions are known too."""
    values = values_by_structure(totalsegmentator_names(), UNIONS)
    for seed in seeds:
        phantom = make_phantom(seed)
        seen = {name: _seen(np.isin(phantom.label_map, value)) for name, value in values.items()}
        seen["lesion"] = _seen(phantom.lesion_map > 0)
        yield Reference(f"phantom_{seed}", PHANTOM, phantom.volume, seen)


def references_of(cases: Iterable[Case], phantoms: int) -> Iterator[Reference | ReportRow]:
    """Cases of a manifest, then so many procedural patients that were never trained on."""
    yield from case_references(cases)
    yield from phantom_references(range(FIRST_PHANTOM, FIRST_PHANTOM + phantoms))


def evaluate_report(
    references: Iterable[Reference | ReportRow],
    by_name: Callable[[], SegmentsByName],
    told: Callable[[str], None],
    *,
    baselines: bool = True,
    writer: WritesSentences | None = None,
) -> list[ReportRow]:
    """Reports on every scan and scores what is said; as word scores need all references, rows come last.

    Args:
        references: scans with their masks.
        by_name: the model.
        told: hears which scan is done.
        baselines: whether reports that look at no image are scored too.
        writer: writes the sentences; None: they are put together by rule.
    """
    rows: list[ReportRow] = []
    judged: list[_Judged] = []
    before: ScanReport | None = None
    for reference in references:
        if isinstance(reference, ReportRow):
            rows.append(reference)
            continue
        asked = asked_for(reference, by_name().names)
        try:
            right = asked.report
            said = [*_by_model(asked, by_name(), writer), *(_blind(asked, before) if baselines else ())]
        except _FAILURES as error:
            rows.append(ReportRow(reference.name, reference.kind, error=_reason(error)))
            continue
        judged += [_judge(reference.name, one, right) for one in said]
        before = right
        told(reference.name)
    return [*_with_words(judged), *rows]


def summarise_reports(rows: Iterable[ReportRow]) -> dict[str, dict[str, float]]:
    """Means by kind, of each metric over what it was measured for."""
    by_kind: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row.scores is not None:
            for metric, value in row.metrics.items():
                by_kind.setdefault(row.kind, {}).setdefault(metric, []).append(value)
    return {
        kind: {metric: float(np.mean(values)) for metric, values in metrics.items()}
        for kind, metrics in by_kind.items()
    }


def reports_as_json(rows: Sequence[ReportRow], split: str, weights_sha256: str) -> dict[str, Any]:
    """What `--json` writes."""
    return {
        "task": LABEL,
        "split": split,
        "weights_sha256": weights_sha256,
        "summary": summarise_reports(rows),
        "rows": [
            {"case": row.case, "label": LABEL, "kind": row.kind}
            | (row.metrics if row.scores is not None else {"error": row.error})
            for row in rows
        ],
    }


def asked_for(reference: Reference, served: tuple[str, ...]) -> Reference:
    """The reference without structures that the model was never taught; lesions stay."""
    seen = {name: one for name, one in reference.seen.items() if name in served or seeks_lesions((name,))}
    return replace(reference, seen=seen)


def _by_model(
    reference: Reference, by_name: SegmentsByName, writer: WritesSentences | None
) -> Iterator[_Said]:
    """What the model says; where it writes, also what is put together by rule of the same masks."""
    volume = reference.volume
    if why_not_assessable(volume) is not None:
        yield _Said(reference.kind, ())
        return
    names = [name for name in by_name.names if name in reference.seen]
    found = seen_in(by_name.segment_names(volume, names)) if names else {}
    by_rule = report_from_masks(found, volume, lesions_sought=False)
    if writer is None:
        yield _Said(reference.kind, by_rule.report.findings, by_rule.masks)
        return
    looks = by_name.looks(volume) if isinstance(by_name, ShowsLooks) else {}
    began_s = time.monotonic()
    written = report_from_masks(found, volume, lesions_sought=False, writer=writer, looks=looks)
    shares = {"seconds_writing": time.monotonic() - began_s} | _wording_shares(written.report)
    yield _Said(reference.kind, written.report.findings, written.masks, shares)
    yield _Said(f"{reference.kind}/{COMPOSED}", by_rule.report.findings, by_rule.masks)


def _wording_shares(report: Report) -> dict[str, float]:
    """How the sentences of findings and impression came about, as shares of all."""
    total = max(1, sum(report.wordings.values()))
    return {f"share_{wording}": count / total for wording, count in report.wordings.items()}


def _blind(reference: Reference, before: ScanReport | None) -> Iterator[_Said]:
    """Reports of the structures asked for that look at no image."""
    names = [name for name in reference.seen if not seeks_lesions((name,))]
    yield _Said(f"{reference.kind}/{CONSTANT}", tuple(_normal(name, "") for name in names))
    usual = tuple(_normal(name, f" ({USUAL_ML[name]:.0f} ml)") for name in names if name in USUAL_ML)
    yield _Said(f"{reference.kind}/{TEMPLATE}", usual)
    if before is not None:
        yield _Said(f"{reference.kind}/{OTHER}", before.report.findings)


def _normal(name: str, numbers: str) -> Finding:
    """A sentence with nothing measured; its place is that which its name says."""
    structure = load_vocabulary().structure(name)
    is_judged = judge_size(name, 1.0, (1.0, 1.0, 1.0), 1.0) is not None
    said = spoken(structure) if structure else name.replace("_", " ")
    state = "of normal size" if is_judged else "seen"
    return Finding(
        text=f"The {said} is {state}{numbers}.",
        label=name,
        index=1,
        confidence=1.0,
        volume_ml=0.0,
        mean_hu=0.0,
        sd_hu=0.0,
        extent_mm=(0.0, 0.0, 0.0),
        centre_ras_mm=(0.0, 0.0, 0.0),
    )


def _judge(case: str, said: _Said, right: ScanReport) -> _Judged:
    scores = score_report(said.findings, said.masks, right.report.findings, right.masks)
    reference = " ".join(finding.text for finding in right.report.findings)
    return _Judged(case, reference, said.text, said.kind, scores, said.shares)


def _with_words(judged: Sequence[_Judged]) -> Iterator[ReportRow]:
    """Rarity of n-grams is counted among the references of one contender, each once."""
    by_kind: dict[str, list[_Judged]] = {}
    for one in judged:
        by_kind.setdefault(one.kind, []).append(one)
    for kind, same in by_kind.items():
        ciders = cider([one.said for one in same], [one.right for one in same])
        for one, value in zip(same, ciders, strict=True):
            words = {f"bleu{most}": bleu(one.said, one.right, most) for most in (1, 2, 3, 4)}
            words |= {"rouge_l": rouge_l(one.said, one.right), "meteor": meteor(one.said, one.right)}
            yield ReportRow(one.case, kind, one.scores, words | one.shares | {"cider": value})


def _seen(mask: np.ndarray) -> Seen:
    return Seen(CroppedMask.of(mask), 1.0)


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, MedVLError) else f"{type(error).__name__}: {error}"
