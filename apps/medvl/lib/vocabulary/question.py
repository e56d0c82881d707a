"""What a question asks, once it has been read."""

from dataclasses import dataclass
from enum import StrEnum

from lib.vocabulary.target import Relation, Target


class QuestionKind(StrEnum):
    """What a question is about."""

    PLANE = "plane"
    MODALITY = "modality"
    PHASE = "phase"
    PRESENCE = "presence"
    COUNT = "count"
    SIDE = "side"
    SIZE = "size"
    LOCATION = "location"
    DENSITY = "density"
    ABNORMALITY = "abnormality"
    COMPARISON = "comparison"
    UNANSWERABLE = "unanswerable"
    """What no image tells, what is not understood, and what is no question."""


class Quantity(StrEnum):
    """What is measured of a structure."""

    VOLUME = "volume"
    LENGTH = "length"
    """The longest distance in any direction."""
    DIAMETER = "diameter"
    """The longest in an axial slice."""
    WIDTH = "width"
    DEPTH = "depth"
    HEIGHT = "height"
    DENSITY = "density"

    @property
    def unit(self) -> str:
        """In which it is said."""
        return {"volume": "ml", "density": "HU"}.get(self.value, "mm")


class State(StrEnum):
    """What a question asks about a structure's condition or completeness."""

    ENLARGED = "enlarged"
    SMALL = "small"
    NORMAL = "normal"
    WHOLE = "whole"
    PARTIAL = "partial"


@dataclass(frozen=True)
class Limit:
    """What a measurement is held against.

    Attributes:
        value: in millilitres, millimetres or Hounsfield units; a bare number for counts.
        unit: "ml", "mm", "HU" or "".
    """

    value: float
    unit: str


@dataclass(frozen=True)
class Choice:
    """One of the answers that a question offers.

    Attributes:
        letter: upper case.
        text: what it says.
    """

    letter: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question as it was understood.

    Attributes:
        kind: what it is about.
        text: the sentence that asks, without choices.
        targets: the structures that it names, in its order.
        is_closed: it wants yes or no.
        choices: answers that it offers; none for most.
        quantity: what is to be measured.
        limit: what the measurement is held against.
        is_more: "larger than" rather than "smaller than"; also of comparisons.
        relation: how the first structure is said to lie to the second, or which lies so.
        side: "left" or "right", where it asks whether something lies there.
        state: the condition asked about.
        is_negated: it asks whether something is not so.
        said: the word of a plane, phase or modality that a closed question proposes.
        reason: why it cannot be answered, for UNANSWERABLE.
        has_more: further questions follow, which are not answered.
    """

    kind: QuestionKind
    text: str = ""
    targets: tuple[Target, ...] = ()
    is_closed: bool = False
    choices: tuple[Choice, ...] = ()
    quantity: Quantity | None = None
    limit: Limit | None = None
    is_more: bool = True
    relation: Relation | None = None
    side: str = ""
    state: State | None = None
    is_negated: bool = False
    said: str = ""
    reason: str = ""
    has_more: bool = False
