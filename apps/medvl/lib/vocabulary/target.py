"""What a sentence asks for."""

from dataclasses import dataclass
from enum import StrEnum

from lib.vocabulary.structures import Side, Structure


class Pick(StrEnum):
    """Which one of several, by size or by place."""

    LARGEST = "largest"
    SMALLEST = "smallest"
    UPPERMOST = "uppermost"
    LOWERMOST = "lowermost"
    LEFTMOST = "leftmost"
    RIGHTMOST = "rightmost"
    FRONTMOST = "frontmost"
    REARMOST = "rearmost"


class Relation(StrEnum):
    """Where something lies, as seen from a structure; left and right are the patient's."""

    IN = "in"
    OUTSIDE = "outside"
    NEAR = "near"
    ABOVE = "above"
    BELOW = "below"
    FRONT = "in front of"
    BEHIND = "behind"
    LEFT_OF = "left of"
    RIGHT_OF = "right of"


@dataclass(frozen=True)
class Place:
    """Where to look.

    Attributes:
        relation: how the target lies to the structures.
        structures: the union of these; none if only a part is said ("in segment 7").
        part: "upper pole", "segment 7", or "" for the whole.
    """

    relation: Relation
    structures: tuple[Structure, ...]
    part: str = ""


@dataclass(frozen=True)
class Target:
    """One thing that a sentence asks for.

    Attributes:
        phrase: the words that it was read from.
        structures: each gets a mask; none if what is asked for is not known.
        side: what was said, whether or not the structures have sides ("the left lesion").
        pick: which one of several.
        rank: 1 for the largest, 2 for the second largest, and so on.
        part: "upper pole", "tail", "segment 7", or "" for the whole.
        places: where it must lie, all of them.
        excluded: "no liver", "except the spleen".
        unread: words of the phrase that were not understood.
        suggestion: a known word that looks like the unknown one, or "".
        certainty: that the phrase means the structures, 0 to 1; 1 where it names them.
    """

    phrase: str
    structures: tuple[Structure, ...] = ()
    side: Side | None = None
    pick: Pick | None = None
    rank: int = 1
    part: str = ""
    places: tuple[Place, ...] = ()
    excluded: bool = False
    unread: tuple[str, ...] = ()
    suggestion: str = ""
    certainty: float = 1.0

    @property
    def known(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self.structures)

    @property
    def names(self) -> tuple[str, ...]:
        """The structures' names."""
        return tuple(structure.name for structure in self.structures)
