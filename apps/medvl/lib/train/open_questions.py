"""Open questions about a scan whose masks are known, each with the answer that the reference's masks give.

Only what the model claims to answer is asked for: volume, length and axial diameter of what is wholly in the
scan, density, place, side, number, which of two is larger, denser or higher, plane and phase. Lesions are not
asked about, as no weights know any yet, nor are descriptions, which reports give.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lib.predict.facts import HOLLOW
from lib.predict.measure import axial_diameters, length_mm
from lib.train.questions import (
    APART_HU,
    APART_MM,
    APART_RATIO,
    CLEAR_OF_MIDDLE_MM,
    JUDGED,
    Facts,
    by_lot,
    called,
    pairs_by_lot,
)
from lib.vocabulary import QuestionKind, Side, load_vocabulary

_NEAR_MIDDLE_MM = 4.0
"""What lies nearer is in the middle; what lies neither there nor clearly beside it is not asked for."""
_ONE_DECIMAL_BELOW_ML = 10.0


@dataclass(frozen=True)
class OpenQuestion:
    """A question with its answer.

    Attributes:
        text: as it is asked.
        kind: what it is about.
        form: questions of one form differ in nothing but the structures that they name.
        answer: as short as can be: "1512 ml", "abdomen, on the patient's right", "liver".
        number: the answer, where it is one.
        side: that the answer says of a structure whose name says none.
        is_word: the answer is a name or a word, which is either said or not.
    """

    text: str
    kind: QuestionKind
    form: str
    answer: str
    number: float | None = None
    side: Side | None = None
    is_word: bool = False


def open_questions(facts: Facts) -> list[OpenQuestion]:
    """All questions about a scan, always the same ones."""
    rng = np.random.default_rng(zlib.crc32(f"{facts.name}/open".encode()))
    makers = (_volume, _length, _diameter, _density, _place, _side, _count, _which, _plane, _phase)
    return [question for make in makers for question in make(facts, rng)]


def _volume(facts: Facts, rng: np.random.Generator) -> Iterator[OpenQuestion]:
    for name in by_lot(facts.whole, rng):
        asked = ("What is the volume of the {}?", "How large is the {}?")[int(rng.integers(2))]
        yield _number(name, "volume", asked, facts.measured[name].volume_ml, "ml")


def _length(facts: Facts, rng: np.random.Generator) -> Iterator[OpenQuestion]:
    for name in by_lot([name for name in facts.whole if name in JUDGED], rng):
        length = length_mm(facts.seen[name].mask, facts.volume.affine)
        yield _number(name, "length", "How long is the {}?", length, "mm")


def _diameter(facts: Facts, rng: np.random.Generator) -> Iterator[OpenQuestion]:
    for name in by_lot(facts.whole, rng):
        long_mm = axial_diameters(facts.seen[name].mask, facts.volume.affine).long_mm
        yield _number(name, "diameter", "What is the longest axial diameter of the {}?", long_mm, "mm")


def _density(facts: Facts, rng: np.random.Generator) -> Iterator[OpenQuestion]:
    for name in by_lot([name for name in facts.there if name not in HOLLOW], rng):
        hu = facts.measured[name].mean_hu
        yield _number(name, "density", "What is the mean density of the {}?", hu, "HU")


def _number(name: str, form: str, asked: str, number: float, unit: str) -> OpenQuestion:
    kind = QuestionKind.DENSITY if unit == "HU" else QuestionKind.SIZE
    decimals = 1 if unit == "ml" and number < _ONE_DECIMAL_BELOW_ML else 0
    return OpenQuestion(asked.format(called(name)), kind, form, f"{number:.{decimals}f} {unit}", number)


def _place(facts: Facts, rng: np.random.Generator) -> Iterator[OpenQuestion]:
    beside = facts.beside_middle_mm()
    told = [name for name, mm in beside.items() if not _NEAR_MIDDLE_MM < abs(mm) <= CLEAR_OF_MIDDLE_MM]
    for name in by_lot(told, rng):
        structure = load_vocabulary().structure(name)
        if structure is None:
            continue
        side = _side_of(beside[name])
        beside_words = f"on the patient's {side}" if side else "near the middle"
        yield OpenQuestion(
            f"Where is the {called(name)}?",
            QuestionKind.LOCATION,
            "place",
            f"{structure.region}, {beside_words}",
            side=side if structure.side is None else None,
        )


def _side(facts: Facts, rng: np.random.Generator) -> Iterator[OpenQuestion]:
    sides = {name: _side_of(mm) for name, mm in facts.beside_middle_mm().items()}
    clear = [name for name, side in sides.items() if side and not {"left", "right"} & set(name.split("_"))]
    for name in by_lot(clear, rng):
        yield OpenQuestion(
            f"On which side of the body is the {called(name)}?",
            QuestionKind.SIDE,
            "side",
            str(sides[name]),
            side=sides[name],
        )


def _side_of(beside_mm: float) -> Side | None:
    if abs(beside_mm) <= CLEAR_OF_MIDDLE_MM:
        return None
    return Side.RIGHT if beside_mm > 0 else Side.LEFT


def _count(facts: Facts, _: np.random.Generator) -> Iterator[OpenQuestion]:
    for organ in ("kidney", "lung"):
        pair = (f"{organ}_left", f"{organ}_right")
        if all(name in facts.there or name in facts.absent for name in pair):
            number = sum(name in facts.there for name in pair)
            text = f"How many {organ}s are visible?"
            yield OpenQuestion(text, QuestionKind.COUNT, "count", str(number), float(number))


def _which(facts: Facts, rng: np.random.Generator) -> Iterator[OpenQuestion]:
    """Which of two is larger, denser and higher, where that is clear."""
    for pair in pairs_by_lot(facts, rng):
        first, second = (facts.measured[name] for name in pair)
        if all(name in facts.whole for name in pair):
            ratio = math.log(first.volume_ml / second.volume_ml)
            yield from _one_of_two("larger", "is", pair, ratio, APART_RATIO, QuestionKind.COMPARISON)
        apart_hu = first.mean_hu - second.mean_hu
        yield from _one_of_two("denser", "is", pair, apart_hu, APART_HU, QuestionKind.COMPARISON)
        apart_mm = first.centre_ras_mm[2] - second.centre_ras_mm[2]
        yield from _one_of_two("higher", "lies", pair, apart_mm, APART_MM, QuestionKind.LOCATION)


def _one_of_two(
    more: str, verb: str, pair: tuple[str, str], apart: float, least: float, kind: QuestionKind
) -> Iterator[OpenQuestion]:
    if abs(apart) <= least:
        return
    one, other = (called(name) for name in pair)
    text = f"Which {verb} {more}, the {one} or the {other}?"
    yield OpenQuestion(text, kind, more, one if apart > 0 else other, is_word=True)


def _plane(facts: Facts, _: np.random.Generator) -> Iterator[OpenQuestion]:
    if facts.plane:
        text = "In which plane do the slices lie?"
        yield OpenQuestion(text, QuestionKind.PLANE, "plane", facts.plane, is_word=True)


def _phase(facts: Facts, _: np.random.Generator) -> Iterator[OpenQuestion]:
    if facts.phase and "aorta" in facts.there:
        text = "Which phase of the contrast medium is shown?"
        yield OpenQuestion(text, QuestionKind.PHASE, "phase", facts.phase, is_word=True)
