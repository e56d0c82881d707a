"""From an English question to what it asks; what is not understood is said, never guessed."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from lib.vocabulary import question_words as words
from lib.vocabulary.choices import AMOUNT, limits_in, split_choices
from lib.vocabulary.lexicon import Kind, lexicon_of, read_items
from lib.vocabulary.question import Choice, Limit, Quantity, Question, QuestionKind, State
from lib.vocabulary.sentence import parse_targets
from lib.vocabulary.structures import Side, Structure, StructureKind, Vocabulary, load_vocabulary
from lib.vocabulary.target import Relation, Target

MAX_QUESTION = 1000
"""Characters of a question; more is no question."""
EXAMPLE = '"Is the spleen larger than 13 cm?" or "How many kidneys are visible?"'
EMPTY = f"no question was asked; ask one, such as {EXAMPLE}"
_NOT_UNDERSTOOD = f"the question is not understood; ask in English about one thing, such as {EXAMPLE}"
_ONE_LIMIT = "I hold a measurement against one limit at a time; ask whether it is more than one"
_WITHOUT_NAMES = (QuestionKind.ABNORMALITY, QuestionKind.COMPARISON, QuestionKind.PRESENCE)
_LEAST_ENGLISH, _LEAST_READ = 0.35, 0.5
"""Share of words that must be known, so that a question in another language is not half read."""
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")
_LOOSE_LINK = re.compile(r"(?:^|;)\s*(?:of|in|for|on|at|by)\b")
_EVERYTHING = "everything"
_MOST_TARGETS = 8
_ONE_OF_SEVERAL = (
    QuestionKind.COMPARISON,
    QuestionKind.LOCATION,
    QuestionKind.SIDE,
    QuestionKind.PLANE,
    QuestionKind.PHASE,
    QuestionKind.MODALITY,
)


def parse_question(text: str, vocabulary: Vocabulary | None = None) -> Question:
    """What a question asks.

    Left and right are the patient's. Of several questions the first is read.

    Args:
        text: English, of any length.
        vocabulary: what is known; None: the project's own.
    """
    plain = " ".join(unicodedata.normalize("NFKC", text[: MAX_QUESTION + 1]).replace("\u2019", "'").split())
    if not any(letter.isalnum() for letter in plain):
        return _beyond(EMPTY)
    if len(text) > MAX_QUESTION:
        return _beyond(f"the question has {len(text)} characters; ask one thing in at most {MAX_QUESTION}")
    known = vocabulary or load_vocabulary()
    stem, choices = split_choices(plain)
    sentence, has_more = _asking(stem)
    read = _read(_spelled(sentence), choices, known)
    is_closed = words.CLOSED.search(_spelled(sentence)) is not None and all(_is_truth(one) for one in choices)
    is_closed = is_closed and not _offers(read, sentence)
    return replace(read, text=sentence, choices=choices, is_closed=is_closed, has_more=has_more)


def _offers(question: Question, sentence: str) -> bool:
    """Whether "is it axial or coronal" wants one of the two rather than yes or no."""
    wants_word = question.kind in _ONE_OF_SEVERAL
    return wants_word and words.OFFERS.search(words.YES_OR_NO.sub("", sentence)) is not None


def _is_truth(choice: Choice) -> bool:
    return words.TRUTH.search(choice.text) is not None


def _beyond(reason: str) -> Question:
    return Question(QuestionKind.UNANSWERABLE, reason=reason)


def _asking(stem: str) -> tuple[str, bool]:
    """The sentence that asks, and whether others do too."""
    sentences = [part.strip() for part in _SENTENCES.split(stem) if part.strip()]
    asking = [part for part in sentences if part.endswith("?")]
    if not asking:
        return stem.strip(), False
    return asking[0], len(asking) > 1


def _spelled(sentence: str) -> str:
    plain = sentence.lower()
    for word, meaning in words.MEGALY.items():
        plain = plain.replace(word, meaning)
    return re.sub(r"n't\b", "", plain)


def _read(sentence: str, choices: tuple[Choice, ...], vocabulary: Vocabulary) -> Question:
    if _share_read(sentence, vocabulary) < _LEAST_ENGLISH:
        return _beyond(_NOT_UNDERSTOOD)
    for pattern, reason in words.BEYOND:
        if pattern.search(sentence):
            return _beyond(reason)
    for kind, pattern, meanings in (
        (QuestionKind.MODALITY, words.MODALITY, words.MODALITIES),
        (QuestionKind.PHASE, words.PHASE, words.PHASES),
        (QuestionKind.PLANE, words.PLANE, words.PLANES),
    ):
        if pattern.search(sentence):
            return Question(kind, said=words.said_word(sentence, meanings), is_negated=" not " in sentence)
    return _about_structures(sentence, choices, vocabulary)


def _about_structures(sentence: str, choices: tuple[Choice, ...], vocabulary: Vocabulary) -> Question:
    """Everything that is asked of structures: kind first, then what it needs."""
    limit = next(iter(limits_in(sentence)), None)
    relation = None if limit else _relation(sentence)
    targets, unread = _targets(sentence, vocabulary)
    if not targets and not unread:
        # which of several is the largest: the answers that are offered name them
        targets = tuple(one for choice in choices for one in _targets(choice.text.lower(), vocabulary)[0])
    question = Question(
        _kind(sentence, targets, has_unit=bool(limit and limit.unit), relation=relation),
        targets=targets,
        limit=limit,
        relation=relation,
        is_more=words.LESS.search(sentence) is None,
        is_negated=_is_negated(sentence),
    )
    question = _completed(question, sentence)
    problem = _problem(question, unread, sentence, vocabulary)
    return _beyond(problem) if problem else question


def _kind(
    sentence: str, targets: tuple[Target, ...], *, has_unit: bool, relation: Relation | None
) -> QuestionKind:
    state = _state(sentence)
    several = len(_structures(targets)) > 1
    compares = several and not has_unit and words.COMPARATIVE.search(sentence) is not None
    checks = (
        (_asks_for_lesion(targets), QuestionKind.ABNORMALITY),
        (words.COUNT.search(sentence) or _number_asked(sentence), QuestionKind.COUNT),
        (state in (State.WHOLE, State.PARTIAL), QuestionKind.LOCATION),
        (state is not None, QuestionKind.ABNORMALITY),
        (words.DENSITY.search(sentence), QuestionKind.COMPARISON if compares else QuestionKind.DENSITY),
        (relation is not None and several, QuestionKind.LOCATION),
        (
            words.SIZE.search(sentence) or has_unit,
            QuestionKind.COMPARISON if compares else QuestionKind.SIZE,
        ),
    )
    return next((kind for holds, kind in checks if holds), None) or _kind_of_place(sentence)


def _kind_of_place(sentence: str) -> QuestionKind:
    for kind, pattern in (
        (QuestionKind.SIDE, words.SIDE),
        (QuestionKind.LOCATION, words.LOCATION),
        (QuestionKind.ABNORMALITY, words.ABNORMALITY),
        (QuestionKind.PRESENCE, words.PRESENCE),
    ):
        if pattern.search(sentence):
            return kind
    return QuestionKind.UNANSWERABLE


def _completed(question: Question, sentence: str) -> Question:
    """What only some kinds of question have."""
    kind = question.kind
    if kind in (QuestionKind.SIZE, QuestionKind.DENSITY, QuestionKind.COMPARISON):
        return replace(question, quantity=_quantity(sentence, question))
    if kind is QuestionKind.SIDE:
        said = _said_side(sentence)
        return replace(question, side=said)
    if kind in (QuestionKind.ABNORMALITY, QuestionKind.LOCATION):
        return replace(question, state=_state(sentence))
    if kind is QuestionKind.COUNT and question.limit is None:
        return replace(question, limit=_number_asked(sentence))
    return question


def _quantity(sentence: str, question: Question) -> Quantity:
    if question.kind is QuestionKind.DENSITY or (question.limit and question.limit.unit == "HU"):
        return Quantity.DENSITY
    said = next((one for one, pattern in words.QUANTITIES.items() if pattern.search(sentence)), None)
    unit = question.limit.unit if question.limit else ""
    if unit == "ml":
        return Quantity.VOLUME
    if unit == "mm":
        return said if said not in (None, Quantity.VOLUME, Quantity.DENSITY) else Quantity.LENGTH
    return said or Quantity.VOLUME


def _problem(question: Question, unread: tuple[str, ...], sentence: str, vocabulary: Vocabulary) -> str:
    """Why a question cannot be answered whatever the image, if so; the first reason of several."""
    has_part = any(target.part for target in question.targets) and not _asks_for_lesion(question.targets)
    needs_names = question.kind not in _WITHOUT_NAMES and not _structures(question.targets)
    reasons = (
        (_share_read(sentence, vocabulary) < _LEAST_READ, _NOT_UNDERSTOOD),
        (question.limit is not None and words.BETWEEN.search(sentence) is not None, _ONE_LIMIT),
        (bool(unread), f"I do not know {', '.join(repr(word) for word in unread[:3])}"),
        (has_part, "I cannot tell a part of an organ from the rest; ask of the whole"),
        (question.kind is QuestionKind.UNANSWERABLE, _NOT_UNDERSTOOD),
        (needs_names, f"the question names no structure that I know; ask for example {EXAMPLE}"),
    )
    return next((reason for holds, reason in reasons if holds), "")


def _targets(sentence: str, vocabulary: Vocabulary) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """The structures that are named, and words that may be names and are not known."""
    bare = _bare(sentence)
    found: list[Target] = []
    unread: list[str] = []
    for target in parse_targets(bare, vocabulary):
        if target.known and not _is_everything(target, vocabulary):
            found.append(target)
            unread += target.unread
        elif target.side and found and not target.unread:
            found += _partner(found[-1], target.side, vocabulary)
        elif not target.known:
            unread += [target.phrase] if not target.part or target.unread else []
    if words.PARTNER.search(sentence) and len(_structures(found)) == 1:
        found += _partner(found[0], None, vocabulary)
    return tuple(found[:_MOST_TARGETS]), tuple(dict.fromkeys(unread))


def _bare(sentence: str) -> str:
    """The sentence with what asks taken out, so that names are left."""
    plain = re.sub(r"^[^,?]*\b(?:based|according|given|looking)\b[^,]*,", " ", sentence)
    patterns = [words.PARTNER, words.SIDE, *words.RELATIONS.values(), words.COUNT, *words.STATES.values()]
    patterns += [words.DENSITY, words.SIZE, words.LOCATION, words.CONDITION, words.PRESENCE]
    patterns += [words.NEGATION, words.LESS, *words.QUANTITIES.values(), words.FILLING]
    plain = AMOUNT.sub(" ; ", words.NUMBER_ASKED.sub(" ; ", plain))
    for pattern in patterns:
        plain = pattern.sub(" ; ", plain)
    # what "the volumes of" leaves behind says no place
    return _LOOSE_LINK.sub(" ; ", plain)


def _partner(target: Target, side: Side | None, vocabulary: Vocabulary) -> list[Target]:
    """The structure of the other side, as "the right" after "the left kidney" means."""
    if len(target.structures) != 1 or target.structures[0].side is None:
        return []
    one = target.structures[0]
    other = Side.LEFT if one.side is Side.RIGHT else Side.RIGHT
    if side not in (None, other):
        return []
    structure = vocabulary.structure(one.name.replace(str(one.side), str(other)))
    return [Target(phrase=str(other), structures=(structure,), side=other)] if structure else []


def _structures(targets: Iterable[Target]) -> list[Structure]:
    return list(dict.fromkeys(part for target in targets for part in target.structures))


def _asks_for_lesion(targets: Iterable[Target]) -> bool:
    return any(part.kind in (StructureKind.LESION, StructureKind.PICTURE) for part in _structures(targets))


def _is_everything(target: Target, vocabulary: Vocabulary) -> bool:
    whole = next((one for one in vocabulary.concepts if one.name == _EVERYTHING), None)
    return whole is not None and len(target.structures) == len(whole.structures)


def _state(sentence: str) -> State | None:
    return next((state for state, pattern in words.STATES.items() if pattern.search(sentence)), None)


def _number_asked(sentence: str) -> Limit | None:
    """The two of "are there two kidneys"."""
    found = words.NUMBER_ASKED.search(sentence)
    said = next((group for group in found.groups() if group), "") if found else ""
    return Limit(float(words.NUMBERS.get(said) or said), "") if said else None


def _relation(sentence: str) -> Relation | None:
    return next((one for one, pattern in words.RELATIONS.items() if pattern.search(sentence)), None)


def _is_negated(sentence: str) -> bool:
    return words.NEGATION.search(re.sub(r"\byes\b.{0,5}\bno\b", "", sentence)) is not None


def _said_side(sentence: str) -> str:
    """The one side that is proposed; "" where the question asks which."""
    sides = {
        side for match in words.SIDE.finditer(sentence) for side in words.SIDE_ONLY.findall(match.group())
    }
    return sides.pop() if len(sides) == 1 else ""


def _share_read(sentence: str, vocabulary: Vocabulary) -> float:
    """Which share of the words means anything here."""
    left = [item for item in read_items(_bare(sentence), lexicon_of(vocabulary)) if item.kind is Kind.UNKNOWN]
    total = len(re.findall(r"\w+", sentence))
    return 1 - len(left) / max(1, total)
