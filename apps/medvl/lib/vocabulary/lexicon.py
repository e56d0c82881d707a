"""From a sentence to items: the longest known names and phrases, left to right."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum, auto
from functools import cached_property, lru_cache

from lib.vocabulary import words
from lib.vocabulary.structures import Concept, Side, Vocabulary
from lib.vocabulary.target import Pick, Relation

_ORDINAL_THEN_SIDE = re.compile(
    r"\b(\d+(?:st|nd|rd|th)|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth)"
    r"\s+(left|right)\b"
)
_TOKEN = re.compile(r"\w+|[.,;:!?()\[\]/&+]")
_IRREGULAR_ENDS = (("vertebra", "vertebrae"), ("vena", "venae"), ("is", "es"))
_SIMILAR = 0.8
_SUGGESTED_FROM = 4


class Kind(Enum):
    """What an item does in a sentence."""

    CONCEPT = auto()
    ADJECTIVE = auto()
    SIDE = auto()
    BOTH = auto()
    PICK = auto()
    PART = auto()
    RELATION = auto()
    OF = auto()
    AND = auto()
    COMMA = auto()
    NOT = auto()
    EXCEPT = auto()
    BUT = auto()
    ARTICLE = auto()
    FILLER = auto()
    STOP = auto()
    UNKNOWN = auto()


@dataclass(frozen=True)
class Item:
    """One or more words with one function.

    Attributes:
        kind: the function.
        text: the words, lower case.
        meaning: what they stand for, for kinds that stand for something.
        rank: of a pick, 2 for "second largest".
    """

    kind: Kind
    text: str
    meaning: Concept | Side | Pick | Relation | None = None
    rank: int = 1


@dataclass(frozen=True)
class Lexicon:
    """Known words and phrases.

    Attributes:
        entries: tokens to item.
    """

    entries: dict[tuple[str, ...], Item]

    @cached_property
    def longest(self) -> int:
        """Number of tokens in the longest entry."""
        return max(len(tokens) for tokens in self.entries)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of structures in one word, for suggestions."""
        kinds = (Kind.CONCEPT, Kind.ADJECTIVE)
        return tuple(
            tokens[0] for tokens, item in self.entries.items() if len(tokens) == 1 and item.kind in kinds
        )

    def suggestion(self, text: str) -> str:
        """The known word that one of the first unknown ones looks like, or an empty text."""
        for word in text.split()[:3]:
            close = (
                get_close_matches(word, self.names, n=1, cutoff=_SIMILAR)
                if len(word) >= _SUGGESTED_FROM
                else []
            )
            if close:
                return close[0]
        return ""


def tokens_of(sentence: str) -> list[str]:
    """Words and marks in lower case; hyphens and underscores part words, possessive endings go.

    "Seventh left rib" is read as "left seventh rib", so that a name is not torn apart.
    """
    plain = unicodedata.normalize("NFKC", sentence).casefold().replace("_", " ")
    plain = _ORDINAL_THEN_SIDE.sub(r"\2 \1", re.sub(r"['\u2019]s\b", "", plain))
    return _TOKEN.findall(plain)


def read_items(sentence: str, lexicon: Lexicon) -> Iterator[Item]:
    """The items of a sentence; what no entry begins with is unknown, one word at a time."""
    tokens = tokens_of(sentence)
    at = 0
    while at < len(tokens):
        item, length = _longest(tokens, at, lexicon)
        yield item
        at += length


@lru_cache(maxsize=4)
def make_lexicon(concepts: tuple[Concept, ...]) -> Lexicon:
    """All entries; names of structures win over everything else that is spelled alike."""
    entries: dict[tuple[str, ...], Item] = {}
    for item in (*_grammar(), *_adjectives(concepts), *_nouns(concepts)):
        entries[tuple(tokens_of(item.text))] = item
    return Lexicon(entries)


def lexicon_of(vocabulary: Vocabulary) -> Lexicon:
    """The lexicon of a vocabulary; made once."""
    return make_lexicon(vocabulary.concepts)


def _longest(tokens: list[str], at: int, lexicon: Lexicon) -> tuple[Item, int]:
    for length in range(min(lexicon.longest, len(tokens) - at), 0, -1):
        item = lexicon.entries.get(tuple(tokens[at : at + length]))
        if item is not None:
            return item, length
    return Item(Kind.UNKNOWN, tokens[at]), 1


def _grammar() -> Iterator[Item]:
    plain = {
        Kind.FILLER: words.FILLERS,
        Kind.STOP: words.STOPS,
        Kind.ARTICLE: words.ARTICLES,
        Kind.AND: words.AND,
        Kind.COMMA: words.COMMA,
        Kind.OF: words.OF,
        Kind.BUT: words.BUT,
        Kind.NOT: words.NOT,
        Kind.EXCEPT: words.EXCEPT,
        Kind.BOTH: words.BOTH,
        Kind.PART: words.PARTS,
    }
    for kind, texts in plain.items():
        yield from (Item(kind, text) for text in texts.split("|"))
    for number in words.SEGMENT_NUMBERS.split("|"):
        yield Item(Kind.PART, f"segment {number}")
    yield from _meaningful()


def _meaningful() -> Iterator[Item]:
    for side, texts in words.SIDES.items():
        yield from (Item(Kind.SIDE, text, side) for text in texts.split("|"))
    for relation, texts in words.RELATIONS.items():
        yield from (Item(Kind.RELATION, text, relation) for text in texts.split("|"))
    for pick, texts in words.PICKS.items():
        for text in texts.split("|"):
            yield Item(Kind.PICK, text, pick)
            for rank, ordinals in words.RANKS.items():
                yield from (Item(Kind.PICK, f"{nth} {text}", pick, rank) for nth in ordinals.split("|"))


def _adjectives(concepts: Iterable[Concept]) -> Iterator[Item]:
    for concept in concepts:
        yield from (Item(Kind.ADJECTIVE, text, concept) for text in concept.adjectives)


def _nouns(concepts: Iterable[Concept]) -> Iterator[Item]:
    """Names of groups first, so that a structure's own name wins."""
    for concept in sorted(concepts, key=lambda concept: not concept.group):
        for name in (*concept.words, *_canonical(concept)):
            yield Item(Kind.CONCEPT, name, concept)
            yield from (Item(Kind.CONCEPT, plural, concept) for plural in plurals_of(name))
        yield from (Item(Kind.CONCEPT, plural, concept) for plural in concept.plurals)


def _canonical(concept: Concept) -> tuple[str, ...]:
    """Its own name, without the side: "lung" of lung_{side}."""
    return (" ".join(concept.name.replace("{side}", "").replace("_", " ").split()),)


def plurals_of(name: str) -> tuple[str, ...]:
    """Plural forms by rule; the last word changes."""
    for end, plural in _IRREGULAR_ENDS:
        if name.endswith(end):
            return (name.removesuffix(end) + plural,)
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return (name[:-1] + "ies",)
    if name.endswith(("s", "x", "ch", "sh", "z")):
        return (name + "es",)
    return () if name[-1:].isdigit() else (name + "s",)
