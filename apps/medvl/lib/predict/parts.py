"""What a question is about, as far as the scan shows it: looked for when it is asked for, and only then."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lib.predict.atlas import body_frame
from lib.predict.cropped import CroppedMask, union
from lib.predict.evidence import Evidence, Seen, organ_evidence
from lib.predict.named import NamedMask, SegmentsByName
from lib.predict.report import spoken
from lib.vocabulary import Structure, Target, Vocabulary, load_vocabulary
from lib.volume import Volume

_EVERYTHING = "everything"


@dataclass(frozen=True, eq=False)
class Part:
    """One structure of a scan.

    Attributes:
        structure: what it is; a group that is drawn as one (ribs) has the group's name.
        is_known: whether the weights know it.
        mask: empty where it is not seen.
        presence: that it is in the scan, 0 to 1.
        confidence: in the mask, 0 to 1.
        evidence: what was measured; None where it is not seen.
    """

    structure: Structure
    is_known: bool
    mask: CroppedMask
    presence: float = 0.0
    confidence: float = 0.0
    evidence: Evidence | None = None

    @property
    def name(self) -> str:
        """As the vocabulary has it."""
        return self.structure.name

    @property
    def spoken(self) -> str:
        """As a sentence has it."""
        return spoken(self.structure)


@dataclass(frozen=True, eq=False)
class LookedAt:
    """A scan, and what has been looked for in it.

    Attributes:
        volume: a CT.
        by_name: finds structures.
        vocabulary: what is known.
    """

    volume: Volume
    by_name: SegmentsByName
    vocabulary: Vocabulary = field(default_factory=load_vocabulary)

    @property
    def middle_mm(self) -> float:
        """Where the patient's middle is, RAS+: halfway through the body."""
        frame = body_frame(self.volume)
        return (frame.low_mm[0] + frame.high_mm[0]) / 2

    def parts(self, targets: Iterable[Target]) -> tuple[Part, ...]:
        """The structures that are named, all found together, each once."""
        wanted = [one for target in targets for one in self._wanted(target)]
        names = {name for _, served in wanted for name in served}
        found = self.by_name.segment_names(self.volume, [one for one in self.by_name.names if one in names])
        middle_mm = self.middle_mm if names else 0.0
        parts = {one.name: self._part(one, served, found, middle_mm) for one, served in wanted}
        return tuple(parts.values())

    def named(self, *names: str) -> tuple[Part, ...]:
        """Structures by the vocabulary's names."""
        structures = [self.vocabulary.structure(name) for name in names]
        return self.parts(Target(one.name, (one,)) for one in structures if one is not None)

    def _wanted(self, target: Target) -> list[tuple[Structure, tuple[str, ...]]]:
        """Structures with the names of the masks that make them up; none where the weights know none."""
        group = self._served_group(target)
        if group is not None:
            return [(group, (group.name,))]
        return [(one, self._served(one)) for one in target.structures]

    def _served(self, structure: Structure) -> tuple[str, ...]:
        names = self.by_name.names
        if structure.name in names:
            return (structure.name,)
        whole = structure.parts and all(part in names for part in structure.parts)
        return structure.parts if whole else ()

    def _served_group(self, target: Target) -> Structure | None:
        """A group that is drawn as one, of which the single members are not known."""
        members = set(target.structures)
        for concept in self.vocabulary.concepts:
            if concept.group and concept.name in self.by_name.names and members == set(concept.structures):
                first = concept.structures[0]
                return Structure(concept.name, first.kind, first.code, None, "trunk")
        return None

    def _part(
        self, structure: Structure, served: Sequence[str], found: dict[str, NamedMask], middle_mm: float
    ) -> Part:
        here = [found[name] for name in served if name in found]
        shape = self.volume.shape
        if not here:
            return Part(structure, is_known=False, mask=CroppedMask.empty(shape))
        seen = [one for one in here if one.is_present]
        presence = max(one.presence for one in here)
        if not seen:
            return Part(structure, is_known=True, mask=CroppedMask.empty(shape), presence=presence)
        mask, confidence = union([one.mask for one in seen], shape), max(one.confidence for one in seen)
        evidence = organ_evidence(structure, structure.name, Seen(mask, confidence), self.volume, middle_mm)
        return Part(structure, True, mask, presence, confidence, evidence)
