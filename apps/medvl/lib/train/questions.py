"""Closed questions about a scan whose masks are known, each with its right answer.

The facts are measured on the reference's masks; what is too near to a limit for anybody to tell is not asked.
Yes and no are asked for about equally often, and the right letter is drawn by lot, so that an answer cannot
be guessed from the question.
"""

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from lib.geometry import spacing_mm, world_axes
from lib.predict.atlas import body_frame
from lib.predict.evidence import Seen
from lib.predict.facts import spoken
from lib.predict.measure import Measurement, length_mm, measure
from lib.predict.ranges import is_scrap, judge_size
from lib.text import Size
from lib.vocabulary import QuestionKind, load_vocabulary
from lib.volume import Volume

ASKED_OF = (
    "liver", "spleen", "kidney_right", "kidney_left", "gallbladder", "stomach", "pancreas", "urinary_bladder",
    "heart", "aorta", "inferior_vena_cava", "lung_left", "lung_right", "colon",
    "esophagus", "trachea", "duodenum",
)  # fmt: skip
"""Structures that questions are about."""
JUDGED = ("liver", "spleen", "kidney_right", "kidney_left")
_LEAST_ML = 2.0
"""Less than this of a structure is too little to be asked about."""
_MOST_EACH = 4
"""Questions of one kind and answer for one scan."""
PLANES = ("sagittal", "coronal", "axial")
CLEAR_OF_MIDDLE_MM, APART_MM, APART_HU = 20.0, 10.0, 15.0
"""What differs by more is told apart by anybody."""
APART_RATIO = 0.2
"""Logarithm of the ratio of two volumes, likewise."""
_AS_FINE = 0.98
_LADDER = (0.35, 0.6, 1.0, 1.65, 2.8)
"""Wrong volumes that are offered, as multiples of the right one."""
_BELOW, _ABOVE = 0.7, 1.4
"""Limits that are asked for, as multiples of the right value."""
_LIMIT_HU = 25.0


@dataclass(frozen=True)
class ClosedQuestion:
    """A question with its answer.

    Attributes:
        text: as it is asked.
        kind: what it is about.
        answer: "yes", "no", or the right letter.
        options: number of answers that it offers.
    """

    text: str
    kind: QuestionKind
    answer: str
    options: int = 2


