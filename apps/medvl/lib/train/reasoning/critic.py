"""Holds a step against the facts: modality, place, side, size, parts, density, diagnosis, and what is denied.

Nothing is taken on trust: what cannot be traced to a fact is a problem, and goes back to who wrote it.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from lib.predict.consistency import Claim, claims_in
from lib.train.reasoning.compose import NUMBER_WORDS, describe
from lib.train.reasoning.facts import MOST_PARTS, Facts
from lib.train.reasoning.knowledge import Knowledge
from lib.train.reasoning.steps import OPENERS, Step
from lib.train.reasoning.wording import (
    CONDITION,
    ORGAN,
    TARGET,
    clauses,
    content_stems,
    densities_said,
    is_hedged,
    is_negated,
    masked,
    organs_said,
    places_said,
    sizes_said,
    words_said,
)

_LEAST_WORDS, _MOST_WORDS = 3, 90
_MOST_STRANGE = 0.5
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_BOTH = re.compile(r"\b(bilateral(?:ly)?|both|either side)\b", re.IGNORECASE)
_PATIENT_SIDE = re.compile(
    r"\b(?:left|right)[\s-]+(?:breast|eye|lung|kidney|chest|side of the (?:patient|body))\b", re.IGNORECASE
)
_PIECES = r"(?:\w+\s+){0,2}?(?:parts?|regions?|components?|areas?|pieces?|lesions?|foci|focus)\b"
_COUNT = re.compile(
    rf"\b(one|two|three|four|five|six|seven|eight|nine|single|solitary|several|multiple|many|\d+)\s+{_PIECES}",
    re.IGNORECASE,
)
_CHATTER = re.compile(
    r"\[SEG\]|\n|[{}<>|#*]|\b(?:as an ai|i'm sorry|i cannot|here is|here's|rewrit\w+|rephras\w+|paraphras\w+|"
    r"the sentence|the facts?|the statement|note that|please)\b",
    re.IGNORECASE,
)
_NO_DIAGNOSIS = re.compile(r"\b(?:diagnos\w+|condition|disease|cause)\b", re.IGNORECASE)
_NORMAL = re.compile(r"(?<!ab)\bnormal\b|\bunremarkable\b|\bhealthy\b", re.IGNORECASE)
_ILL = re.compile(r"\b(?:disease|abnormal\w*|patholog\w+|lesion)\b", re.IGNORECASE)
_MM = {"mm": 1.0, "cm": 10.0}


class Kind(StrEnum):
    """What a problem is about."""

    FORM = "form"
    MODALITY = "modality"
    LOCATION = "location"
    SIDE = "side"
    SIZE = "size"
    PARTS = "parts"
    DENSITY = "density"
    NEGATION = "negation"
    DIAGNOSIS = "diagnosis"
    UNMEASURED = "unmeasured"
    STRANGE = "strange"
    OPINION = "opinion"
    """Of a language model that acts as critic."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a step.

    Attributes:
        kind: what it is about.
        text: what was said and what is so, as the writer is told.
    """

    kind: Kind
    text: str


@runtime_checkable
class Critic(Protocol):
    """Whoever judges a step."""

    @property
    def name(self) -> str:
        """As rows say it."""

    def problems_of(self, step: Step, text: str, facts: Facts, seed: int) -> tuple[Problem, ...]:
        """All that is wrong; empty: accepted."""


@dataclass(frozen=True)
class FactsCritic:
    """Reads a step word by word, without a model.

    Attributes:
        knowledge: words of modalities, conditions and diseases.
    """

    knowledge: Knowledge
    name: str = "facts"

    def problems_of(self, step: Step, text: str, facts: Facts, seed: int) -> tuple[Problem, ...]:  # noqa: ARG002
        """All that is wrong, whatever the seed; what is missing is wrong too."""
        form = _form_problems(text)
        if form:
            return form
        said = masked(text, facts, self.knowledge)
        return (
            *self._modality(step, said, facts),
            *_location(step, text, said, facts, self.knowledge),
            *_sides(step, said, facts),
            *_numbers(step, said, facts),
            *_parts(said, facts),
            *_words_of_size(said, facts),
            *_densities(said, facts),
            *_denials(step, said, facts),
            *self._diagnosis(step, said, facts),
            *self._diseases(step, said, facts),
            *self._unmeasured(step, said, facts),
            *self._strange(step, text, facts),
        )

    def _modality(self, step: Step, said: str, facts: Facts) -> list[Problem]:
        own = self.knowledge.modality(facts.modality)
        others = [words for words in self.knowledge.modalities.values() if words != own]
        wrong = [word for words in others for word in words_said(said, words.words)]
        problems = [
            Problem(Kind.MODALITY, f"it says {word}, but the modality is {own.name}") for word in wrong
        ]
        if step is Step.MODALITY and not words_said(said, own.words):
            problems.append(Problem(Kind.MODALITY, f"it does not say that the modality is {own.name}"))
        return problems

    def _diagnosis(self, step: Step, said: str, facts: Facts) -> list[Problem]:
        if step not in (Step.CONSIDERATIONS, Step.DIAGNOSIS):
            return []
        naming = [clause for clause in clauses(said) if CONDITION in clause]
        if any(is_negated(clause) for clause in naming):
            return [Problem(Kind.NEGATION, f"it denies the diagnosis {facts.condition}")]
        if step is Step.CONSIDERATIONS:
            return []
        if facts.is_normal:
            return _not_normal(said)
        if facts.condition is None:
            return _not_open(said)
        return (
            []
            if naming
            else [Problem(Kind.DIAGNOSIS, f"the diagnosis is {facts.condition}; it says another")]
        )

    def _diseases(self, step: Step, said: str, facts: Facts) -> list[Problem]:
        """Words of disease that are not the row's own; open ones are considerations."""
        considering = step is Step.CONSIDERATIONS
        return [
            Problem(
                Kind.DIAGNOSIS, f"it says {word}, which is not the diagnosis ({facts.condition or 'none'})"
            )
            for clause in clauses(said)
            for word in words_said(clause, self.knowledge.diseases)
            if not (considering and is_hedged(clause))
        ]

    def _unmeasured(self, step: Step, said: str, facts: Facts) -> list[Problem]:
        known = " ".join(self.knowledge.condition(facts.condition or "").considerations).lower()
        allowed = set(words_said(known, self.knowledge.unmeasured)) if step is Step.CONSIDERATIONS else set()
        words = [word for word in words_said(said, self.knowledge.unmeasured) if word not in allowed]
        return [Problem(Kind.UNMEASURED, f"it says {word}, which was not measured") for word in words]

    def _strange(self, step: Step, text: str, facts: Facts) -> list[Problem]:
        """Considerations of which most words are about something else, as small models write them."""
        everything = [self.knowledge.condition(facts.condition or ""), *self.knowledge.conditions.values()]
        known = [said for one in everything for said in (*one.considerations, *one.words)]
        known += [*self.knowledge.considerations, *self.knowledge.considerations_none]
        known += [*self.knowledge.considerations_normal, *self.knowledge.diseases]
        known += describe(facts, self.knowledge).values()
        stems = content_stems(" ".join(known))
        said = content_stems(text)
        strange = said - stems
        if step is not Step.CONSIDERATIONS or len(strange) <= _MOST_STRANGE * len(said):
            return []
        return [Problem(Kind.STRANGE, "most of its words are about something else")]


