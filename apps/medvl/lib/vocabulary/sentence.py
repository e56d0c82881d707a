"""From an English sentence to what it asks for.

A name is never guessed: what is not known, or known with an unknown word behind it ("kidney bean"), is a
target without structures.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from lib.vocabulary.lexicon import Kind, Lexicon, lexicon_of, read_items
from lib.vocabulary.phrases import Link, Noun, Phrase, nouns_of, phrases_of
from lib.vocabulary.structures import Concept, Side, Structure, Vocabulary, load_vocabulary
from lib.vocabulary.target import Pick, Place, Relation, Target

MAX_PHRASE = 80
"""Characters of a phrase that are kept for answers."""
MAX_UNREAD = 8
_BODY = "body"


def parse_targets(sentence: str, vocabulary: Vocabulary | None = None) -> tuple[Target, ...]:
    """What a sentence asks for, in its order.

    Left and right are the patient's. Words that are no names become targets without structures; a sentence of
    nothing but "please" has no targets.

    Args:
        sentence: English, of any length.
        vocabulary: what is known; None: the project's own.
    """
    known = vocabulary or load_vocabulary()
    lexicon = lexicon_of(known)
    targets: list[Target] = []
    for clause in phrases_of(read_items(sentence, lexicon)):
        for draft in _drafts(clause):
            targets += _targets(draft, known, lexicon)
    return tuple(targets)


def target_of_label(name: str, vocabulary: Vocabulary | None = None) -> Target | None:
    """What a label of a data set means, such as "lung_lesion" or "kidney_left"; None if that is not known."""
    known = vocabulary or load_vocabulary()
    structure = known.structure(name)
    if structure is not None:
        return Target(phrase=name, structures=(structure,), side=structure.side)
    found = [target for target in parse_targets(name, known) if target.known and not target.unread]
    return found[0] if found else None


@dataclass
class _Draft:
    """A phrase with the phrases that say where."""

    phrase: Phrase
    places: list[list[Phrase]] = field(default_factory=list)
    shared: Concept | None = None

    @property
    def last(self) -> Phrase:
        return self.places[-1][-1] if self.places else self.phrase

    @property
    def text(self) -> str:
        said = [self.phrase.text]
        for place in self.places:
            said.append(f"{place[0].relation} {' and '.join(phrase.text for phrase in place)}")
        return " ".join(said)


def _drafts(clause: list[Phrase]) -> list[_Draft]:
    drafts: list[_Draft] = []
    ahead: list[list[Phrase]] = []
    for phrase in clause:
        if phrase.link is Link.OF and drafts and _merged(drafts[-1], phrase):
            continue
        if phrase.link in (Link.PLACE, Link.OF):
            _add_place(drafts[-1].places if drafts else ahead, phrase)
        elif drafts and _continues_place(drafts[-1], phrase):
            drafts[-1].places[-1].append(phrase)
        else:
            drafts.append(_Draft(phrase, ahead))
            ahead = []
    drafts += [_Draft(place[0]) for place in ahead]
    _share_lesion(drafts)
    return drafts


def _merged(draft: _Draft, phrase: Phrase) -> bool:
    """Adds "of the kidney" to "upper pole", "largest" or "body"; not to a name of its own."""
    last = draft.last
    names = [item.meaning for item in last.items if item.kind is Kind.CONCEPT]
    if any(isinstance(name, Concept) and name.name != _BODY for name in names) or last.has(Kind.ADJECTIVE):
        return False
    if last.has(Kind.UNKNOWN):
        phrase.items = [*phrase.items, *(item for item in last.items if item.kind is Kind.UNKNOWN)]
    last.items = [
        replace(item, kind=Kind.PART) if item.kind is Kind.CONCEPT else item
        for item in last.items
        if item.kind is not Kind.UNKNOWN
    ] + phrase.items
    return True


def _add_place(places: list[list[Phrase]], phrase: Phrase) -> None:
    if phrase.after_and and places and places[-1][0].relation is phrase.relation:
        places[-1].append(phrase)
    else:
        places.append([phrase])


def _continues_place(draft: _Draft, phrase: Phrase) -> bool:
    """Whether "and spleen" belongs to "lesions in liver": no article, no lesion of its own."""
    if phrase.link is not Link.AND or not draft.places or phrase.article or phrase.has(Kind.UNKNOWN):
        return False
    if phrase.excluded != draft.phrase.excluded:
        return False
    return _lesion_in(draft.phrase) is not None and _lesion_in(phrase) is None


def _lesion_in(phrase: Phrase) -> Concept | None:
    names = [item.meaning for item in phrase.items if item.kind is Kind.CONCEPT]
    return next((name for name in names if isinstance(name, Concept) and name.is_lesion), None)


def _share_lesion(drafts: list[_Draft]) -> None:
    """In "hepatic and splenic lesions" the first adjective has the second's noun."""
    for draft, following in zip(reversed(drafts[:-1]), reversed(drafts[1:]), strict=True):
        bare = draft.phrase.has(Kind.ADJECTIVE) and not draft.phrase.has(Kind.CONCEPT, Kind.UNKNOWN)
        if bare and following.phrase.link is Link.AND:
            draft.shared = _lesion_in(following.phrase) or following.shared


