"""Sentences put together by rule: served without a language model, and what written ones are held against."""

from lib.predict.facts import Certainty, Facts, Topic
from lib.text import Size

SIZE_WORDS = {Size.NORMAL: "of normal size", Size.ENLARGED: "enlarged", Size.SMALL: "small"}


def composed(facts: Facts) -> str:
    """The sentence that says these facts, put together by rule."""
    if facts.topic is Topic.STRUCTURE:
        return _structure(facts)
    if facts.topic is Topic.LESION:
        return _lesion(facts)
    if facts.topic is Topic.SOME_LESIONS:
        if facts.count > 1:
            return f"{facts.count} lesions, the largest of {facts.axes} {facts.place}."
        return f"One {facts.name} of {facts.axes} {facts.place}."
    if facts.topic is Topic.A_SIZE and facts.size is not None:
        words = SIZE_WORDS[facts.size]
        return f"{words[:1].upper()}{words[1:]} {facts.name}."
    return _PLAIN[facts.topic].format(name=facts.name)


_PLAIN = {
    Topic.SHORTER: "The {name} is clearly shorter than the other kidney.",
    Topic.NORMAL_SIZES: "Normal size of the {name}.",
    Topic.NONE_WHOLE: "No organ whose size could be judged is wholly in the scan.",
    Topic.NO_LESION: "No lesion was found.",
    Topic.NOT_SOUGHT: "Lesions were not looked for.",
}


def _structure(facts: Facts) -> str:
    name, verb = facts.name, "are" if facts.is_plural else "is"
    numbers = f" ({said})" if (said := _numbers(facts)) else ""
    who = f"The {name} {verb}"
    if facts.certainty is Certainty.POSSIBLE:
        who = f"What may be the {name} is"
    elif facts.certainty is Certainty.PROBABLE:
        is_judged = facts.size is not None
        who = f"The {name} {verb} probably" if is_judged else f"What is probably the {name} is"
    doubt = "; this is uncertain" if facts.certainty is Certainty.POSSIBLE else ""
    if facts.is_partial:
        return f"{who} partly in the scan{numbers}{doubt}."
    state = SIZE_WORDS[facts.size] if facts.size is not None else "seen"
    beside = " and clearly shorter than its partner" if facts.is_shorter else ""
    return f"{who} {state}{beside}{numbers}{doubt}."


def _numbers(facts: Facts) -> str:
    said = {"volume": f"{{}}{' of it' if facts.is_partial else ''}"}
    return ", ".join(
        said.get(quantity, f"{quantity} {{}}").format(value) for quantity, value in facts.numbers
    )


def _lesion(facts: Facts) -> str:
    hedge = f"{facts.certainty.value} " if facts.certainty.value else ""
    cut = " and reaches the edge of the scan" if facts.is_partial else ""
    numbers = ", ".join(
        value if quantity == "volume" else f"{quantity} {value}" for quantity, value in facts.numbers
    )
    return f"A {hedge}{facts.name} of {facts.axes} lies {facts.place}{cut} ({numbers})."
