"""What can be asked for by name: structures and groups of them, from `configs/labels/vocabulary.yaml`.

Left and right are the patient's own, never those of a picture.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import yaml

from lib.errors import ConfigError

VOCABULARY_FILE = Path(__file__).resolve().parents[2] / "configs" / "labels" / "vocabulary.yaml"
_SIDE = "{side}"


class Side(StrEnum):
    """A side of the patient."""

    LEFT = "left"
    RIGHT = "right"


class StructureKind(StrEnum):
    """What a structure is, which decides how it is found."""

    ORGAN = "organ"
    LESION = "lesion"
    RULE = "rule"
    """Follows from intensity and form: body, bone, airway."""
    PICTURE = "picture"
    """Drawn on 2D pictures, such as a polyp."""


@dataclass(frozen=True)
class Structure:
    """Something with one mask.

    Attributes:
        name: unique; TotalSegmentator v2's where it has the structure.
        kind: what it is.
        code: SNOMED CT concept of the structure or of its kind (any rib, any kidney), None where pydicom's
            dictionary has none.
        side: of the patient, for one of a pair and for what is on one side only.
        region: abdomen, chest and so on.
        parts: names of the structures that it is the union of; none for most.
        within: the structure that holds it, for a lesion with a name of its own.
    """

    name: str
    kind: StructureKind
    code: str | None
    side: Side | None
    region: str
    parts: tuple[str, ...] = ()
    within: str | None = None


@dataclass(frozen=True)
class Concept:
    """What a word stands for: one structure, a pair, or a group.

    Attributes:
        name: of the entry, with `{side}` for a pair.
        structures: all that it may mean, left before right.
        paired: "left" and "right" choose among the structures.
        group: several structures that are asked for together.
        words: singular names.
        plurals: irregular plural names.
        adjectives: "hepatic" for the liver.
        lesion_of: the concept of lesions of this kind anywhere ("cyst"), if it is one within an organ.
    """

    name: str
    structures: tuple[Structure, ...]
    words: tuple[str, ...]
    plurals: tuple[str, ...] = ()
    adjectives: tuple[str, ...] = ()
    paired: bool = False
    group: bool = False
    lesion_of: str | None = None

    @property
    def is_lesion(self) -> bool:
        """Whether it is a lesion, which may be anywhere."""
        return all(part.kind is StructureKind.LESION for part in self.structures)

    def on(self, side: Side | None) -> tuple[Structure, ...]:
        """Those of the structures that lie on a side; all where no side is said or none of them has one."""
        if side is None or not any(part.side for part in self.structures):
            return self.structures
        return tuple(part for part in self.structures if part.side is side)


@dataclass(frozen=True)
class Vocabulary:
    """All structures and the words for them.

    Attributes:
        concepts: structures and pairs, then groups.
    """

    concepts: tuple[Concept, ...]

    @cached_property
    def structures(self) -> dict[str, Structure]:
        """Name to structure."""
        return {part.name: part for concept in self.concepts for part in concept.structures}

    def structure(self, name: str) -> Structure | None:
        """The structure of that name, whatever its case and word breaks."""
        return self.structures.get(name) or self._plain_names.get(_plain(name))

    @cached_property
    def _plain_names(self) -> dict[str, Structure]:
        return {_plain(name): structure for name, structure in self.structures.items()}


@lru_cache(maxsize=4)
def load_vocabulary(path: Path = VOCABULARY_FILE) -> Vocabulary:
    """Reads the vocabulary; the file is read once.

    Raises:
        ConfigError: the file is missing or an entry is not as its head says.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        singles = [_concept(str(name), entry) for name, entry in content["structures"].items()]
        known = {part.name: part for concept in singles for part in concept.structures}
        singles = [_with_parts(concept, known) for concept in singles]
        known = {part.name: part for concept in singles for part in concept.structures}
        groups = [_group(str(name), entry, known) for name, entry in content["groups"].items()]
    except (OSError, KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"The vocabulary {path.name} cannot be used: {error!r}.") from error
    return Vocabulary((*singles, *groups))


def _concept(name: str, entry: Mapping[str, Any]) -> Concept:
    paired = bool(entry.get("paired", False))
    sides = tuple(Side) if paired else (Side(entry["side"]) if "side" in entry else None,)
    return Concept(
        name=name,
        structures=tuple(_structure(name, entry, side) for side in sides),
        words=_strings(entry["words"]),
        plurals=_strings(entry.get("plurals", ())),
        adjectives=_strings(entry.get("adjectives", ())),
        paired=paired,
        lesion_of=entry.get("is"),
    )


def _structure(name: str, entry: Mapping[str, Any], side: Side | None) -> Structure:
    said = str(side or "")
    within = entry.get("of")
    return Structure(
        name=name.replace(_SIDE, said),
        kind=StructureKind(entry.get("kind", "organ")),
        code=entry["code"],
        side=side,
        region=entry["region"],
        parts=tuple(part.replace(_SIDE, said) for part in _strings(entry.get("parts", ()))),
        within=within.replace(_SIDE, said) if within else None,
    )


def _with_parts(concept: Concept, known: Mapping[str, Structure]) -> Concept:
    """The same with patterns in the parts spelled out."""
    return replace(concept, structures=tuple(_spelled_out(part, known) for part in concept.structures))


def _spelled_out(structure: Structure, known: Mapping[str, Structure]) -> Structure:
    return replace(structure, parts=tuple(found.name for found in _matching(structure.parts, known)))


def _group(name: str, entry: Mapping[str, Any], known: Mapping[str, Structure]) -> Concept:
    members = tuple(_matching(_strings(entry["members"]), known))
    if not members:
        raise ValueError(f"group {name} has no members")
    return Concept(
        name=name,
        structures=members,
        words=_strings(entry["words"]),
        plurals=_strings(entry.get("plurals", ())),
        adjectives=_strings(entry.get("adjectives", ())),
        paired={Side.LEFT, Side.RIGHT} <= {member.side for member in members},
        group=True,
    )


def _matching(patterns: tuple[str, ...], known: Mapping[str, Structure]) -> Iterator[Structure]:
    """Structures by name or pattern, each once; a pattern finds organs that have no parts only."""
    seen: set[str] = set()
    for pattern in patterns:
        if pattern not in known and "*" not in pattern:
            raise ValueError(f"no structure is called {pattern}")
        for name, structure in known.items():
            plain = structure.kind is StructureKind.ORGAN and not structure.parts
            if name not in seen and (name == pattern or (plain and fnmatchcase(name, pattern))):
                seen.add(name)
                yield structure


def _strings(values: Any) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _plain(name: str) -> str:
    return "_".join(name.replace("-", " ").replace("_", " ").casefold().split())
