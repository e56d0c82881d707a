"""What is asked of structures' size and density, alone, against a limit, or against each other."""

import math
from collections.abc import Sequence

from lib.predict.ask_place import listed, seen_parts
from lib.predict.facts import BONES
from lib.predict.measure import axial_diameters, length_mm
from lib.predict.parts import LookedAt, Part
from lib.predict.verdict import Verdict, cannot
from lib.text import Size
from lib.vocabulary import Quantity, Question, State
from lib.volume import Volume

_SIZES = {State.ENLARGED: Size.ENLARGED, State.SMALL: Size.SMALL, State.NORMAL: Size.NORMAL}
_SURE_RATIO, _SURE_HU = 0.3, 30.0
"""What differs so much (logarithm of the ratio; Hounsfield units) differs surely."""
_WORDS = {
    Quantity.VOLUME: "volume",
    Quantity.LENGTH: "longest extent",
    Quantity.DIAMETER: "longest axial diameter",
    Quantity.WIDTH: "width",
    Quantity.DEPTH: "depth",
    Quantity.HEIGHT: "height",
    Quantity.DENSITY: "mean density",
}
_EXTENTS = {Quantity.WIDTH: 0, Quantity.DEPTH: 1, Quantity.HEIGHT: 2}


def quantity_of(part: Part, quantity: Quantity, volume: Volume) -> float:
    """A measurement of a structure that is seen, in the quantity's unit."""
    if part.evidence is None:
        return math.nan
    measured = part.evidence.measured
    if quantity is Quantity.VOLUME:
        return measured.volume_ml
    if quantity is Quantity.DENSITY:
        return measured.mean_hu
    if quantity is Quantity.DIAMETER:
        return axial_diameters(part.mask, volume.affine).long_mm
    if quantity in _EXTENTS:
        return measured.extent_mm[_EXTENTS[quantity]]
    return length_mm(part.mask, volume.affine)


def answer_size(question: Question, scan: LookedAt) -> Verdict:
    """How large or dense a structure is, or whether it is more than a limit."""
    parts, problem = _measurable(question, scan)
    quantity = question.quantity
    if problem is not None or quantity is None:
        return problem or cannot("the question does not say what is to be measured", parts)
    if len(parts) > 1 and question.limit is None:
        is_sum = quantity is Quantity.VOLUME and len(question.targets) == 1
        return _together(parts, scan.volume) if is_sum else _one_by_one(parts, quantity, scan.volume)
    part = parts[0]
    value = quantity_of(part, quantity, scan.volume)
    cut = part.evidence is not None and part.evidence.measured.is_partial
    is_cut = cut and quantity is not Quantity.DENSITY
    if question.is_closed and question.limit is not None:
        return _against(question, part, value, is_cut=is_cut)
    if is_cut:
        return cannot(
            f"the {part.spoken} reaches the edge of the scan; {_measured(part, quantity, value)}", parts
        )
    return Verdict(value, _measured(part, quantity, value) + ".", part.confidence, (part,), quantity.unit)


def answer_comparison(question: Question, scan: LookedAt) -> Verdict:
    """Which of several structures is larger or denser."""
    parts, problem = _measurable(question, scan)
    quantity = question.quantity
    if problem is not None or quantity is None or len(parts) < 2:
        return problem or cannot("it takes two structures to compare", parts)
    values = {part.name: quantity_of(part, quantity, scan.volume) for part in parts}
    order = sorted(parts, key=lambda part: values[part.name], reverse=question.is_more)
    sentence = f"{_capital(_comma([_measured(part, quantity, values[part.name]) for part in parts]))}."
    best, next_best = order[0], order[1]
    larger = best if question.is_more else next_best
    smaller = next_best if question.is_more else best
    if quantity is not Quantity.DENSITY and _is_cut(smaller):
        return cannot(f"the {smaller.spoken} reaches the edge of the scan. {sentence.rstrip('.')}", parts)
    certainty = _certainty(values[larger.name], values[smaller.name], quantity)
    confidence = min(part.confidence for part in parts) * certainty
    if question.is_closed:
        return Verdict(best is parts[0], sentence, confidence, parts)
    return Verdict(best.spoken, sentence, confidence, parts, names=(best.name,))


def answer_state(question: Question, scan: LookedAt) -> Verdict:
    """Whether an organ is enlarged, small or of normal size, against the reference ranges of adults."""
    if question.state not in _SIZES:
        return cannot(
            "these weights judge the size of organs only; ask whether one is enlarged, or for a report"
        )
    parts, problem = seen_parts(question, scan)
    if problem is not None:
        return problem
    for part in parts:
        if part.evidence is None or part.evidence.size is None:
            return cannot(_not_judged(part), parts)
    sizes = [part.evidence.size for part in parts if part.evidence is not None]
    wanted = _SIZES[question.state]
    said = [
        f"the {part.spoken} is {_size_words(size)} ({_basis(part)})"
        for part, size in zip(parts, sizes, strict=True)
    ]
    sentence = f"{_capital(_comma(said))}, against the reference range of adults."
    confidence = min(part.confidence for part in parts)
    if question.is_closed:
        return Verdict(all(size is wanted for size in sizes), sentence, confidence, parts)
    return Verdict(listed([_size_words(size) for size in sizes]), sentence, confidence, parts)


