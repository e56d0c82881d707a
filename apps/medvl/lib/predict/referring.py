"""From a sentence to masks and an answer in words: what was found, what is not there, what is not known."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lib.errors import PromptError
from lib.predict.cropped import CroppedMask, union
from lib.predict.named import NamedMask, SegmentsByName
from lib.predict.pick import cut, end_part, lies, ranked, volume_ml
from lib.predict.reading import Understands, read_targets
from lib.vocabulary import Place, Target, Vocabulary, load_vocabulary
from lib.volume import Volume

UNKNOWN = "unknown"
"""What an empty mask is called when the text names nothing."""
MAX_UNKNOWN = 4
"""Phrases that are not known and get an empty mask of their own."""
_MAX_LABEL = 64
_MANY = 6
"""Structures that a sentence lists at most."""
_EVERYTHING = "everything"
"""The group of all structures."""


@dataclass(frozen=True, eq=False)
class Said:
    """One answer to one thing asked for.

    Attributes:
        label: the name of its mask.
        mask: empty where the thing is not there or not known.
        present: whether it was found.
        confidence: in that answer, 0 to 1: in the mask if there is one, else that the thing is not there; 0
            where nothing is known of it.
        sentence: the same in words.
    """

    label: str
    mask: CroppedMask
    present: bool
    confidence: float
    sentence: str
    source: NamedMask | None = None


@dataclass(frozen=True, eq=False)
class TextAnswer:
    """All that was asked for, in the order of the text."""

    said: tuple[Said, ...]

    @property
    def masks(self) -> dict[str, CroppedMask]:
        """Label to mask; the first of two that are called alike."""
        masks: dict[str, CroppedMask] = {}
        for one in self.said:
            masks.setdefault(one.label, one.mask)
        return masks

    @property
    def confidence(self) -> dict[str, float]:
        """Label to confidence in its mask; 0 for an empty one."""
        return {one.label: one.confidence if one.present else 0.0 for one in reversed(self.said)}

    @property
    def text(self) -> str:
        """The answer in words."""
        return " ".join(dict.fromkeys(one.sentence for one in self.said))


@dataclass(frozen=True, eq=False)
class _Asked:
    """The scan, what can be found in it, and what has been."""

    volume: Volume
    by_name: SegmentsByName
    vocabulary: Vocabulary
    found: dict[str, NamedMask] = field(default_factory=dict)

    def resolve(self, names: Iterable[str]) -> None:
        wanted = [name for name in dict.fromkeys(names) if name not in self.found]
        if wanted:
            self.found.update(self.by_name.segment_names(self.volume, wanted))

    def empty(self) -> CroppedMask:
        return CroppedMask.empty(self.volume.shape)


def answer_text(
    text: str,
    volume: Volume,
    by_name: SegmentsByName,
    vocabulary: Vocabulary | None = None,
    understands: Understands | None = None,
) -> TextAnswer:
    """Segment what a sentence asks for.

    What is not known, or not in the scan, gets an empty mask and a sentence that says so.

    Args:
        text: English; left and right are the patient's.
        volume: a CT.
        by_name: finds structures.
        vocabulary: what is known; None: the project's own.
        understands: is asked about words that the vocabulary does not know; None: nothing is.

    Raises:
        PromptError: an empty text.
        InputError: the scan is no CT.
    """
    if not text.strip():
        raise PromptError('The text is empty; name a structure, such as "liver" or "both kidneys".')
    asked = _Asked(volume, by_name, vocabulary or load_vocabulary())
    targets = read_targets(text, asked.vocabulary, understands)
    excluded = {name for target in targets if target.excluded for name in _served(target, asked)}
    wanted = [target for target in targets if not target.excluded]
    asked.resolve(name for target in wanted for name in _needed(target, asked) if name not in excluded)
    said = [
        _as_understood(one, target)
        for target in wanted
        if target.known
        for one in _answers(target, asked, excluded)
    ]
    unknown = [target for target in wanted if not target.known]
    said += _unknown(unknown, asked)
    if not said:
        said.append(_nothing(asked, empty_after_exclusion=bool(wanted or excluded)))
    return TextAnswer(tuple(said))


def _served(target: Target, asked: _Asked) -> list[str]:
    """What can be found of a target: its structures, a group as a whole, or the parts of a structure."""
    names = asked.by_name.names
    groups = _groups(target, asked)
    if _EVERYTHING in groups:
        return list(names)
    found: list[str] = []
    for structure in target.structures:
        if structure.name in names:
            found.append(structure.name)
        elif structure.parts and all(part in names for part in structure.parts):
            found.extend(structure.parts)
    return found or [group for group in groups if group in names]


def _groups(target: Target, asked: _Asked) -> list[str]:
    """The groups that a target is the whole of, such as all vertebrae."""
    members = set(target.structures)
    return [
        concept.name
        for concept in asked.vocabulary.concepts
        if concept.group and members == set(concept.structures)
    ]


def _needed(target: Target, asked: _Asked) -> Iterator[str]:
    yield from _served(target, asked)
    for place in target.places:
        yield from _served(_as_target(place), asked)


def _as_target(place: Place) -> Target:
    return Target(phrase=str(place.relation), structures=place.structures)


def _answers(target: Target, asked: _Asked, excluded: set[str]) -> Iterator[Said]:
    """What is said of a target whose names are known to the vocabulary."""
    names = [name for name in _served(target, asked) if name not in excluded]
    is_whole = bool(_groups(target, asked))
    missing = [part.name for part in target.structures if not _served(Target("", (part,)), asked)]
    if not names:
        if missing or not excluded:
            yield _not_served(target, missing or [target.phrase], asked)
        return
    problem = _unclear(target, asked)
    if problem:
        yield Said(_label(target.phrase), asked.empty(), present=False, confidence=0.0, sentence=problem)
        return
    yield from _chosen(target, names, asked)
    if missing and not is_whole:
        yield _not_served(target, missing, asked)


def _as_understood(said: Said, target: Target) -> Said:
    """With how the words were understood, where they were not a name."""
    if target.certainty >= 1:
        return said
    meaning = " and ".join(map(_spoken, target.names))
    sentence = f"I take {_quoted([target.phrase])} to mean {meaning} (confidence {target.certainty:.2f})."
    return replace(
        said, confidence=said.confidence * target.certainty, sentence=f"{sentence} {said.sentence}"
    )


def _chosen(target: Target, names: list[str], asked: _Asked) -> Iterator[Said]:
    there = [name for name in names if asked.found[name].is_present]
    for name in names:
        if name not in there:
            yield _absent(name, asked)
    if not there:
        return
    affine = asked.volume.affine
    is_narrowed = target.pick is not None or bool(target.places)
    candidates = [(name, asked.found[name].mask) for name in there]
    if is_narrowed and len(candidates) == 1:
        name, mask = candidates[0]
        candidates = [(name, part) for part in mask.components()]
    for place in target.places:
        where = _place_mask(place, asked)
        candidates = [(name, mask) for name, mask in candidates if lies(mask, place.relation, where, affine)]
    if target.pick is not None:
        order = ranked([mask for _, mask in candidates], target.pick, affine)
        picked = order[target.rank - 1 : target.rank]
        candidates = [(name, mask) for name, mask in candidates if any(mask is one for one in picked)]
    if not candidates:
        yield _none_fits(target, there, asked)
        return
    yield from _found(target, candidates, asked)


def _found(target: Target, candidates: list[tuple[str, CroppedMask]], asked: _Asked) -> Iterator[Said]:
    part = end_part(target.part) if target.part else None
    affine = asked.volume.affine
    for name in dict.fromkeys(name for name, _ in candidates):
        mask = union([one for other, one in candidates if other == name], asked.volume.shape)
        mask = cut(mask, part, affine) if part else mask
        source = asked.found[name]
        what = f"{target.part} of {_spoken(name)}" if part else _spoken(name)
        sentence = (
            f"{what[:1].upper()}{what[1:]}: {volume_ml(mask, affine):.1f} ml, "
            f"confidence {source.confidence:.2f}."
        )
        if target.unread:
            sentence += f" Not understood: {_quoted(target.unread)}."
        label = _label(f"{name}_{target.part}") if part else name
        yield Said(label, mask, present=True, confidence=source.confidence, sentence=sentence, source=source)


def _place_mask(place: Place, asked: _Asked) -> CroppedMask:
    names = _served(_as_target(place), asked)
    where = union([asked.found[name].mask for name in names], asked.volume.shape)
    part = end_part(place.part) if place.part else None
    return cut(where, part, asked.volume.affine) if part else where


def _unclear(target: Target, asked: _Asked) -> str:
    """Why a target cannot be narrowed as it asks, if so."""
    if target.part and end_part(target.part) is None:
        return (
            f"I cannot tell the {target.part} from the rest of {_quoted([target.phrase])}; ask for the whole."
        )
    for place in target.places:
        names = _served(_as_target(place), asked)
        if not names or (place.part and end_part(place.part) is None):
            return f"I do not know the place in {_quoted([target.phrase])}; ask without it."
        if not any(asked.found[name].is_present for name in names):
            return f"I find no {_spoken(names[0])} in this scan, so nothing {place.relation} it."
    return ""


def _absent(name: str, asked: _Asked) -> Said:
    source = asked.found[name]
    confidence = float(np.clip(1 - source.presence, 0, 1))
    sentence = f"I find no {_spoken(name)} in this scan (confidence {confidence:.2f})."
    return Said(name, asked.empty(), present=False, confidence=confidence, sentence=sentence, source=source)


def _none_fits(target: Target, there: list[str], asked: _Asked) -> Said:
    sentence = f"I find {', '.join(map(_spoken, there))}, but nothing that is {_quoted([target.phrase])}."
    return Said(_label(target.phrase), asked.empty(), present=False, confidence=0.5, sentence=sentence)


def _not_served(target: Target, missing: list[str], asked: _Asked) -> Said:
    shown = ", ".join(map(_spoken, missing[:_MANY]))
    sentence = f"These weights were not taught to find {shown}; the mask is empty."
    label = missing[0] if len(missing) == 1 else _label(target.phrase)
    return Said(label, asked.empty(), present=False, confidence=0.0, sentence=sentence)


def _unknown(targets: list[Target], asked: _Asked) -> Iterator[Said]:
    for target in targets[:MAX_UNKNOWN]:
        hint = f" Did you mean {target.suggestion!r}?" if target.suggestion else ""
        sentence = f"I do not know {_quoted([target.phrase])}; the mask is empty.{hint}"
        yield Said(_label(target.phrase), asked.empty(), present=False, confidence=0.0, sentence=sentence)


def _nothing(asked: _Asked, *, empty_after_exclusion: bool) -> Said:
    sentence = (
        "Nothing is left of what the text asks for; the mask is empty."
        if empty_after_exclusion
        else 'The text names no structure; ask for one, such as "liver" or "both kidneys".'
    )
    return Said(UNKNOWN, asked.empty(), present=False, confidence=0.0, sentence=sentence)


def _label(phrase: str) -> str:
    """A phrase as the name of a mask."""
    plain = "_".join("".join(c if c.isalnum() else " " for c in phrase.casefold()).split())
    return plain[:_MAX_LABEL] or UNKNOWN


def _spoken(name: str) -> str:
    """A name as people say it: left kidney for kidney_left."""
    words = name.split("_")
    return " ".join(sorted(words, key=lambda word: word not in ("left", "right")))


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def confidences(found: Mapping[str, NamedMask]) -> dict[str, float]:
    """Name to confidence in its mask."""
    return {name: one.confidence for name, one in found.items()}
