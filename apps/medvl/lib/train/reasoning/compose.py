"""Sentences put together from facts: what the assistant is shown, and what stands where it fails."""

import re
from collections.abc import Sequence

import numpy as np

from lib.train.reasoning.facts import MOST_PARTS, Density, Facts
from lib.train.reasoning.knowledge import Knowledge
from lib.train.reasoning.steps import Step

COMPOSER = "composer"
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DENSITIES = {
    Density.AIR: "that of air",
    Density.FAT: "that of fat",
    Density.FLUID: "that of fluid",
    Density.SOFT_TISSUE: "that of soft tissue",
    Density.DENSE: "above that of soft tissue",
    Density.MIXED: "one of mixed values",
}
_SOUNDS_AN = re.compile(r"[aeio]|u(?!ni)|X-|MR", re.IGNORECASE)
_SINGULAR_S = ("ss", "us", "is", "pancreas")


def compose_question(facts: Facts, knowledge: Knowledge, rng: np.random.Generator) -> str:
    """One of the questions that may be asked of an image."""
    kind = "none" if facts.condition is None else "condition"
    return _filled(_pick(knowledge.questions[kind], rng), facts, knowledge)


def compose_steps(facts: Facts, knowledge: Knowledge, rng: np.random.Generator) -> dict[Step, str]:
    """All four steps, one or two sentences each, with nothing in them that the facts do not say."""
    if facts.is_normal:
        kind, considerations = "diagnosis_normal", knowledge.considerations_normal
    elif facts.condition is None:
        kind, considerations = "diagnosis_none", knowledge.considerations_none
    else:
        kind, considerations = "diagnosis", knowledge.condition(facts.condition).considerations
    steps = {
        Step.MODALITY: knowledge.steps["modality"],
        Step.ANALYSIS: knowledge.steps["analysis"],
        Step.CONSIDERATIONS: considerations,
        Step.DIAGNOSIS: knowledge.steps[kind],
    }
    return {step: _filled(_pick(texts, rng), facts, knowledge) for step, texts in steps.items()}


def describe(facts: Facts, knowledge: Knowledge) -> dict[str, str]:
    """The facts in words, by what they are about; as an assistant and a critic read them."""
    said = {
        "modality": knowledge.modality(facts.modality).name,
        "target": facts.target,
        "location": where(facts),
        "parts": _form(facts),
        "size": _size(facts),
        "density": _density(facts),
        "diagnosis": "no disease" if facts.is_normal else facts.condition or "none is recorded",
    }
    if facts.size is not None:
        said["size"] += f" ({facts.size})"
    return said


def where(facts: Facts) -> str:
    """Where it lies: "in the upper part of the right lung"."""
    if facts.is_picture:
        return _where_in_picture(facts)
    if facts.is_bilateral:
        return "on both sides of the patient"
    side = "" if facts.side is None else f"{facts.side} "
    places = " ".join(facts.places)
    if facts.within is not None:
        organ = f"the {side}{facts.within}"
        return f"in the {places} part of {organ}" if places else f"in {organ}"
    beside = f"on the {side}side of the patient" if side else ""
    inside = f"in the {places} part of the scan" if places else ""
    return ", ".join(part for part in (beside, inside) if part) or "within the scan"


def asked_target(facts: Facts) -> str:
    """How a question calls it: an organ of a pair by its side, which the asker knows."""
    return f"{facts.side} {facts.target}" if facts.is_paired else facts.target


def is_plural(target: str) -> bool:
    """Whether one says "they" of it."""
    last = target.rsplit(maxsplit=1)[-1].lower()
    return last.endswith("s") and not last.endswith(_SINGULAR_S)


def _where_in_picture(facts: Facts) -> str:
    if facts.is_bilateral:
        return "on both sides of the picture"
    words = [*facts.places, *([] if facts.side is None else [str(facts.side)])]
    return f"in the {' '.join(words) or 'middle'} part of the picture"


def _form(facts: Facts) -> str:
    if facts.parts == 1:
        return "in one connected part"
    return f"in {'many' if facts.parts >= MOST_PARTS else NUMBER_WORDS[facts.parts]} separate parts"


def _size(facts: Facts) -> str:
    its = "their" if is_plural(facts.target) else "its"
    if facts.area_percent is not None:
        covers = "they cover" if its == "their" else "it covers"
        return f"{covers} {_number(facts.area_percent)} % of the picture"
    volume = (
        f"{its} volume {'in the scan ' if facts.is_partial else ''}is {_number(facts.volume_ml or 0.0)} ml"
    )
    if facts.long_axis_mm is None or facts.short_axis_mm is None:
        return volume
    axes = f"{_number(facts.long_axis_mm)} x {_number(facts.short_axis_mm)} mm"
    whose = f"{its} axial diameters" if facts.parts == 1 else "the axial diameters of the largest part"
    return f"{whose} are {axes} and {volume}"


def _density(facts: Facts) -> str:
    its, they_are = ("their", "they are") if is_plural(facts.target) else ("its", "it is")
    if facts.density in _DENSITIES:
        return f"{its} median density of {facts.median_hu or 0.0:.0f} HU is {_DENSITIES[facts.density]}"
    return f"{they_are} {str(facts.density).replace('its', its)}"


def _number(value: float) -> str:
    """Three digits, or all before the point."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{decimals}f}"


def _filled(template: str, facts: Facts, knowledge: Knowledge) -> str:
    plural, size = is_plural(facts.target), _size(facts)
    modality = knowledge.modality(facts.modality).name
    names = {
        "asked target": asked_target(facts),
        "target": facts.target,
        "is": "are" if plural else "is",
        "the target": f"the {facts.target}",
        "The target": f"The {facts.target}",
        "lies": "lie" if plural else "lies",
        "is seen": "are seen" if plural else "is seen",
        "where": where(facts),
        "form": _form(facts),
        "size": size,
        "Size": size[:1].upper() + size[1:],
        "density": _density(facts),
        "modality": modality,
        "a modality": f"{'an' if _SOUNDS_AN.match(modality) else 'a'} {modality}",
        "condition": facts.condition or "",
    }
    text = template.format(**names)
    return text[:1].upper() + text[1:]


def _pick(texts: Sequence[str], rng: np.random.Generator) -> str:
    return texts[int(rng.integers(len(texts)))]
