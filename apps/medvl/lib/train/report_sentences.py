"""Sentences of reports in many wordings, from which the language model learns to write them.

Each says all of its facts, and nothing else but gas in a hollow organ, which is not among the facts: only the
visual token shows it.
"""

from dataclasses import dataclass

import numpy as np

from lib.predict.facts import Certainty, Facts, Topic
from lib.text import Size

_STATES = {Size.NORMAL: "normal", Size.ENLARGED: "enlarged", Size.SMALL: "small"}


@dataclass(frozen=True)
class NumberWording:
    """One way of saying the numbers of a structure.

    Attributes:
        around: what they are put into.
        length: of an organ.
        height: of an organ.
        volume: of what is wholly in the scan.
        of: the volume of what is partly in the scan.
        mean: density.
    """

    around: str
    length: str
    height: str
    volume: str
    of: str
    mean: str


@dataclass(frozen=True)
class Wordings:
    """All ways of saying something; see `configs/train/reports.yaml`.

    Attributes:
        sure: by state: normal, enlarged, small, seen, partial.
        probable: the same.
        possible: seen and partial.
        shorter: than the other one.
        doubt: behind what is possible.
        gas: in a hollow organ.
        numbers: of a structure.
        cut: of a lesion at the scan's edge.
        lesion: one finding.
        one_lesion: in the impression.
        some_lesions: in the impression.
        enlarged: in the impression.
        small: in the impression.
        kidney: the shorter one, in the impression.
        normal_sizes: in the impression.
        none_whole: in the impression.
        no_lesion: in the impression.
        not_sought: in the impression.
    """

    sure: dict[str, tuple[str, ...]]
    probable: dict[str, tuple[str, ...]]
    possible: dict[str, tuple[str, ...]]
    shorter: tuple[str, ...]
    doubt: tuple[str, ...]
    gas: tuple[str, ...]
    numbers: tuple[NumberWording, ...]
    cut: tuple[str, ...]
    lesion: tuple[str, ...]
    one_lesion: tuple[str, ...]
    some_lesions: tuple[str, ...]
    enlarged: tuple[str, ...]
    small: tuple[str, ...]
    kidney: tuple[str, ...]
    normal_sizes: tuple[str, ...]
    none_whole: tuple[str, ...]
    no_lesion: tuple[str, ...]
    not_sought: tuple[str, ...]


def worded(facts: Facts, wordings: Wordings, rng: np.random.Generator, *, has_gas: bool = False) -> str:
    """One sentence that says the facts.

    Args:
        facts: of the sentence.
        wordings: to draw from.
        rng: draws.
        has_gas: whether to say that there is gas in it.
    """
    draw = _Draw(wordings, rng)
    if facts.topic is Topic.STRUCTURE:
        return f"{draw.structure(facts, has_gas=has_gas)}."
    if facts.topic is Topic.LESION:
        return f"{draw.lesion(facts)}."
    return f"{draw.impression(facts)}."


@dataclass(frozen=True)
class _Draw:
    wordings: Wordings
    rng: np.random.Generator

    def one_of(self, texts: tuple[str, ...]) -> str:
        return texts[int(self.rng.integers(len(texts)))]

    def structure(self, facts: Facts, *, has_gas: bool) -> str:
        heads = {
            Certainty.SURE: self.wordings.sure,
            Certainty.PROBABLE: self.wordings.probable,
            Certainty.POSSIBLE: self.wordings.possible,
        }[facts.certainty]
        state = "partial" if facts.is_partial else _STATES[facts.size] if facts.size is not None else "seen"
        parts = [_filled(self.one_of(heads[state]), facts)]
        if facts.is_shorter:
            parts.append(self.one_of(self.wordings.shorter))
        parts.append(self.numbers(facts))
        if has_gas:
            parts.append(self.one_of(self.wordings.gas))
        if facts.certainty is Certainty.POSSIBLE:
            parts.append(self.one_of(self.wordings.doubt))
        return "".join(parts)

    def numbers(self, facts: Facts) -> str:
        if not facts.numbers:
            return ""
        wording = self.wordings.numbers[int(self.rng.integers(len(self.wordings.numbers)))]
        by_quantity = {
            "length": wording.length,
            "height": wording.height,
            "volume": wording.of if facts.is_partial and facts.topic is Topic.STRUCTURE else wording.volume,
            "mean": wording.mean,
        }
        said = [by_quantity[quantity].format(value) for quantity, value in facts.numbers]
        last = ", " if wording.around.endswith(")") else " and "
        return wording.around.format(last.join([", ".join(said[:-1]), said[-1]] if said[:-1] else said))

    def lesion(self, facts: Facts) -> str:
        cut = self.one_of(self.wordings.cut) if facts.is_partial else ""
        return f"{_filled(self.one_of(self.wordings.lesion), facts)}{cut}{self.numbers(facts)}"

    def impression(self, facts: Facts) -> str:
        words = self.wordings
        texts = {
            Topic.SOME_LESIONS: words.some_lesions if facts.count > 1 else words.one_lesion,
            Topic.A_SIZE: words.small if facts.size is Size.SMALL else words.enlarged,
            Topic.SHORTER: words.kidney,
            Topic.NORMAL_SIZES: words.normal_sizes,
            Topic.NONE_WHOLE: words.none_whole,
            Topic.NO_LESION: words.no_lesion,
            Topic.NOT_SOUGHT: words.not_sought,
        }[facts.topic]
        return _filled(self.one_of(texts), facts)


def _filled(wording: str, facts: Facts) -> str:
    are_several = facts.is_plural or (facts.topic is Topic.NORMAL_SIZES and " and " in facts.name)
    return wording.format(
        n=facts.name,
        x=facts.axes,
        p=facts.place,
        k=facts.count,
        h=f"{facts.certainty.value} " if facts.certainty.value else "",
        **{"is": "are" if are_several else "is", "has": "have" if are_several else "has"},
    )