def _targets(draft: _Draft, vocabulary: Vocabulary, lexicon: Lexicon) -> Iterator[Target]:
    nouns = nouns_of(draft.phrase.items)
    if draft.shared and nouns and nouns[-1].concept is None:
        nouns[-1].concept = draft.shared
    places = tuple(_place(phrases) for phrases in draft.places)
    unread = tuple(word for phrases in draft.places for phrase in phrases for word in _unknown_words(phrase))
    pick = draft.phrase.pick
    for noun in _joined(nouns) or [_Found()]:
        found = _restricted(_with_lesion_kinds(noun, places, vocabulary), places)
        yield Target(
            phrase=draft.text[:MAX_PHRASE],
            structures=() if noun.broken else found,
            side=noun.side,
            pick=pick.meaning if pick is not None and isinstance(pick.meaning, Pick) else None,
            rank=pick.rank if pick is not None else 1,
            part=" ".join(noun.parts)[:MAX_PHRASE],
            places=(*noun.places, *places),
            excluded=draft.phrase.excluded,
            unread=(*noun.unread, *unread)[:MAX_UNREAD],
            suggestion="" if found and not noun.broken else lexicon.suggestion(" ".join(noun.unread)),
        )


def _unknown_words(phrase: Phrase) -> Iterator[str]:
    yield from (item.text for item in phrase.items if item.kind is Kind.UNKNOWN)


def _place(phrases: list[Phrase]) -> Place:
    found = [noun for phrase in phrases for noun in _joined(nouns_of(phrase.items))]
    structures = tuple(dict.fromkeys(part for noun in found for part in noun.structures if not noun.broken))
    parts = " ".join(part for noun in found for part in noun.parts)
    return Place(phrases[0].relation, structures, parts[:MAX_PHRASE])


@dataclass
class _Found:
    """A name with its structures chosen."""

    concept: Concept | None = None
    structures: tuple[Structure, ...] = ()
    places: tuple[Place, ...] = ()
    side: Side | None = None
    parts: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    broken: bool = False


def _joined(nouns: list[Noun]) -> list[_Found]:
    """The names of a phrase, neighbours joined where one says which of the other ("liver lesion")."""
    joined: list[_Found] = []
    for noun in nouns:
        found = _found(noun)
        together = _together(joined[-1], found) if joined else None
        if together is not None:
            joined[-1] = together
        else:
            joined.append(found)
    return joined


def _found(noun: Noun) -> _Found:
    concept, attributes = noun.concept, list(noun.attributes)
    if concept is None and attributes:
        concept = attributes.pop()
    if concept is None:
        return _Found(parts=noun.parts, unread=noun.unread, side=noun.side, broken=True)
    plain = _Found(concept, concept.on(noun.side), (), noun.side, noun.parts, noun.unread, noun.broken)
    for attribute in reversed(attributes):
        before = _Found(attribute, attribute.on(noun.side))
        plain = _together(before, plain) or replace(plain, broken=True)
    return plain


def _together(one: _Found, other: _Found) -> _Found | None:
    """Two names side by side as one; None if they are two."""
    if one.concept is None or other.concept is None:
        return None
    if other.concept.is_lesion != one.concept.is_lesion:
        lesion, organ = (other, one) if other.concept.is_lesion else (one, other)
        return _within(lesion, organ)
    if other.concept.name == _BODY:
        return replace(one, parts=[*one.parts, _BODY], unread=[*one.unread, *other.unread])
    common = tuple(part for part in other.structures if _holds(one, part)) or tuple(
        part for part in one.structures if _holds(other, part)
    )
    if common:
        sides = {one.side, other.side} - {None}
        on_side = tuple(part for part in common if not sides or part.side is None or part.side in sides)
        return replace(
            other, structures=on_side, side=one.side or other.side, unread=[*one.unread, *other.unread]
        )
    if other.concept.group:
        return replace(other, structures=(), unread=[*one.unread, *other.unread], broken=True)
    return None


def _holds(whole: _Found, part: Structure) -> bool:
    return part in whole.structures or any(part.name in structure.parts for structure in whole.structures)


def _within(lesion: _Found, organ: _Found) -> _Found:
    """A lesion in an organ; its side is the organ's where that is one of two."""
    side = lesion.side or organ.side
    structures = organ.structures
    if side and organ.side is None and organ.concept is not None:
        structures = tuple(part for part in structures if part.side in (side, None))
    place = Place(Relation.IN, structures, " ".join([*organ.parts, *lesion.parts]))
    return replace(
        lesion,
        places=(*organ.places, place, *lesion.places),
        side=side,
        parts=[],
        unread=[*organ.unread, *lesion.unread],
        broken=lesion.broken or organ.broken or not structures,
    )


def _with_lesion_kinds(found: _Found, places: tuple[Place, ...], vocabulary: Vocabulary) -> _Found:
    """A "cyst in the kidney" is what the vocabulary calls kidney_cyst."""
    inside = [place.structures for place in (*found.places, *places) if place.relation is Relation.IN]
    holders = {structure.name for structures in inside for structure in structures}
    if found.concept is None or not holders:
        return found
    special = tuple(
        structure
        for concept in vocabulary.concepts
        if concept.lesion_of == found.concept.name
        for structure in concept.structures
        if structure.within in holders
    )
    return replace(found, structures=special) if len(special) == len(holders) else found


def _restricted(found: _Found, places: tuple[Place, ...]) -> tuple[Structure, ...]:
    """One of a pair follows the side of where it lies: the "upper lobe of the left lung"."""
    inside = [part for place in places if place.relation is Relation.IN for part in place.structures]
    sides = {part.side for part in inside}
    if found.concept is None or found.side or len(sides) != 1 or None in sides:
        return found.structures
    return tuple(part for part in found.structures if part.side in sides or part.side is None)
