"""Structures of a scan by their names: where they are, by map or rule, and their masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Protocol, runtime_checkable

import numpy as np

from lib.errors import InputError
from lib.predict.cache import ByteBoundedCache
from lib.predict.cropped import CroppedMask
from lib.predict.from_region import Drawing, DrawnRegion, DrawOptions, draw_regions
from lib.predict.regions import LocatesRegions, Look, RegionMap, ShowsLooks
from lib.predict.rules import label_by_rules
from lib.predict.scan import EmbeddedScan
from lib.predict.segment import Predictor
from lib.transforms.intensity import choose_window
from lib.transforms.spatial import fit_canvas, slice_plane
from lib.volume import Modality, Volume

PRESENT_FROM = 0.5
"""Confidence above which a structure counts as being in the scan."""
BY_RULE = ("lung_left", "lung_right", "airway", "bone", "body")
"""Structures that follow from HU and form; lungs may be located too, where the rule finds none."""
_BONES = (
    "vertebra*",
    "rib*",
    "sacrum",
    "hip_*",
    "scapula_*",
    "clavicula_*",
    "humerus_*",
    "femur_*",
    "sternum",
    "skull",
)
"""Their maps say which bone, the rule says where bone is."""
_RULE_PRESENCE, _RULE_OVERLAP = 0.95, 0.9
"""What a rule is trusted; it has no estimate of its own."""
_BONE_REACH = 1.0
"""Bones are looked for where their map's logit is above minus this."""
_CACHE_BYTES = 2**29


@dataclass(frozen=True, eq=False)
class NamedMask:
    """One structure of a scan.

    Attributes:
        mask: on the scan's grid; empty where the structure is not in the scan.
        presence: confidence that the structure is in the scan, 0 to 1.
        predicted_iou: overlap with the truth that is expected of the mask, 0 to 1.
        agreement: overlap (IoU) of the mask with the region it was drawn from, 0 to 1.
        key_slice: where its region is largest, along the slice axis.
    """

    mask: CroppedMask
    presence: float
    predicted_iou: float
    agreement: float = 1.0
    key_slice: int = 0

    @property
    def is_present(self) -> bool:
        """Whether the structure is taken to be in the scan."""
        return self.presence >= PRESENT_FROM and self.mask.count > 0

    @property
    def confidence(self) -> float:
        """In the mask: that the structure is there, times the overlap expected; 0 for an empty mask."""
        return self.presence * self.predicted_iou if self.is_present else 0.0


@runtime_checkable
class SegmentsByName(Protocol):
    """Anything that segments as `NamedSegmenter` does."""

    @property
    def names(self) -> tuple[str, ...]:
        """Structures it can find, in the order in which viewers list them."""
        ...

    @property
    def identity(self) -> str:
        """Changes with its answers."""
        ...

    def segment_names(self, volume: Volume, names: Sequence[str]) -> dict[str, NamedMask]:
        """One mask for each of the names that it knows, in their order."""
        ...


@dataclass(frozen=True, eq=False)
class _HeldMasks:
    masks: Mapping[str, CroppedMask]

    @property
    def nbytes(self) -> int:
        return sum(mask.voxels.nbytes for mask in self.masks.values())


@dataclass(frozen=True, eq=False)
class _HeldAnswer:
    found: Mapping[str, NamedMask]

    @property
    def nbytes(self) -> int:
        return sum(one.mask.voxels.nbytes for one in self.found.values())