def _form_problems(text: str) -> tuple[Problem, ...]:
    words = text.split()
    if not _LEAST_WORDS <= len(words) <= _MOST_WORDS:
        return (Problem(Kind.FORM, f"it has {len(words)} words; {_LEAST_WORDS} to {_MOST_WORDS} are wanted"),)
    chatter = _CHATTER.search(text)
    if chatter or any(opener in text for opener in OPENERS.values()):
        return (Problem(Kind.FORM, "it holds more than the sentence that was asked for"),)
    if text.rstrip()[-1] not in ".!":
        return (Problem(Kind.FORM, "its last sentence has no end"),)
    sentences = [part.strip().lower() for part in re.split(r"(?<=[.!?])\s+", text)]
    if len(set(sentences)) < len(sentences):
        return (Problem(Kind.FORM, "it says the same sentence twice"),)
    return ()


def _location(step: Step, text: str, said: str, facts: Facts, knowledge: Knowledge) -> list[Problem]:
    problems = []
    is_middle = not facts.places and (facts.side is None or not facts.is_picture)
    allowed = set(facts.places) | ({"middle"} if is_middle else set())
    for place in sorted(places_said(said) - allowed):
        so = " ".join(facts.places) or "neither upper nor lower"
        problems.append(Problem(Kind.LOCATION, f"it says {place}, but the place is {so}"))
    of_condition = knowledge.condition(facts.condition or "").considerations
    known = organs_said(" ".join(of_condition)) if step is Step.CONSIDERATIONS else []
    problems += [
        Problem(Kind.LOCATION, f"it names the {organ}, which is not in the mask's facts")
        for organ in organs_said(said, known)
    ]
    if step is Step.ANALYSIS and facts.within is not None and ORGAN not in said and TARGET not in said:
        problems.append(Problem(Kind.LOCATION, f"it does not say that it lies in the {facts.within}"))
    if step is Step.ANALYSIS and facts.places and not places_said(said):
        problems.append(Problem(Kind.LOCATION, f"it does not say {' '.join(facts.places)}"))
    if step is Step.ANALYSIS and not {TARGET, CONDITION} & set(re.findall(r"[A-Z]{5,}", said)):
        problems.append(Problem(Kind.LOCATION, f"it does not name the {facts.target}"))
    if facts.is_picture and _PATIENT_SIDE.search(text):
        problems.append(
            Problem(Kind.SIDE, "it says a side of the patient; only that of the picture is known")
        )
    return problems


