"""From items to noun phrases, and how each hangs on the one before."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from lib.vocabulary.lexicon import Item, Kind
from lib.vocabulary.structures import Concept, Side
from lib.vocabulary.target import Pick, Relation

_ORDINAL = re.compile(r"\d+(st|nd|rd|th)")
_CONTENT = (Kind.CONCEPT, Kind.ADJECTIVE, Kind.PART, Kind.UNKNOWN)
_NEGATIONS = (Kind.NOT, Kind.EXCEPT)


class Link(Enum):
    """How a phrase hangs on what came before it in its clause."""

    NEW = auto()
    AND = auto()
    PLACE = auto()
    OF = auto()


@dataclass
class Noun:
    """One name in a phrase, with what belongs to it.

    Attributes:
        concept: what the name stands for; None if only adjectives or a part were said.
        attributes: concepts before it, with the side said of each ("left lung" in "left lung lesion").
        side: said of it.
        parts: "upper pole" and the like.
        unread: unknown words before it.
        broken: an unknown word behind it is what the phrase is about ("kidney bean").
    """

    concept: Concept | None = None
    attributes: list[Concept] = field(default_factory=list)
    side: Side | None = None
    parts: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    broken: bool = False


@dataclass
class Phrase:
    """The words between two links.

    Attributes:
        link: how it hangs on the phrase before.
        relation: of a place.
        after_and: "and" or "or" stood before the link.
        article: it begins with "the" or alike.
        excluded: under a negation.
        items: its words.
    """

    link: Link = Link.NEW
    relation: Relation = Relation.IN
    after_and: bool = False
    article: bool = False
    excluded: bool = False
    items: list[Item] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its words, as read."""
        return " ".join(item.text for item in self.items)

    @property
    def pick(self) -> Item | None:
        """Which one of several, if it says so."""
        return next(
            (item for item in self.items if item.kind is Kind.PICK and isinstance(item.meaning, Pick)), None
        )

    def has(self, *kinds: Kind) -> bool:
        """Whether there are items of these kinds."""
        return any(item.kind in kinds for item in self.items)


def phrases_of(items: Iterable[Item]) -> list[list[Phrase]]:
    """The phrases of each clause, in order; clauses without content are left out."""
    reader = _ClauseReader()
    for item in items:
        reader.take(item)
    reader.end_clause()
    return [clause for clause in reader.clauses if clause]


class _ClauseReader:
    """Cuts items into phrases.

    `negation` excludes at the moment: "not" until a comma, "except" until "but" or the clause's end.
    """

    def __init__(self) -> None:
        self.clauses: list[list[Phrase]] = [[]]
        self.current = Phrase()
        self.negation: Kind | None = None

    def take(self, item: Item) -> None:
        if item.kind is Kind.STOP:
            self.end_clause()
        elif item.kind is Kind.ARTICLE:
            self._article()
        elif item.kind in (*_CONTENT, Kind.SIDE, Kind.BOTH, Kind.PICK):
            self.current.items.append(item)
        elif item.kind is not Kind.FILLER:
            self._link(item)

    def end_clause(self) -> None:
        self._end_phrase(Phrase())
        if self.clauses[-1]:
            self.clauses.append([])
            self.negation = None

    def _article(self) -> None:
        if self.current.has(*_CONTENT):
            self._end_phrase(Phrase())
        self.current.article = True

    def _link(self, item: Item) -> None:
        after_and = item.kind is Kind.AND or (not self.current.items and self.current.after_and)
        if item.kind is Kind.RELATION and isinstance(item.meaning, Relation):
            self._end_phrase(Phrase(Link.PLACE, item.meaning, after_and))
        elif item.kind is Kind.OF:
            self._end_phrase(Phrase(Link.OF, after_and=after_and))
        else:
            self._end_phrase(Phrase(Link.AND if item.kind is Kind.AND else Link.NEW, after_and=after_and))
            self._negate(item.kind)

    def _negate(self, kind: Kind) -> None:
        if kind in _NEGATIONS:
            self.negation = kind
        elif kind is Kind.BUT or (kind is Kind.COMMA and self.negation is Kind.NOT):
            self.negation = None

    def _end_phrase(self, following: Phrase) -> None:
        if self.current.items:
            self.current.excluded = self.negation is not None
            self.clauses[-1].append(self.current)
        self.current = following


def nouns_of(items: Iterable[Item]) -> list[Noun]:
    """The names of one phrase, each with its side, parts and attributes."""
    nouns: list[Noun] = []
    waiting = Noun()
    for item in items:
        if item.kind is Kind.CONCEPT and isinstance(item.meaning, Concept):
            waiting.concept = item.meaning
            nouns.append(waiting)
            waiting = Noun()
        elif item.kind is Kind.ADJECTIVE and isinstance(item.meaning, Concept):
            waiting.attributes.append(item.meaning)
        elif item.kind is Kind.SIDE and isinstance(item.meaning, Side):
            waiting.side = item.meaning
        elif item.kind is Kind.PART:
            waiting.parts.append(item.text)
        elif item.kind is Kind.UNKNOWN:
            waiting.unread.append(item.text)
            # "hepatic plexus" is not the liver, and no group has a "13th rib"
            waiting.broken = bool(waiting.attributes) or _ORDINAL.fullmatch(item.text) is not None
    return _with_rest(nouns, waiting)


def _with_rest(nouns: list[Noun], rest: Noun) -> list[Noun]:
    """What stands behind the last name belongs to it."""
    if not nouns or rest.attributes:
        return [*nouns, rest] if rest != Noun() else nouns
    last = nouns[-1]
    last.side = last.side or rest.side
    last.parts += rest.parts
    last.unread += rest.unread
    last.broken = last.broken or bool(rest.unread)
    return nouns
