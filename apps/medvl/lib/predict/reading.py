"""What a sentence asks for, with a language model where the vocabulary does not know the words.

The vocabulary comes first. Where its reading of a part of the sentence begins with something unknown, or with
a group and words beside it that are not understood ("the organ that makes bile" is not all organs), the
language model is asked what is meant, and what it is sure of is taken if nothing in the words speaks against
it: a name that is in the words already means what the vocabulary says, and left is never right.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from lib.errors import PromptError, WeightsError
from lib.model.sentence_queries import SentenceQuery, load_sentence_queries
from lib.vocabulary import Concept, Side, Structure, Target, Vocabulary, parse_targets
from lib.vocabulary.lexicon import lexicon_of, read_items

logger = logging.getLogger(__name__)

MOST_PIECES = 6
"""Parts of a sentence that are read on their own; a longer list is read as the vocabulary reads it."""
_NEXT = re.compile(
    r"(?:,|;|\.|,?\s+and|,?\s+as well as|\s+plus)\s+(?=(?:the|a|an|both|all|my|his|her)\b)", re.IGNORECASE
)
_SAID_OF_MANY = (("body",), ("bone",))
_SURE_BESIDE_A_NAME = 0.6
"""Words that name something known must mean something else more certainly than others."""


Understands = Callable[[str], SentenceQuery | None]
"""Says what a phrase names; None where no language model is there, or the phrase is not for it."""


class LazySentences:
    """The language model, loaded when it is needed first; from then on it stays. Thread-safe.

    Args:
        weights_dir: where `medvl weights fetch` put it.
    """

    def __init__(self, weights_dir: Path) -> None:
        self._weights_dir = weights_dir
        self._lock = threading.Lock()
        self._query: Callable[[str], SentenceQuery] | None = None
        self._is_missing = False

    def __call__(self, phrase: str) -> SentenceQuery | None:
        """What a phrase names; None where the weights are not fetched, or it is too long to be one phrase."""
        query = self._loaded()
        try:
            return query(phrase) if query is not None else None
        except PromptError:
            return None

    def _loaded(self) -> Callable[[str], SentenceQuery] | None:
        with self._lock:
            if self._query is None and not self._is_missing:
                try:
                    self._query = load_sentence_queries(self._weights_dir).query
                except WeightsError as error:
                    logger.info("sentences are read by the vocabulary alone: %s", error)
                    self._is_missing = True
            return self._query


def read_targets(
    sentence: str, vocabulary: Vocabulary, understands: Understands | None = None
) -> tuple[Target, ...]:
    """What a sentence asks for, in its order.

    Args:
        sentence: English, of any length.
        vocabulary: what is known by name.
        understands: is asked about other words; None: nothing is.
    """
    targets = parse_targets(sentence, vocabulary)
    is_understood = all(target.known and not target.unread for target in targets)
    if is_understood or any(target.excluded for target in targets):
        return targets
    pieces = [piece for piece in _NEXT.split(sentence) if piece.strip()]
    if len(pieces) > MOST_PIECES or not any(_is_clear(parse_targets(piece, vocabulary)) for piece in pieces):
        return _read_piece(sentence, targets, vocabulary, understands)
    read = [_read_piece(piece, parse_targets(piece, vocabulary), vocabulary, understands) for piece in pieces]
    return tuple(target for one in read for target in one)


def _read_piece(
    piece: str, targets: tuple[Target, ...], vocabulary: Vocabulary, understands: Understands | None
) -> tuple[Target, ...]:
    if _is_clear(targets):
        return targets
    query = understands(piece) if understands is not None else None
    if query is not None:
        meant = _meant(piece, query, vocabulary)
        names_something = any(target.known and not _is_group(target) for target in targets)
        if meant and query.confidence >= (_SURE_BESIDE_A_NAME if names_something else 0.0):
            return (Target(_shown(piece), meant, certainty=query.confidence),)
    # "the organ that sees" is not all organs
    return tuple(
        replace(target, structures=()) if _is_doubtful(targets[number:]) and _is_vague(target) else target
        for number, target in enumerate(targets)
    )


def _is_clear(targets: tuple[Target, ...]) -> bool:
    """Whether what is asked for first was understood; nothing asked for is clear."""
    return not targets or not _is_doubtful(targets)


def _is_doubtful(targets: tuple[Target, ...]) -> bool:
    """Whether the first of some targets is unknown, or has words or a place that were not understood."""
    head = targets[0]
    if not head.known or head.unread or any(not place.structures for place in head.places):
        return True
    return _is_vague(head) and any(not target.known or target.unread for target in targets)


def _is_vague(target: Target) -> bool:
    """Structures of different kinds, such as all organs, or what many things are ("a flat bone")."""
    return _is_group(target) or target.names in _SAID_OF_MANY


def _is_group(target: Target) -> bool:
    return len({name.split("_")[0] for name in target.names}) > 1


def _meant(piece: str, query: SentenceQuery, vocabulary: Vocabulary) -> tuple[Structure, ...]:
    """What a piece means if the language model is right; nothing if its words speak against it."""
    items = list(read_items(piece, lexicon_of(vocabulary)))
    concepts = [item.meaning for item in items if isinstance(item.meaning, Concept)]
    named = {part for concept in concepts if not concept.group for part in concept.structures}
    structures = [vocabulary.structures[name] for name in query.structures if name in vocabulary.structures]
    if named.intersection(structures):
        return ()
    sides = {item.meaning for item in items if isinstance(item.meaning, Side)}
    if len(sides) == 1:
        return tuple(part for part in structures if part.side is None or part.side in sides)
    return tuple(_of_both_sides(structures, vocabulary))


def _of_both_sides(structures: Iterable[Structure], vocabulary: Vocabulary) -> dict[Structure, None]:
    """One of a pair stands for the pair where no side is said."""
    found: dict[Structure, None] = {}
    for part in structures:
        pair = next(
            (one for one in vocabulary.concepts if one.paired and not one.group and part in one.structures),
            None,
        )
        found |= dict.fromkeys(pair.structures if pair else (part,))
    return found


def _shown(piece: str) -> str:
    return " ".join(piece.strip(" .,;:!?\n\t").split())[:80]