def _measurable(question: Question, scan: LookedAt) -> tuple[tuple[Part, ...], Verdict | None]:
    """The structures asked about, and why they cannot be measured, if so."""
    parts, problem = seen_parts(question, scan)
    bones = [part.spoken for part in parts if part.name in BONES]
    if problem is None and bones and question.quantity in (Quantity.VOLUME, Quantity.DENSITY):
        problem = cannot(f"the mask of the {listed(bones)} misses most of the marrow", parts)
    return parts, problem


def _not_judged(part: Part) -> str:
    if part.evidence is not None and part.evidence.measured.is_partial:
        return f"the {part.spoken} reaches the edge of the scan, so its size cannot be judged"
    if part.name in ("liver", "spleen", "kidney_left", "kidney_right"):
        return f"the mask of the {part.spoken} is too uncertain to judge its size"
    return f"no reference range is known for the {part.spoken}; ask for its volume or length"


def _basis(part: Part) -> str:
    """What the size was judged by."""
    if part.evidence is None:
        return ""
    measured = part.evidence.measured
    if part.evidence.length_mm is not None:
        return f"length {part.evidence.length_mm:.0f} mm"
    return (
        f"height {measured.extent_mm[2]:.0f} mm" if part.name == "liver" else f"{measured.volume_ml:.0f} ml"
    )


def _size_words(size: Size | None) -> str:
    return "of normal size" if size is Size.NORMAL else str(size)


def _one_by_one(parts: tuple[Part, ...], quantity: Quantity, volume: Volume) -> Verdict:
    """Each structure's own measurement."""
    values = [quantity_of(part, quantity, volume) for part in parts]
    words = [f"{part.spoken} {value:.0f} {quantity.unit}" for part, value in zip(parts, values, strict=True)]
    said = _comma([_measured(part, quantity, value) for part, value in zip(parts, values, strict=True)])
    confidence = min(part.confidence for part in parts)
    return Verdict(listed(words), f"{_capital(said)}.", confidence, parts)


def _together(parts: tuple[Part, ...], volume: Volume) -> Verdict:
    """The volume of several structures, such as both lungs."""
    cut = [part for part in parts if _is_cut(part)]
    values = [quantity_of(part, Quantity.VOLUME, volume) for part in parts]
    said = _comma(
        [_measured(part, Quantity.VOLUME, value) for part, value in zip(parts, values, strict=True)]
    )
    if cut:
        return cannot(f"the {cut[0].spoken} reaches the edge of the scan; {said}", parts)
    confidence = min(part.confidence for part in parts)
    return Verdict(sum(values), f"{_capital(said)}.", confidence, parts, "ml")


def _against(question: Question, part: Part, value: float, *, is_cut: bool) -> Verdict:
    limit, quantity = question.limit, question.quantity
    if limit is None or quantity is None or limit.unit not in ("", quantity.unit):
        return cannot(f"the limit must be in {quantity.unit if quantity else 'a unit'}", (part,))
    is_above = value > limit.value
    sentence = _measured(part, quantity, value)
    if is_cut and not is_above:
        return cannot(f"the {part.spoken} reaches the edge of the scan; {sentence}", (part,))
    holds = is_above if question.is_more else value < limit.value
    more = "at least " if is_cut else ""
    confidence = part.confidence * _certainty(value, limit.value, quantity)
    return Verdict(
        holds, f"{_capital(sentence)}{' (' + more.strip() + ')' if more else ''}.", confidence, (part,)
    )


def _measured(part: Part, quantity: Quantity, value: float) -> str:
    share = " in the scan" if _is_cut(part) and quantity is not Quantity.DENSITY else ""
    decimals = 1 if quantity is Quantity.VOLUME and value < 10 else 0
    return f"the {_WORDS[quantity]} of the {part.spoken}{share} is {value:.{decimals}f} {quantity.unit}"


def _is_cut(part: Part) -> bool:
    return part.evidence is not None and part.evidence.measured.is_partial


def _certainty(value: float, other: float, quantity: Quantity) -> float:
    """0.5 for equal values, 1 for clearly different ones."""
    if quantity is Quantity.DENSITY:
        return 0.5 + 0.5 * min(1.0, abs(value - other) / _SURE_HU)
    if value <= 0 or other <= 0:
        return 1.0
    return 0.5 + 0.5 * min(1.0, abs(math.log(value / other)) / _SURE_RATIO)


def _comma(said: Sequence[str]) -> str:
    return "; ".join(said)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
