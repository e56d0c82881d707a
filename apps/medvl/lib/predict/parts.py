"""What a question is about, as far as the scan shows it: looked for when it is asked for, and only then."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lib.geometry import voxel_to_world
from lib.predict.cropped import CroppedMask, union
from lib.predict.evidence import SPOKEN_FROM, Evidence, Seen, organ_evidence
from lib.predict.facts import spoken
from lib.predict.named import NamedMask, SegmentsByName
from lib.predict.ranges import is_scrap
from lib.vocabulary import Structure, Target, Vocabulary, load_vocabulary
from lib.volume import Volume

_SAMPLE_MM = 8.0
_BODY_ABOVE_HU = -350.0
_OUTLINE_PERCENTILES = (2.0, 98.0)
"""Of the body's voxels, so that table and arms say little."""


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

    @cached_property
    def middle_mm(self) -> float:
        """Where the patient's middle is, RAS+: halfway through the body."""
        i, j, k = (max(1, round(_SAMPLE_MM / step)) for step in self.volume.spacing_mm)
        inside = np.argwhere(self.volume.voxels[0, ::i, ::j, ::k] > _BODY_ABOVE_HU) * (i, j, k)
        if not len(inside):
            return float(voxel_to_world((np.array([self.volume.shape]) - 1) / 2, self.volume.affine)[0, 0])
        x_mm = voxel_to_world(inside.astype(np.float64), self.volume.affine)[:, 0]
        return float(np.percentile(x_mm, _OUTLINE_PERCENTILES).mean())

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
        missing = Part(structure, is_known=True, mask=CroppedMask.empty(shape), presence=min(presence, 0.5))
        if not seen or max(one.confidence for one in seen) < SPOKEN_FROM:
            return missing
        mask, confidence = union([one.mask for one in seen], shape), max(one.confidence for one in seen)
        evidence = organ_evidence(structure, structure.name, Seen(mask, confidence), self.volume, middle_mm)
        measured = evidence.measured
        if is_scrap(structure.name, measured.volume_ml, is_partial=measured.is_partial):
            return missing  # as reports leave it out
        return Part(structure, True, mask, presence, confidence, evidence)
