"""Sentences that name structures, made of the vocabulary: for training and, with other words, for validation.

What a phrase means is checked with the vocabulary's own reader, so that no phrase teaches what the rest of
the program would not say.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.errors import ConfigError
from lib.model.sentence_queries import QueryTarget
from lib.train.align_config import AlignStageConfig
from lib.train.descriptions import Descriptions, Use, described, load_descriptions
from lib.vocabulary import Concept, Side, Vocabulary, parse_targets
from lib.vocabulary.lexicon import plurals_of

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LEAST_TYPO_LETTERS = 5
_SIDED = ("{side} {word}", "{word} on the {side}", "{word} of the {side} side", "{side} sided {word}")
_BOTH = ("{words}", "both {words}", "left and right {word}", "bilateral {words}")


@dataclass(frozen=True)
class Sentence:
    """A sentence and what it names.

    Attributes:
        text: lower case.
        target: its place among the targets; their number if it names nothing known.
    """

    text: str
    target: int


@dataclass(frozen=True)
class Phrasebook:
    """What can be named, and how.

    Attributes:
        targets: structures, then pairs and groups.
        phrases: of each target, for training.
        held_out: phrases with words that are kept for validation.
        nouns: names of concepts, for sentences in which they do not mean what they say.
        descriptions: what structures are called without their names.
    """

    targets: tuple[QueryTarget, ...]
    phrases: tuple[tuple[str, ...], ...]
    held_out: tuple[Sentence, ...]
    nouns: tuple[str, ...]
    descriptions: Descriptions

    def described(self, use: Use) -> list[Sentence]:
        """Descriptions of targets for one use, without articles."""
        return [Sentence(text, number) for text, number in described(self.descriptions, self.targets, use)]

    def strange(self, use: Use) -> list[Sentence]:
        """Descriptions of what is not known."""
        return [Sentence(text, len(self.targets)) for text in self.descriptions.nothing.of(use)]


def make_phrasebook(
    vocabulary: Vocabulary, held_out_words: Sequence[str], descriptions: Descriptions | None = None
) -> Phrasebook:
    """All phrases of a vocabulary.

    Args:
        vocabulary: what is known.
        held_out_words: phrases with one of these are kept for validation.
        descriptions: what structures are called without their names; None: the project's own.

    Raises:
        ConfigError: a target is left without a phrase.
    """
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, held_out_words)) or '(?!)'})s?\b")
    targets = _targets(vocabulary)
    kept: list[tuple[str, ...]] = []
    held: list[Sentence] = []
    for number, (target, concept, side) in enumerate(targets):
        said = dict.fromkeys(_phrases(concept, side))
        right = [text for text in said if _means(text, target, vocabulary)]
        kept.append(tuple(text for text in right if not pattern.search(text)))
        held += [Sentence(text, number) for text in right if pattern.search(text)]
        if not kept[-1]:
            raise ConfigError(f"No phrase is left to name {target.name!r}; hold fewer words out.")
    nouns = {word for concept in vocabulary.concepts for word in concept.words if not pattern.search(word)}
    return Phrasebook(
        tuple(target for target, _, _ in targets),
        tuple(kept),
        tuple(held),
        tuple(sorted(nouns)),
        descriptions or load_descriptions(),
    )


def _targets(vocabulary: Vocabulary) -> list[tuple[QueryTarget, Concept, Side | None]]:
    singles = [
        (QueryTarget(part.name, (part.name,)), concept, part.side if concept.paired else None)
        for concept in vocabulary.concepts
        if not concept.group
        for part in concept.structures
    ]
    several = [
        (QueryTarget(concept.name, tuple(part.name for part in concept.structures)), concept, None)
        for concept in vocabulary.concepts
        if len(concept.structures) > 1
    ]
    return [*singles, *several]


def _phrases(concept: Concept, side: Side | None) -> Iterator[str]:
    own = " ".join(concept.name.replace("{side}", "").replace("_", " ").lower().split())
    words = (own, *concept.words)
    if side is not None:
        for word in words:
            yield from (form.format(side=side, word=word) for form in _SIDED)
        yield from (f"{side} {adjective} tissue" for adjective in concept.adjectives)
        return
    yield from words
    yield from (f"{adjective} tissue" for adjective in concept.adjectives)
    if len(concept.structures) == 1 and not concept.is_lesion:
        return
    yield from concept.plurals
    forms = _BOTH if concept.paired and not concept.group else ("{words}",)
    for word in words:
        plurals = () if word.endswith("s") else plurals_of(word)
        yield from (form.format(word=word, words=plural) for plural in plurals for form in forms)


def _means(text: str, target: QueryTarget, vocabulary: Vocabulary) -> bool:
    found = parse_targets(text, vocabulary)
    return len(found) == 1 and set(found[0].names) == set(target.structures)


class SentenceSampler:
    """Draws sentences for training; a step's depend on its number alone."""

    def __init__(self, book: Phrasebook, config: AlignStageConfig) -> None:
        self.book = book
        self.config = config
        self._about = [template for template in config.templates if "the {x}" in template]
        self._described: dict[int, list[str]] = {}
        for sentence in book.described(Use.TRAIN):
            self._described.setdefault(sentence.target, []).append(sentence.text)

    def batch(self, step: int) -> list[Sentence]:
        """The sentences of a step."""
        rng = np.random.default_rng([self.config.seed, step])
        return [self._one(rng) for _ in range(self.config.batch_size)]

    def _one(self, rng: np.random.Generator) -> Sentence:
        kind, config = rng.random(), self.config
        if kind < config.unknown_share:
            return Sentence(self._unknown(rng), len(self.book.targets))
        if kind > 1 - config.described_share:
            return self._described_one(rng)
        target = int(rng.integers(len(self.book.targets)))
        phrase = self._phrase(target, rng)
        if kind < config.unknown_share + config.contrast_share:
            other = self._phrase(_other(self.book.targets, target, rng), rng)
            return Sentence(_pick(config.contrasts, rng).format(x=phrase, y=other), target)
        if rng.random() < config.bare_share:
            return Sentence(phrase, target)
        return Sentence(_pick(config.templates, rng).format(x=phrase), target)

    def _phrase(self, target: int, rng: np.random.Generator) -> str:
        phrase = _pick(self.book.phrases[target], rng)
        return _mistyped(phrase, rng) if rng.random() < self.config.typo_share else phrase

    def _described_one(self, rng: np.random.Generator) -> Sentence:
        target = sorted(self._described)[int(rng.integers(len(self._described)))]
        return Sentence(self._told(_pick(self._described[target], rng), rng), target)

    def _told(self, description: str, rng: np.random.Generator) -> str:
        """A description on its own or in a sentence."""
        kind = rng.random()
        if kind < self.config.bare_share:
            return f"the {description}" if kind < self.config.bare_share / 2 else description
        return _pick(self._about, rng).format(x=description)

    def _unknown(self, rng: np.random.Generator) -> str:
        kind = rng.random()
        if kind > 1 - self.config.described_share:
            return self._told(_pick(self.book.descriptions.nothing.train, rng), rng)
        if kind < 0.2:
            text = _pick(self.config.not_meant, rng).format(y=_pick(self.book.nouns, rng))
        elif kind < 0.28:
            text = "".join(rng.choice(list(_LETTERS), size=int(rng.integers(3, 12))))
        else:
            text = _pick(self.config.unknowns, rng)
        return _pick(self.config.unknown_templates, rng).format(x=text)


