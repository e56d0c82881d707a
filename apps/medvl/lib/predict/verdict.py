"""What was found out about a question, before it is put into the words that the question wants."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.predict.parts import Part
from lib.text import CANNOT
from lib.vocabulary import Choice, Question, parse_targets
from lib.vocabulary.choices import range_of
from lib.vocabulary.question_words import MODALITIES, PHASES, PLANES, said_word

_YES = re.compile(r"^\W*(yes|true|correct|present|visible)\b", re.IGNORECASE)
_NO = re.compile(r"^\W*(no|false|incorrect|absent|not)\b", re.IGNORECASE)
_UNKNOWN = re.compile(
    r"\b(cannot|can't|not (?:be )?\w*determined|undetermined|unknown|not assessable)", re.IGNORECASE
)
_PLACES = (
    "left",
    "right",
    "upper",
    "lower",
    "anterior",
    "posterior",
    "abdomen",
    "chest",
    "pelvis",
    "neck",
    "middle",
)
_NO_CHOICE = "none of the answers that are offered"


@dataclass(frozen=True, eq=False)
class Verdict:
    """An answer as a value.

    Attributes:
        value: a truth, a measurement, or words; None where it cannot be told.
        sentence: the reason, or what was measured.
        confidence: 0 to 1.
        parts: what it rests on.
        unit: of a measurement.
        names: the structures that are the answer, where structures are.
    """

    value: bool | float | str | None
    sentence: str
    confidence: float = 0.0
    parts: tuple[Part, ...] = ()
    unit: str = ""
    names: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The value in words."""
        if isinstance(self.value, bool):
            return "yes" if self.value else "no"
        if isinstance(self.value, float):
            decimals = 1 if self.unit == "ml" and abs(self.value) < 10 else 0
            return f"{self.value:.{decimals}f} {self.unit}".strip()
        return self.value or ""


def cannot(reason: str, parts: tuple[Part, ...] = ()) -> Verdict:
    """No answer.

    Args:
        reason: a clause such as "the liver reaches the edge of the scan".
        parts: what was looked at.
    """
    return Verdict(None, f"This cannot be told from this image: {reason}.", parts=parts)


def turned(verdict: Verdict) -> Verdict:
    """The answer to the same question with "not"."""
    return replace(verdict, value=not verdict.value) if isinstance(verdict.value, bool) else verdict


def in_words(verdict: Verdict, question: Question) -> str:
    """The short answer in the words that the question offers."""
    if verdict.value is None:
        way_out = next((one for one in question.choices if _UNKNOWN.search(one.text)), None)
        return f"{way_out.letter}: {way_out.text}" if way_out else CANNOT
    if not question.choices:
        return verdict.words
    choice = chosen(verdict, question.choices)
    return f"{choice.letter}: {choice.text}" if choice else _NO_CHOICE


def chosen(verdict: Verdict, choices: Sequence[Choice]) -> Choice | None:
    """The answer that is offered and fits; of measurements the nearest."""
    if isinstance(verdict.value, bool):
        pattern = _YES if verdict.value else _NO
        return next((choice for choice in choices if pattern.search(choice.text)), None)
    if isinstance(verdict.value, float):
        return _nearest(verdict.value, choices)
    named = _naming(verdict.names, choices) if verdict.names else None
    return named or _worded(str(verdict.value), choices)


def _nearest(value: float, choices: Sequence[Choice]) -> Choice | None:
    ranges = [(choice, range_of(choice.text)) for choice in choices]
    known = [(choice, *limits) for choice, limits in ranges if limits is not None]
    if not known:
        return None
    return min(known, key=lambda one: _off(value, one[1], one[2]))[0]


def _off(value: float, low: float, high: float) -> float:
    """How far a value is from an interval: 0 within; in parts of the value where both are positive."""
    if low <= value <= high:
        return 0.0
    bound = low if value < low else high
    return float(abs(np.log(value / bound))) if value > 0 and bound > 0 else abs(value - bound)


def _naming(names: Sequence[str], choices: Sequence[Choice]) -> Choice | None:
    """The choice that names just these structures, or else their side."""
    for choice in choices:
        said = {name for target in parse_targets(choice.text) for name in target.names}
        if said and said <= set(names):
            return choice
    sides = {side for side in ("left", "right") for name in names if side in name.split("_")}
    if len(sides) != 1:
        return None
    side = sides.pop()
    return next((one for one in choices if side in one.text.lower().split()), None)


def _worded(value: str, choices: Sequence[Choice]) -> Choice | None:
    for meanings in (PLANES, PHASES, MODALITIES):
        meaning = said_word(value, meanings)
        found = [one for one in choices if meaning and said_word(one.text, meanings) == meaning]
        if found:
            return found[0]
    scored = [(_agreement(value, choice.text), choice) for choice in choices]
    best = max(scored, key=lambda pair: pair[0])
    return best[1] if best[0] > 0 else None


def _agreement(value: str, text: str) -> int:
    """Words of place that both say, less those that only the choice says."""
    said, offered = set(re.findall(r"\w+", value.lower())), set(re.findall(r"\w+", text.lower()))
    places = offered & set(_PLACES)
    return 2 * len(places & said) - len(places - said) if places else len(said & offered)