def _sides(step: Step, said: str, facts: Facts) -> list[Problem]:
    words = {word.lower() for word in _SIDE.findall(said)}
    both = bool(_BOTH.search(said)) or len(words) > 1
    if facts.is_bilateral:
        if words and not both:
            return [Problem(Kind.SIDE, f"it says {words.pop()}, but it is on both sides")]
        missing = step is Step.ANALYSIS and not both
        return [Problem(Kind.SIDE, "it does not say that it is on both sides")] if missing else []
    so = "in the middle or on no known side" if facts.side is None else str(facts.side)
    wrong = [word for word in sorted(words) if word != so]
    if both and not wrong:
        wrong = ["both"]
    if wrong:
        return [Problem(Kind.SIDE, f"it says {' and '.join(wrong)}, but the side is {so}")]
    if step is Step.ANALYSIS and facts.side is not None and not words:
        return [Problem(Kind.SIDE, f"it does not say that the side is {so}")]
    return []


def _numbers(step: Step, said: str, facts: Facts) -> list[Problem]:
    counts = [found.span(1) for found in _COUNT.finditer(said)]
    claims = [claim for claim in claims_in(said) if claim.span not in counts]
    wrong = [claim for claim in claims if not any(_agrees(claim, value) for value in _measured(claim, facts))]
    problems = [
        Problem(
            Kind.SIZE, f"the number {claim.value:g} {claim.unit}".rstrip() + " is not a measurement of it"
        )
        for claim in wrong
    ]
    if step is Step.ANALYSIS and not any(claim.unit != "hu" for claim in claims if claim not in wrong):
        problems.append(Problem(Kind.SIZE, "it does not give the size in numbers"))
    return problems


def _measured(claim: Claim, facts: Facts) -> list[float]:
    """What a number may be, in its own unit."""
    if claim.unit in ("ml", "cm3", "cm³", "cc"):
        values = [facts.volume_ml]
    elif claim.unit == "hu":
        values = [None if claim.quantity == "sd" else facts.median_hu]
    elif claim.unit == "%":
        values = [facts.area_percent]
    elif claim.unit in _MM:
        axes = {"long axis": [facts.long_axis_mm], "short axis": [facts.short_axis_mm]}
        values = axes.get(claim.quantity, [facts.long_axis_mm, facts.short_axis_mm])
    else:
        values = []
    scale = _MM.get(claim.unit, 1.0)
    return [value / scale for value in values if value is not None]


def _agrees(claim: Claim, value: float) -> bool:
    return abs(claim.value - value) <= 0.5 * 10.0**-claim.decimals + 1e-6


def _parts(said: str, facts: Facts) -> list[Problem]:
    wrong = [word for word in _COUNT.findall(said) if not _counts(word.lower(), facts.parts)]
    so = "many" if facts.parts >= MOST_PARTS else NUMBER_WORDS[facts.parts]
    return [Problem(Kind.PARTS, f"it says {word} part(s), but there are {so}") for word in wrong]


def _counts(word: str, parts: int) -> bool:
    if word in ("single", "solitary"):
        return parts == 1
    if word in ("several", "multiple", "many"):
        return parts > 2 if word == "many" else parts > 1
    number = int(word) if word.isdigit() else NUMBER_WORDS.index(word)
    return number == parts < MOST_PARTS


def _words_of_size(said: str, facts: Facts) -> list[Problem]:
    so = "not judged" if facts.size is None else str(facts.size)
    return [
        Problem(Kind.SIZE, f"it says {size}, but its size is {so}")
        for size in sorted(sizes_said(said))
        if size is not facts.size
    ]


def _densities(said: str, facts: Facts) -> list[Problem]:
    return [
        Problem(Kind.DENSITY, f"it says {density}, but it is {facts.density}")
        for density in sorted(densities_said(said))
        if density is not facts.density
    ]


def _denials(step: Step, said: str, facts: Facts) -> list[Problem]:
    """What is seen is there: a description denies nothing, and nobody denies the object itself."""
    denied = [clause for clause in clauses(said) if is_negated(clause)]
    if step in (Step.MODALITY, Step.ANALYSIS):
        return [Problem(Kind.NEGATION, f"it denies something: {clause!r}") for clause in denied]
    named = (clause for clause in denied if TARGET in clause and not facts.is_normal)
    return [Problem(Kind.NEGATION, f"it denies the {facts.target}: {clause!r}") for clause in named]


def _not_normal(said: str) -> list[Problem]:
    parts = clauses(said)
    ill = any(_ILL.search(part) and not is_negated(part) for part in parts)
    well = any(
        (_NORMAL.search(part) and not is_negated(part)) or (_ILL.search(part) and is_negated(part))
        for part in parts
    )
    # "normal, without a sign of disease" says both things at once, and both are right
    denied = any(_NORMAL.search(part) and is_negated(part) and not _ILL.search(part) for part in parts)
    if well and not ill and not denied:
        return []
    return [Problem(Kind.DIAGNOSIS, "no disease is recorded; it has to say that the appearance is normal")]


def _not_open(said: str) -> list[Problem]:
    if any(is_negated(part) and _NO_DIAGNOSIS.search(part) for part in clauses(said)):
        return []
    return [Problem(Kind.DIAGNOSIS, "no diagnosis is recorded; it has to say that none can be made")]
