"""Share of closed questions that are answered rightly, by what they are about, beside answers of the blind.

Questions and answers come from the reference's masks (`lib.train.questions`); open questions, which are asked
of the same masks, are scored in `lib.train.open_scores`. A question that the model does not answer counts as
wrong.

Baselines: `question_only` is the model itself shown a blank image; where it then says that it cannot tell, it
guesses the first answer that is offered. `majority` gives the most frequent right answer to each kind of
question, counted over the very questions that it is scored on, which no model could do better without the
image.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lib.errors import MedVLError
from lib.predict.answer import answer_question
from lib.predict.cropped import CroppedMask
from lib.predict.evidence import Seen
from lib.predict.measure import measure
from lib.predict.named import NamedMask, SegmentsByName
from lib.train.baselines import blank
from lib.train.dataset import Case
from lib.train.evaluate_report import UNIONS, ReportRow, case_references
from lib.train.label_names import totalsegmentator_names
from lib.train.open_questions import open_questions
from lib.train.open_scores import OpenRow, asked_open, most_frequent, open_as_json, summarise_open
from lib.train.phantom import make_phantom
from lib.train.phantom_cases import FIRST_PHANTOM, PHANTOM
from lib.train.questions import ASKED_OF, ClosedQuestion, Facts, closed_questions
from lib.train.structures import values_by_structure
from lib.volume import Volume

TASK, METRIC = "vqa", "accuracy_closed"
QUESTION_ONLY, MAJORITY = "question_only", "majority"
_CONTRAST_FROM_HU, _NATIVE_BELOW_HU = 120.0, 70.0
"""Mean of the aorta in the reference from which, and below which, the phase of a real scan is clear."""
_ARTERIAL_FROM_HU, _PORTAL_BELOW_HU = 250.0, 200.0
_FAILURES = (MedVLError, OSError, ValueError, RuntimeError, MemoryError)


@dataclass(frozen=True, eq=False)
class Subject:
    """A scan whose masks are taken to be true.

    Attributes:
        kind: who drew the masks.
        facts: what they say.
    """

    kind: str
    facts: Facts


@dataclass(frozen=True)
class VqaRow:
    """One question to one contender, or one scan that failed.

    Attributes:
        case: its name.
        kind: of the reference, or `kind/baseline`.
        about: what the question is about.
        question: as asked.
        right: the right answer.
        said: what was answered: "yes", "no", a letter, or "" for none.
        error: why there is no answer; empty otherwise.
    """

    case: str
    kind: str
    about: str = ""
    question: str = ""
    right: str = ""
    said: str = ""
    error: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the answer is the right one."""
        return self.said == self.right


@dataclass(frozen=True)
class VqaRows:
    """What was answered to everything.

    Attributes:
        closed: questions that offer their answers, and scans that failed.
        open: questions that do not.
    """

    closed: tuple[VqaRow, ...]
    open: tuple[OpenRow, ...] = ()


@dataclass(frozen=True, eq=False)
class _Remembering:
    """Finds all that is asked of at once, so that the second question costs nothing more."""

    inner: SegmentsByName
    found: dict[str, NamedMask] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return self.inner.names

    @property
    def identity(self) -> str:
        return self.inner.identity

    def segment_names(self, volume: Volume, names: Sequence[str]) -> dict[str, NamedMask]:
        if not self.found:
            wanted = [name for name in self.inner.names if name in ASKED_OF]
            self.found.update(self.inner.segment_names(volume, wanted))
        missing = [name for name in names if name not in self.found]
        if missing:
            self.found.update(self.inner.segment_names(volume, missing))
        return {name: self.found[name] for name in names if name in self.found}


def case_subjects(cases: Iterable[Case]) -> Iterator[Subject | VqaRow]:
    """The cases of a manifest; one that cannot be read is a row that says why."""
    for reference in case_references(cases):
        if isinstance(reference, ReportRow):
            yield VqaRow(reference.case, reference.kind, error=reference.error)
            continue
        aorta = reference.seen.get("aorta")
        is_there = aorta is not None and aorta.mask.count > 0
        phase = _phase(measure(aorta.mask, reference.volume).mean_hu) if is_there and aorta else ""
        yield Subject(reference.kind, Facts(reference.name, reference.volume, reference.seen, phase))


def phantom_subjects(count: int, first: int = FIRST_PHANTOM) -> Iterator[Subject]:
    """Procedural patients; seeds from the millions are never trained on."""
    values = values_by_structure(totalsegmentator_names(), UNIONS)
    for seed in range(first, first + count):
        phantom = make_phantom(seed)
        seen = {
            name: Seen(CroppedMask.of(np.isin(phantom.label_map, value)), 1.0)
            for name, value in values.items()
            if name in ASKED_OF
        }
        phase = str(phantom.facts.phase).replace("_", " ")
        yield Subject(PHANTOM, Facts(f"phantom_{seed}", phantom.volume, seen, phase))


def evaluate_vqa(
    subjects: Iterable[Subject | VqaRow],
    by_name: Callable[[], SegmentsByName],
    told: Callable[[str], None],
    *,
    baselines: bool = True,
) -> VqaRows:
    """Asks everything about every scan.

    Args:
        subjects: scans with their facts.
        by_name: the model.
        told: hears which scan is done.
        baselines: whether the blind are asked too.
    """
    closed: list[VqaRow] = []
    answered: list[OpenRow] = []
    for subject in subjects:
        if isinstance(subject, VqaRow):
            closed.append(subject)
            continue
        try:
            found = _asked_all(subject, by_name, baselines=baselines)
        except _FAILURES as error:
            closed.append(VqaRow(subject.facts.name, subject.kind, error=_reason(error)))
            continue
        closed += found.closed
        answered += found.open
        told(subject.facts.name)
    if baselines:
        closed += list(_majority(closed))
        answered += list(most_frequent([row for row in answered if "/" not in row.kind], MAJORITY))
    return VqaRows(tuple(closed), tuple(answered))