@dataclass(frozen=True, eq=False)
class NamedSegmenter:
    """Finds structures by name, for anybody at any time: thread-safe, holds no user's state.

    Attributes:
        predictor: draws.
        locator: finds regions.
        options: how masks are drawn from regions.
        rules: what rules found in the scans last asked about, shared.
        answers: masks last asked for: a viewer sends the text again with every click.
    """

    predictor: Predictor
    locator: LocatesRegions
    options: DrawOptions = field(default_factory=DrawOptions)
    rules: ByteBoundedCache[_HeldMasks] = field(default_factory=lambda: ByteBoundedCache(_CACHE_BYTES))
    answers: ByteBoundedCache[_HeldAnswer] = field(default_factory=lambda: ByteBoundedCache(_CACHE_BYTES))

    @property
    def names(self) -> tuple[str, ...]:
        """What is located, then what only rules find."""
        return served_names(self.locator)

    @property
    def identity(self) -> str:
        """Of the locator's and the segmenter's weights."""
        return f"{self.locator.identity}:{self.predictor.segmenter.weights_sha256}"

    def segment_names(self, volume: Volume, names: Sequence[str]) -> dict[str, NamedMask]:
        """One mask for each of the names that it knows, in their order.

        Args:
            volume: a CT.
            names: structures; unknown ones are left out.

        Raises:
            InputError: the scan is no CT in Hounsfield units.
        """
        if volume.modality is not Modality.CT:
            raise InputError(
                f"Structures are found by name on CT in Hounsfield units; this image is "
                f"{volume.modality.value}. Use the model interactive, with a click or a box."
            )
        known = tuple(name for name in dict.fromkeys(names) if name in self.names)
        key = (volume.digest, self.identity, self.options, known)
        return dict(self.answers.get(key, lambda: _HeldAnswer(self._segmented(volume, known))).found)

    def looks(self, volume: Volume) -> dict[str, Look]:
        """What structures look like to the network that finds them; none where it does not say.

        Args:
            volume: a CT.
        """
        return self.locator.looks(volume) if isinstance(self.locator, ShowsLooks) else {}

    def _segmented(self, volume: Volume, known: Sequence[str]) -> dict[str, NamedMask]:
        ruled = self._by_rule(volume) if any(_needs_rules(name) for name in known) else {}
        found = {name: _by_rule(ruled[name]) for name in known if name in ruled and ruled[name].count}
        rest = [name for name in known if name not in found]
        found |= self._located(volume, rest, ruled.get("bone"))
        nothing = NamedMask(CroppedMask.empty(volume.shape), 1 - _RULE_PRESENCE, 0.0)
        return {name: found.get(name, nothing) for name in known}

    def _located(
        self, volume: Volume, names: Sequence[str], bone: CroppedMask | None
    ) -> dict[str, NamedMask]:
        located = [name for name in names if name in self.locator.names]
        here = self.locator.locate(volume, located) if located else {}
        present = {name: region for name, region in here.items() if region.confidence >= PRESENT_FROM}
        bones = {name: region for name, region in present.items() if _is_bone(name) and bone is not None}
        others = {name: region for name, region in present.items() if name not in bones}
        drawn = self._drawn(volume, others, self.options)
        if bones and bone is not None:
            drawn |= self._drawn_bones(volume, bones, bone)
        nothing = DrawnRegion(CroppedMask.empty(volume.shape), 0.0, 0.0, 0)
        return {name: _named(drawn.get(name, nothing), region) for name, region in here.items()}

    def _drawn(
        self, volume: Volume, maps: Mapping[str, RegionMap], options: DrawOptions
    ) -> dict[str, DrawnRegion]:
        if not maps:
            return {}
        segmenter = self.predictor.segmenter
        plane = slice_plane(volume.affine, volume.shape)
        scan = EmbeddedScan(
            volume=volume,
            plane=plane,
            canvas=fit_canvas(plane, segmenter.config.image_size),
            window=choose_window(volume, None),
            segmenter=segmenter,
            cache=self.predictor.cache,
            gate=self.predictor.gate,
        )
        return draw_regions(scan, maps, options)

    def _drawn_bones(
        self, volume: Volume, maps: Mapping[str, RegionMap], bone: CroppedMask
    ) -> dict[str, DrawnRegion]:
        """Bone where the maps are, each piece of it the one whose map is surest."""
        wider = {
            name: replace(region, logits=region.logits + np.float32(_BONE_REACH))
            for name, region in maps.items()
        }
        drawn = self._drawn(volume, wider, replace(self.options, how=Drawing.MAP))
        return {
            name: replace(one, mask=one.mask.within(bone), predicted_iou=_RULE_OVERLAP)
            for name, one in drawn.items()
        }

    def _by_rule(self, volume: Volume) -> Mapping[str, CroppedMask]:
        return self.rules.get(volume.digest, lambda: _HeldMasks(_rule_masks(volume))).masks


def served_names(locator: LocatesRegions) -> tuple[str, ...]:
    """What a locator knows, then what only rules find."""
    return (*locator.names, *(name for name in BY_RULE if name not in locator.names))


def _rule_masks(volume: Volume) -> dict[str, CroppedMask]:
    return {name: CroppedMask.of(mask) for name, mask in label_by_rules(volume).named().items()}


def _by_rule(mask: CroppedMask) -> NamedMask:
    return NamedMask(mask, _RULE_PRESENCE, _RULE_OVERLAP)


def _needs_rules(name: str) -> bool:
    return name in BY_RULE or _is_bone(name)


def _is_bone(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _BONES)


def _named(drawn: DrawnRegion, region: RegionMap) -> NamedMask:
    return NamedMask(drawn.mask, region.confidence, drawn.predicted_iou, drawn.agreement, drawn.key_slice)
