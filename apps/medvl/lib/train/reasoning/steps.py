"""The four steps of a chain of thought, and the answer that they make up."""

import re
from collections.abc import Mapping
from enum import StrEnum

from lib.model.tokens import SEG


class Step(StrEnum):
    """In the order of the answer."""

    MODALITY = "modality"
    ANALYSIS = "analysis"
    CONSIDERATIONS = "considerations"
    DIAGNOSIS = "diagnosis"


OPENERS = {
    Step.MODALITY: "Firstly,",
    Step.ANALYSIS: "Secondly,",
    Step.CONSIDERATIONS: "Thirdly,",
    Step.DIAGNOSIS: "Finally,",
}
_HEAD = f"It is {SEG}."
_PARTS = re.compile(
    r"\A.*?\bFirstly,\s*(.+?)\s+Secondly,\s*(.+?)\s+Thirdly,\s*(.+?)\s+Finally,\s*(.+?)\s*\Z", re.DOTALL
)
_CAPITAL = re.compile(r"\A[A-Z](?=[a-z]*[\s,])")


def joined(steps: Mapping[Step, str]) -> str:
    """The whole answer: the mask's token, then each step behind its opening word."""
    return " ".join([_HEAD, *(f"{OPENERS[step]} {_uncapitalised(steps[step])}" for step in Step)])


def parse(answer: str) -> dict[Step, str] | None:
    """The steps of an answer, each a sentence with its capital; None where one is missing."""
    found = _PARTS.match(answer)
    if found is None:
        return None
    return {step: text[:1].upper() + text[1:] for step, text in zip(Step, found.groups(), strict=True)}


def _uncapitalised(text: str) -> str:
    """Abbreviations such as CT and X-ray keep their capital."""
    return _CAPITAL.sub(lambda found: found.group().lower(), text, count=1)