@dataclass(frozen=True, eq=False)
class Facts:
    """What the reference says of a scan.

    Attributes:
        name: of the case; questions are drawn by it.
        volume: the scan.
        seen: structure to mask; empty for what is known to be absent.
        phase: of the contrast medium, where it is known; "" else.
    """

    name: str
    volume: Volume
    seen: Mapping[str, Seen]
    phase: str = ""
    measured: dict[str, Measurement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ASKED_OF:
            if name in self.seen and self.seen[name].mask.count:
                self.measured[name] = measure(self.seen[name].mask, self.volume)

    @property
    def there(self) -> list[str]:
        """Structures of which enough is in the scan."""
        return [
            name
            for name, one in self.measured.items()
            if one.volume_ml >= _LEAST_ML and not is_scrap(name, one.volume_ml, is_partial=one.is_partial)
        ]

    @property
    def absent(self) -> list[str]:
        """Structures that are known not to be in the scan."""
        return [name for name in ASKED_OF if name in self.seen and not self.seen[name].mask.count]

    @property
    def whole(self) -> list[str]:
        """Structures that are wholly in the scan."""
        return [name for name in self.there if not self.measured[name].is_partial]

    @property
    def plane(self) -> str:
        """Of the slices; "" where the grid is as fine in two directions and nothing says which is meant."""
        spacing = np.array(spacing_mm(self.volume.affine))
        axis = int(spacing.argmax())
        if np.sort(spacing)[-2] > _AS_FINE * spacing[axis]:
            return ""
        return PLANES[world_axes(self.volume.affine)[axis][0]]

    def beside_middle_mm(self) -> dict[str, float]:
        """How far to the patient's right each structure's centre lies of the middle of the body."""
        frame = body_frame(self.volume)
        middle_mm = (frame.low_mm[0] + frame.high_mm[0]) / 2
        return {name: self.measured[name].centre_ras_mm[0] - middle_mm for name in self.there}


def closed_questions(facts: Facts) -> list[ClosedQuestion]:
    """All questions about a scan, always the same ones."""
    rng = np.random.default_rng(zlib.crc32(facts.name.encode()))
    makers = (_presence, _count, _side, _size, _density, _location, _comparison, _phase, _plane, _abnormality)
    return [question for make in makers for question in make(facts, rng)]


def _presence(facts: Facts, rng: np.random.Generator) -> Iterator[ClosedQuestion]:
    there, absent = by_lot(facts.there, rng), by_lot(facts.absent, rng)
    count = max(1, min(len(there), len(absent)))
    for names, answer in ((there[:count], "yes"), (absent[:count], "no")):
        for name in names:
            text = _one_of(rng, "Is the {} visible in this scan?", "Does this scan show the {}?")
            yield ClosedQuestion(text.format(called(name)), QuestionKind.PRESENCE, answer)


def _count(facts: Facts, rng: np.random.Generator) -> Iterator[ClosedQuestion]:
    for pair, words in ((("kidney_left", "kidney_right"), "kidneys"), (("lung_left", "lung_right"), "lungs")):
        if not all(name in facts.there or name in facts.absent for name in pair):
            continue
        number = sum(name in facts.there for name in pair)
        yield _choice(f"How many {words} are visible?", QuestionKind.COUNT, str(number), ("0", "1", "2"), rng)


def _side(facts: Facts, rng: np.random.Generator) -> Iterator[ClosedQuestion]:
    beside = facts.beside_middle_mm()
    clear = [name for name, mm in beside.items() if abs(mm) > CLEAR_OF_MIDDLE_MM and "_" not in name]
    for name in by_lot(clear, rng):
        side = "right" if beside[name] > 0 else "left"
        asked = _one_of(rng, "left", "right")
        text = f"Does the centre of the {called(name)} lie on the patient's {asked} side?"
        yield ClosedQuestion(text, QuestionKind.SIDE, "yes" if asked == side else "no")


def _size(facts: Facts, rng: np.random.Generator) -> Iterator[ClosedQuestion]:
    for number, name in enumerate(by_lot(facts.whole, rng)):
        volume_ml = facts.measured[name].volume_ml
        if number % 2:
            yield _ladder(name, volume_ml, rng)
            continue
        is_more = bool(rng.random() < 0.5)
        limit = _round(volume_ml * (_BELOW if is_more else _ABOVE))
        text = f"Is the volume of the {called(name)} larger than {limit} ml?"
        yield ClosedQuestion(text, QuestionKind.SIZE, "yes" if is_more else "no")
    for name in by_lot([name for name in facts.whole if name in JUDGED], rng)[:2]:
        length = length_mm(facts.seen[name].mask, facts.volume.affine)
        is_more = bool(rng.random() < 0.5)
        limit_cm = length / 10 * (0.8 if is_more else 1.25)
        text = f"Is the {called(name)} longer than {limit_cm:.1f} cm?"
        yield ClosedQuestion(text, QuestionKind.SIZE, "yes" if is_more else "no")


def _ladder(name: str, volume_ml: float, rng: np.random.Generator) -> ClosedQuestion:
    wrong = rng.choice([step for step in _LADDER if step != 1.0], 3, replace=False)
    texts = [f"{_round(volume_ml * step)} ml" for step in (1.0, *wrong)]
    return _choice(f"What is the volume of the {called(name)}?", QuestionKind.SIZE, texts[0], texts, rng)


def _density(facts: Facts, rng: np.random.Generator) -> Iterator[ClosedQuestion]:
    for name in by_lot(facts.there, rng):
        is_more = bool(rng.random() < 0.5)
        limit = round(facts.measured[name].mean_hu + (-_LIMIT_HU if is_more else _LIMIT_HU))
        text = f"Is the mean density of the {called(name)} above {limit} HU?"
        yield ClosedQuestion(text, QuestionKind.DENSITY, "yes" if is_more else "no")


def _location(facts: Facts, rng: np.random.Generator) -> Iterator[ClosedQuestion]:
    partial = [name for name in facts.there if name not in facts.whole]
    for names, answer in ((by_lot(facts.whole, rng)[:2], "yes"), (by_lot(partial, rng)[:2], "no")):
        for name in names:
            text = f"Is the {called(name)} wholly in the scan?"
            yield ClosedQuestion(text, QuestionKind.LOCATION, answer)
    for one, other in pairs_by_lot(facts, rng):
        apart = facts.measured[one].centre_ras_mm[2] - facts.measured[other].centre_ras_mm[2]
        if abs(apart) > APART_MM:
            text = f"Does the {called(one)} lie higher than the {called(other)}?"
            yield ClosedQuestion(text, QuestionKind.LOCATION, "yes" if apart > 0 else "no")


def _comparison(facts: Facts, rng: np.random.Generator) -> Iterator[ClosedQuestion]:
    for one, other in pairs_by_lot(facts, rng):
        first, second = facts.measured[one], facts.measured[other]
        if (
            one in facts.whole
            and other in facts.whole
            and abs(math.log(first.volume_ml / second.volume_ml)) > APART_RATIO
        ):
            text = f"Is the {called(one)} larger than the {called(other)}?"
            answer = "yes" if first.volume_ml > second.volume_ml else "no"
            yield ClosedQuestion(text, QuestionKind.COMPARISON, answer)
        if abs(first.mean_hu - second.mean_hu) > APART_HU:
            denser = one if first.mean_hu > second.mean_hu else other
            texts = (called(one), called(other))
            yield _choice("Which is denser?", QuestionKind.COMPARISON, called(denser), texts, rng)


def _phase(facts: Facts, rng: np.random.Generator) -> Iterator[ClosedQuestion]:
    if not facts.phase or "aorta" not in facts.there:
        return
    text = "Was contrast medium given?"
    yield ClosedQuestion(text, QuestionKind.PHASE, "no" if facts.phase == "native" else "yes")
    phases = ("native", "arterial", "portal venous")
    yield _choice(
        "Which phase of the contrast medium is shown?", QuestionKind.PHASE, facts.phase, phases, rng
    )


def _plane(facts: Facts, rng: np.random.Generator) -> Iterator[ClosedQuestion]:
    plane = facts.plane
    if plane:
        yield _choice("In which plane do the slices lie?", QuestionKind.PLANE, plane, PLANES, rng)


def _abnormality(facts: Facts, rng: np.random.Generator) -> Iterator[ClosedQuestion]:
    """The size of organs; lesions are asked for by nobody yet."""
    for name in (one for one in facts.whole if one in JUDGED):
        one = facts.measured[name]
        length = length_mm(facts.seen[name].mask, facts.volume.affine)
        size = judge_size(name, one.volume_ml, one.extent_mm, length)
        if size is None:
            continue
        other = Size.ENLARGED if size is Size.NORMAL else Size.NORMAL
        asked = size if rng.random() < 0.5 else other
        words = {Size.NORMAL: "of normal size", Size.SMALL: "abnormally small"}.get(asked, "enlarged")
        answer = "yes" if asked is size else "no"
        yield ClosedQuestion(f"Is the {called(name)} {words}?", QuestionKind.ABNORMALITY, answer)


def pairs_by_lot(facts: Facts, rng: np.random.Generator) -> list[tuple[str, str]]:
    """The two kidneys, and other structures that are there, in either order."""
    names = by_lot(facts.there, rng, 2 * _MOST_EACH)
    pairs = list(zip(names[::2], names[1::2], strict=False))
    if {"kidney_left", "kidney_right"} <= set(facts.there):
        pairs = [("kidney_left", "kidney_right"), *pairs]
    unique = [pair for at, pair in enumerate(pairs) if set(pair) not in [set(one) for one in pairs[:at]]]
    return [(two, one) if rng.random() < 0.5 else (one, two) for one, two in unique]


def _choice(
    text: str, kind: QuestionKind, right: str, texts: "tuple[str, ...] | list[str]", rng: np.random.Generator
) -> ClosedQuestion:
    order = [texts[number] for number in rng.permutation(len(texts))]
    offered = " ".join(f"{chr(ord('A') + number)}: {one}" for number, one in enumerate(order))
    return ClosedQuestion(f"{text} {offered}", kind, chr(ord("A") + order.index(right)), len(order))


def by_lot(names: list[str], rng: np.random.Generator, most: int = _MOST_EACH) -> list[str]:
    """Some of the names, in an order drawn by lot."""
    return [names[number] for number in rng.permutation(len(names))[:most]]


def _one_of(rng: np.random.Generator, *texts: str) -> str:
    return texts[int(rng.integers(len(texts)))]


def called(name: str) -> str:
    """A structure as a question has it."""
    structure = load_vocabulary().structure(name)
    return spoken(structure) if structure else name.replace("_", " ")


def _round(value: float) -> int:
    """Two figures, as people say volumes."""
    step = 10 ** max(0, math.floor(math.log10(max(value, 1.0))) - 1)
    return max(1, round(value / step) * step)