def _asked_all(subject: Subject, by_name: Callable[[], SegmentsByName], *, baselines: bool) -> VqaRows:
    """Closed and open questions, which share the masks that were found for them."""
    facts, kind = subject.facts, subject.kind
    questions, without_offers = closed_questions(facts), open_questions(facts)
    model = _Remembering(by_name())
    closed = _asked(subject, questions, facts.volume, model, kind)
    answered = asked_open(facts.name, kind, without_offers, facts.volume, model)
    if baselines:
        nothing, blind = blank(facts.volume), f"{kind}/{QUESTION_ONLY}"
        closed += _guessed(_asked(subject, questions, nothing, by_name(), blind))
        answered += asked_open(facts.name, blind, without_offers, nothing, by_name())
    return VqaRows(tuple(closed), tuple(answered))


def summarise_vqa(rows: VqaRows) -> dict[str, dict[str, float]]:
    """By kind of reference: accuracy of closed questions, all and by matter, and the scores of open ones."""
    by_kind: dict[str, dict[str, list[float]]] = {}
    for row in rows.closed:
        if not row.error:
            metrics = by_kind.setdefault(row.kind, {})
            metrics.setdefault(METRIC, []).append(float(row.is_right))
            metrics.setdefault(f"{METRIC}_{row.about}", []).append(float(row.is_right))
    of_open = summarise_open(rows.open)
    return {
        kind: {metric: float(np.mean(values)) for metric, values in sorted(metrics.items())}
        | of_open.get(kind, {})
        for kind, metrics in by_kind.items()
    }


def vqa_as_json(rows: VqaRows, split: str, weights_sha256: str) -> dict[str, Any]:
    """What `--json` writes; what failed comes last."""
    failed = [row for row in rows.closed if row.error]
    return {
        "task": TASK,
        "split": split,
        "weights_sha256": weights_sha256,
        "summary": summarise_vqa(rows),
        "rows": [
            *(_as_json(row) for row in rows.closed if not row.error),
            *(open_as_json(row) for row in rows.open),
            *(_as_json(row) for row in failed),
        ],
    }


def _as_json(row: VqaRow) -> dict[str, Any]:
    what: dict[str, Any] = {"case": row.case, "label": row.about or TASK, "kind": row.kind}
    if row.error:
        return what | {"error": row.error}
    said = {"question": row.question, "answer": row.said, "right_answer": row.right}
    return what | said | {METRIC: float(row.is_right)}


def _asked(
    subject: Subject, questions: Sequence[ClosedQuestion], volume: Volume, by_name: SegmentsByName, kind: str
) -> list[VqaRow]:
    name = subject.facts.name
    return [
        VqaRow(name, kind, str(one.kind), one.text, one.answer, _said(one, volume, by_name))
        for one in questions
    ]


def _said(question: ClosedQuestion, volume: Volume, by_name: SegmentsByName) -> str:
    """The model's answer; "" where it gives none of those that are offered."""
    answer = answer_question(question.text, volume, by_name).answer
    if not answer.is_answered:
        return ""
    head = answer.answer.partition(":")[0]
    return head if head in ("yes", "no") or len(head) == 1 else ""


def _guessed(rows: Iterable[VqaRow]) -> Iterator[VqaRow]:
    for row in rows:
        guess = "A" if row.right.isupper() else "yes"
        yield VqaRow(row.case, row.kind, row.about, row.question, row.right, row.said or guess)


def _majority(rows: Sequence[VqaRow]) -> Iterator[VqaRow]:
    """The most frequent answer to the questions on one matter of one form, in hindsight."""
    own = [row for row in rows if not row.error and not row.kind.endswith(f"/{QUESTION_ONLY}")]
    counts: dict[tuple[str, str, bool], Counter[str]] = {}
    for row in own:
        counts.setdefault(_form(row), Counter())[row.right] += 1
    for row in own:
        said = counts[_form(row)].most_common(1)[0][0]
        yield VqaRow(row.case, f"{row.kind}/{MAJORITY}", row.about, row.question, row.right, said)


def _form(row: VqaRow) -> tuple[str, str, bool]:
    return row.kind, row.about, row.right.isupper()


def _phase(aorta_hu: float) -> str:
    """Of a real scan, where its aorta leaves no doubt."""
    if aorta_hu < _NATIVE_BELOW_HU:
        return "native"
    if aorta_hu >= _ARTERIAL_FROM_HU:
        return "arterial"
    return "portal venous" if _CONTRAST_FROM_HU <= aorta_hu < _PORTAL_BELOW_HU else ""


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, MedVLError) else f"{type(error).__name__}: {error}"


def mean_by_matter(rows: Iterable[VqaRow], kind: str) -> Mapping[str, tuple[int, int]]:
    """What questions were about, with how many were right of how many."""
    found: dict[str, list[bool]] = {}
    for row in rows:
        if row.kind == kind and not row.error:
            found.setdefault(row.about, []).append(row.is_right)
    return {about: (sum(right), len(right)) for about, right in found.items()}
