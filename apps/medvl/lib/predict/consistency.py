"""Whether a sentence says what its mask says; a wrong number or side is put right, or the sentence goes.

A sentence is read for numbers with their units, for left and right, for words of size, and for saying that
something is not there. A number agrees if it is the measurement, rounded as it is written. What cannot be
traced to a measurement (a number without unit, a percentage) is an error too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lib.text import Finding, Size
from lib.vocabulary import Side

_NUMBER = r"(?<![\w.,])([-+]?\d+(?:\.\d+)?)"
_PAIR = re.compile(rf"{_NUMBER}\s*(?:x|\u00d7|by)\s*(\d+(?:\.\d+)?)\s*(mm|cm)\b", re.IGNORECASE)
_SINGLE = re.compile(
    rf"(?:\b(length|height|width|depth|long axis|short axis|sd|mean)\b[\s:=]*(?:of\s+)?)?{_NUMBER}"
    r"\s*(millilitres|ml|cm3|cm³|cc|mm|cm|hu|%)?(?!\w)",
    re.IGNORECASE,
)
SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)
ABSENCE = re.compile(r"\b(no|not|absent|without|missing|removed)\b", re.IGNORECASE)
SIZES = {
    Size.ENLARGED: re.compile(r"\b(enlarged|enlargement|\w*megaly)\b", re.IGNORECASE),
    Size.SMALL: re.compile(r"\b(small|shrunken|atroph\w+)\b(?! bowel| intestine)", re.IGNORECASE),
    Size.NORMAL: re.compile(r"\bnormal(ly)?[- ](in )?size|\bsize (is|are) normal\b", re.IGNORECASE),
}
PARTIAL = re.compile(r"\b(partly|partially|incompletely|cut off)\b", re.IGNORECASE)
GAS = re.compile(r"\b(gas|air)\b", re.IGNORECASE)
GAS_FROM = 0.02
"""Share of a hollow organ's voxels from which there is gas in it."""
_MM_OF = {"mm": 1.0, "cm": 10.0}


@dataclass(frozen=True)
class Claim:
    """One number in a sentence.

    Attributes:
        value: as it is written.
        decimals: with which it is written.
        quantity: length, height, width, depth, long axis, short axis, sd or "".
        unit: in lower case; "" for a bare number.
        span: where the digits are.
    """

    value: float
    decimals: int
    quantity: str
    unit: str
    span: tuple[int, int]


@dataclass(frozen=True)
class Checked:
    """A finding after the check.

    Attributes:
        finding: as it may be said; None: not at all.
        problems: what was wrong, in words; empty if nothing was.
    """

    finding: Finding | None
    problems: tuple[str, ...]


def checked(finding: Finding) -> Checked:
    """The finding as it may be said, after its sentence was held against its measurements."""
    problems = problems_of(finding)
    if not problems:
        return Checked(finding, ())
    repaired = _with_right_side(replace(finding, text=_with_right_numbers(finding)))
    return Checked(None if problems_of(repaired) else repaired, problems)


def problems_of(finding: Finding) -> tuple[str, ...]:
    """All that a sentence says and its mask does not."""
    wrong = [f"number {claim.value:g} {claim.unit}".strip() for claim, ok in judged_claims(finding) if not ok]
    wrong += [f"side {side}" for side, ok in judged_sides(finding) if not ok]
    wrong += [
        f"size {size}"
        for size, said in SIZES.items()
        if said.search(finding.text) and size is not finding.size
    ]
    if ABSENCE.search(finding.text):
        wrong.append("absence of what was drawn")
    if PARTIAL.search(finding.text) and not finding.is_partial:
        wrong.append("partly in the scan")
    if GAS.search(finding.text) and (finding.gas_share or 0.0) < GAS_FROM:
        wrong.append("gas")
    return tuple(wrong)


def judged_claims(finding: Finding) -> list[tuple[Claim, bool]]:
    """All numbers of the sentence, and whether each is the measurement."""
    return [
        (claim, any(_agrees(claim, value) for value in _measured(finding, claim)))
        for claim in claims_in(finding.text)
    ]


def judged_sides(finding: Finding) -> list[tuple[Side, bool]]:
    """All sides that the sentence says, and whether the mask lies there."""
    said = [Side(word.lower()) for word in SIDE.findall(finding.text)]
    return [(side, side is finding.side) for side in said]


def claims_in(sentence: str) -> list[Claim]:
    """Numbers in the order of the sentence; "23 x 17 mm" is a long and a short axis."""
    pairs = list(_PAIR.finditer(sentence))
    found = [claim for pair in pairs for claim in _of_pair(pair)]
    for single in _SINGLE.finditer(sentence):
        if not any(pair.start() <= single.start(2) < pair.end() for pair in pairs):
            quantity, number, unit = single.group(1) or "", single.group(2), single.group(3) or ""
            found.append(_claim(number, quantity, unit, single.span(2)))
    return sorted(found, key=lambda claim: claim.span)


def _of_pair(pair: re.Match[str]) -> Iterator[Claim]:
    yield _claim(pair.group(1), "long axis", pair.group(3), pair.span(1))
    yield _claim(pair.group(2), "short axis", pair.group(3), pair.span(2))


def _claim(number: str, quantity: str, unit: str, span: tuple[int, int]) -> Claim:
    _, _, decimals = number.partition(".")
    kind = {"mean": ""}.get(quantity.lower(), quantity.lower())
    return Claim(float(number), len(decimals), kind, unit.lower(), span)


def _agrees(claim: Claim, value: float) -> bool:
    return abs(claim.value - value) <= 0.5 * 10.0**-claim.decimals + 1e-6


def _measured(finding: Finding, claim: Claim) -> list[float]:
    """What the number may be, in its own unit; of several the first is meant if none fits."""
    if claim.unit in ("ml", "millilitres", "cm3", "cm³", "cc"):
        return [finding.volume_ml]
    if claim.unit == "hu":
        return [finding.sd_hu if claim.quantity == "sd" else finding.mean_hu]
    if claim.unit not in _MM_OF:
        return []
    width, depth, height = finding.extent_mm
    lengths = {
        "length": finding.length_mm,
        "long axis": finding.long_axis_mm,
        "short axis": finding.short_axis_mm,
        "width": width,
        "depth": depth,
        "height": height,
    }
    wanted = [lengths[claim.quantity]] if claim.quantity in lengths else list(lengths.values())
    return [length / _MM_OF[claim.unit] for length in wanted if length is not None]


def _with_right_numbers(finding: Finding) -> str:
    """Numbers whose quantity is certain become the measurement; others stay as they are."""
    text = finding.text
    for claim, ok in reversed(judged_claims(finding)):
        values = _measured(finding, claim)
        if not ok and len(values) == 1:
            begin, end = claim.span
            text = f"{text[:begin]}{values[0]:.{claim.decimals}f}{text[end:]}"
    return text


def _with_right_side(finding: Finding) -> Finding:
    """One side said, and the wrong one: it is turned round; a sentence that says both stays as it is."""
    if finding.side is None or len({side for side, _ in judged_sides(finding)}) != 1:
        return finding
    return replace(finding, text=SIDE.sub(lambda said: _alike(said.group(), str(finding.side)), finding.text))


def _alike(model: str, word: str) -> str:
    return word.capitalize() if model[:1].isupper() else word
