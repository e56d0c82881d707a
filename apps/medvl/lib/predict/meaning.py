"""What a sentence says, read by rule: to hold a written sentence against the one that its facts make by rule.

Read are the structures that it names and their sides, every number with its unit, words of size, hedging,
denial, and whether something is cut off by the scan's edge or shorter than its partner.
"""

import re
from dataclasses import dataclass

from lib.predict.consistency import ABSENCE, GAS, PARTIAL, SIDE, SIZES, Claim, claims_in
from lib.predict.facts import Certainty
from lib.text import Size
from lib.vocabulary import Side, load_vocabulary
from lib.vocabulary.lexicon import lexicon_of, read_items
from lib.vocabulary.structures import Concept

_HEDGES = {
    Certainty.POSSIBLE: re.compile(
        r"\b(possibl[ey]|may|might|uncertain\w*|questionabl[ey]|perhaps)\b", re.IGNORECASE
    ),
    Certainty.PROBABLE: re.compile(r"\b(probabl[ey]|likely|presumabl[ey])\b", re.IGNORECASE),
}
_EDGE = re.compile(r"\bedge of the scan\b", re.IGNORECASE)
_SHORTER = re.compile(r"\bshorter\b", re.IGNORECASE)
_LARGEST = re.compile(r"\b(largest|biggest)\b", re.IGNORECASE)
_PLACE = re.compile(r"\b(upper|lower|anterior|posterior|middle)\b", re.IGNORECASE)

Number = tuple[str, str, str]
"""Quantity where it is one of a pair, digits, and unit."""


@dataclass(frozen=True)
class Meaning:
    """What a sentence says.

    Attributes:
        structures: what it speaks of, as the vocabulary names it.
        sides: of the patient.
        places: parts of an organ.
        numbers: sorted.
        sizes: enlarged, small, normal.
        hedge: how certain it is.
        is_denial: it says that something is not so.
        is_cut: by the scan's edge.
        is_shorter: than something else.
        is_largest: of several.
    """

    structures: frozenset[str]
    sides: frozenset[Side]
    places: frozenset[str]
    numbers: tuple[Number, ...]
    sizes: frozenset[Size]
    hedge: Certainty
    is_denial: bool
    is_cut: bool
    is_shorter: bool
    is_largest: bool


def meaning_of(sentence: str) -> Meaning:
    """What a sentence says, as far as it is read."""
    items = read_items(sentence, lexicon_of(load_vocabulary()))
    return Meaning(
        structures=frozenset(item.meaning.name for item in items if isinstance(item.meaning, Concept)),
        sides=frozenset(Side(word.lower()) for word in SIDE.findall(sentence)),
        places=frozenset(word.lower() for word in _PLACE.findall(sentence)),
        numbers=tuple(sorted(number_of(claim, sentence) for claim in claims_in(sentence))),
        sizes=frozenset(size for size, said in SIZES.items() if said.search(sentence)),
        hedge=next((hedge for hedge, said in _HEDGES.items() if said.search(sentence)), Certainty.SURE),
        is_denial=bool(ABSENCE.search(sentence)),
        is_cut=bool(PARTIAL.search(sentence) or _EDGE.search(sentence)),
        is_shorter=bool(_SHORTER.search(sentence)),
        is_largest=bool(_LARGEST.search(sentence)),
    )


def number_of(claim: Claim, sentence: str) -> Number:
    """A number of a sentence, so that it can be compared with another's."""
    begin, end = claim.span
    pair = claim.quantity if claim.quantity in ("long axis", "short axis") else ""
    return pair, sentence[begin:end], claim.unit


def says_gas(sentence: str) -> bool:
    """Whether a sentence says that there is gas in something."""
    return bool(GAS.search(sentence))