def validation_sentences(book: Phrasebook, config: AlignStageConfig) -> dict[str, list[Sentence]]:
    """Sentences with held-out wording, by what is held out; always the same ones.

    `templates`: the sentence around every target; `contrasts`: naming another structure too; `words`: the
    structure's own name; `unknown`: what is not known at all; `described`: what is not named; `strange`: what
    is described and not known. The last two are for choosing and for testing apart.
    """
    rng = np.random.default_rng(config.seed)
    held, nothing = config.held_out, len(book.targets)
    numbers = range(nothing)
    phrases = [_pick(book.phrases[number], rng) for number in numbers]
    others = [phrases[_other(book.targets, number, rng)] for number in numbers]
    strange = [*held.unknowns, *(form.format(y=_pick(book.nouns, rng)) for form in held.not_meant * 5)]
    return {
        "templates": [Sentence(_pick(held.templates, rng).format(x=phrases[n]), n) for n in numbers],
        "contrasts": [
            Sentence(_pick(held.contrasts, rng).format(x=phrases[n], y=others[n]), n) for n in numbers
        ],
        "words": list(book.held_out),
        "unknown": [Sentence(_pick(held.unknown_templates, rng).format(x=text), nothing) for text in strange],
        **{f"described ({use})": _with_article(book.described(use)) for use in (Use.CHOOSE, Use.TEST)},
        **{f"strange ({use})": _with_article(book.strange(use)) for use in (Use.CHOOSE, Use.TEST)},
    }


def _with_article(sentences: Sequence[Sentence]) -> list[Sentence]:
    return [replace(sentence, text=f"the {sentence.text}") for sentence in sentences]


def _other(targets: Sequence[QueryTarget], target: int, rng: np.random.Generator) -> int:
    """A target that has no structure in common with this one."""
    own = set(targets[target].structures)
    apart = [n for n, other in enumerate(targets) if own.isdisjoint(other.structures)]
    return int(rng.choice(apart)) if apart else target


def _pick(texts: Sequence[str], rng: np.random.Generator) -> str:
    return texts[int(rng.integers(len(texts)))]


def _mistyped(phrase: str, rng: np.random.Generator) -> str:
    """With one letter lost, doubled, exchanged with the next, or another, in a long word that is no side."""
    words = phrase.split()
    long = [
        n
        for n, word in enumerate(words)
        if len(word) >= _LEAST_TYPO_LETTERS and word not in ("right", "left")
    ]
    if not long:
        return phrase
    number = int(rng.choice(long))
    word, at = words[number], int(rng.integers(1, len(words[number]) - 1))
    letter = _LETTERS[int(rng.integers(len(_LETTERS)))]
    slips = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + letter + word[at + 1 :],
    )
    words[number] = slips[int(rng.integers(len(slips)))]
    return " ".join(words)
