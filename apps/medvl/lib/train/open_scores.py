"""Scores of answers to open questions: words, numbers, sides, and names.

Words are those of the short answer, held against the reference's: they do not tell a number that is nearly
right from any other, which the share of close numbers does. A question without an answer scores 0 in
everything; where a number was asked for, its relative error counts as 1, as if 0 had been said.

Baselines: `question_only` is the model shown a blank image, which says that it cannot tell. `majority` says
to each form of question what is right most often, of numbers the median, over the very questions that it is
scored on: with few questions of a form, it knows one of the answers.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.predict.answer import answer_question
from lib.predict.named import SegmentsByName
from lib.train.open_questions import OpenQuestion
from lib.train.text_metrics import bleu, meteor, rouge_l
from lib.volume import Volume

CLOSE = 0.1
"""Relative error up to which a number is close."""
MEDIAN_ERROR = "number_error_median"
METRICS = ("bleu1", "rouge_l", "meteor", "numbers_within_10", MEDIAN_ERROR, "laterality", "words_right")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SIDES = re.compile(r"\b(left|right)\b")


@dataclass(frozen=True)
class OpenRow:
    """One open question to one contender.

    Attributes:
        case: its name.
        kind: of the reference, or `kind/baseline`.
        question: with its right answer.
        said: the answer, as short as can be; "" for none.
    """

    case: str
    kind: str
    question: OpenQuestion
    said: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """All that applies to the question."""
        right = self.question.answer
        words = {
            "bleu1": bleu(self.said, right, 1),
            "rouge_l": rouge_l(self.said, right),
            "meteor": meteor(self.said, right),
        }
        return words | self._number_scores() | self._word_scores()

    def _number_scores(self) -> dict[str, float]:
        wanted = self.question.number
        if wanted is None:
            return {}
        found = _NUMBER.search(self.said)
        error = relative_error(float(found.group()), wanted) if found else 1.0
        return {"numbers_within_10": float(error <= CLOSE), MEDIAN_ERROR: error}

    def _word_scores(self) -> dict[str, float]:
        scores = {}
        if self.question.side is not None:
            said = set(_SIDES.findall(self.said.lower()))
            scores["laterality"] = float(said == {str(self.question.side)})
        if self.question.is_word:
            scores["words_right"] = float(self.said.casefold() == self.question.answer.casefold())
        return scores


def relative_error(said: float, wanted: float) -> float:
    """How far a number is from another, in parts of that; 1 for whatever is not the 0 that was wanted."""
    return abs(said - wanted) / abs(wanted) if wanted else float(said != wanted)


def asked_open(
    case: str, kind: str, questions: Iterable[OpenQuestion], volume: Volume, by_name: SegmentsByName
) -> list[OpenRow]:
    """The model's answers.

    Args:
        case: its name.
        kind: that the rows get.
        questions: about it.
        volume: what is shown.
        by_name: the model.
    """
    rows = []
    for question in questions:
        answer = answer_question(question.text, volume, by_name).answer
        rows.append(OpenRow(case, kind, question, answer.answer if answer.is_answered else ""))
    return rows


def most_frequent(rows: Sequence[OpenRow], baseline: str) -> Iterator[OpenRow]:
    """What is right most often, said to each question of a form, in hindsight.

    Args:
        rows: of the model, of any kinds of reference.
        baseline: its name.
    """
    by_form: dict[tuple[str, str], list[OpenQuestion]] = {}
    for row in rows:
        by_form.setdefault((row.kind, row.question.form), []).append(row.question)
    usual = {form: _usual(questions) for form, questions in by_form.items()}
    for row in rows:
        said = usual[row.kind, row.question.form]
        yield OpenRow(row.case, f"{row.kind}/{baseline}", row.question, said)


def summarise_open(rows: Iterable[OpenRow]) -> dict[str, dict[str, float]]:
    """By kind: means, and the median of the numbers' errors."""
    return {kind: _summary(same) for kind, same in _by_kind(rows).items()}


def open_as_json(row: OpenRow) -> dict[str, Any]:
    """A row as `--json` writes it."""
    return {
        "case": row.case,
        "label": str(row.question.kind),
        "kind": row.kind,
        "question": row.question.text,
        "answer": row.said,
        "right_answer": row.question.answer,
    } | row.metrics


def _usual(questions: Sequence[OpenQuestion]) -> str:
    """The most frequent answer; of numbers the one in the middle."""
    if all(one.number is not None for one in questions):
        ordered = sorted(questions, key=lambda one: one.number or 0.0)
        return ordered[(len(ordered) - 1) // 2].answer
    return Counter(one.answer for one in questions).most_common(1)[0][0]


def _by_kind(rows: Iterable[OpenRow]) -> Mapping[str, list[OpenRow]]:
    found: dict[str, list[OpenRow]] = {}
    for row in rows:
        found.setdefault(row.kind, []).append(row)
    return found


def _summary(rows: Sequence[OpenRow]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in rows:
        for metric, value in row.metrics.items():
            found.setdefault(metric, []).append(value)
    return {
        metric: float(np.median(found[metric]) if metric == MEDIAN_ERROR else np.mean(found[metric]))
        for metric in METRICS
        if metric in found
    }
