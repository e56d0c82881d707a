"""What is said between whoever reads pictures and whoever weighs the readings."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from lib.model.picture_prior import PictureKind
from lib.predict.scan import EmbeddedScan
from lib.transforms.perturb import Perturbation, PictureLogits
from lib.volume import Volume

LOGIT_LIMIT = 6.0
"""Logits of candidates are clipped to this, so that no reading outweighs all others."""
_SHIFT = 1.0


class Coupling(StrEnum):
    """What the mask decoder is told of what the network knows."""

    REGION_MASK = "region_mask"
    """The similarity map, as a mask prompt and the box around it (Sim4Seg)."""
    POINTS = "points"
    """The map's peaks, as clicks (READ, Qian et al., CVPR 2025)."""
    SEG_TOKEN = "seg_token"  # noqa: S105 - the name of a coupling
    """One vector, that of the [SEG] query (LISA)."""
    MAP = "map"
    """Nothing: the map itself is the mask."""


@dataclass(frozen=True, eq=False)
class Look:
    """A picture, perhaps perturbed, encoded once.

    Attributes:
        change: how it was perturbed.
        scan: the perturbed picture.
        embedding: (1, C, cells, cells).
        inside: which cells show the picture.
        shape: of the picture before it was perturbed: columns, rows.
    """

    change: Perturbation
    scan: EmbeddedScan
    embedding: Tensor
    inside: Tensor
    shape: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Candidate:
    """What one path of reasoning comes to from one look.

    Attributes:
        kind: number of the kind of picture.
        modality: probability of each kind.
        conditions: probability of each condition of the kind; empty where it has none.
        logits: of the mask on the picture's own grid, clipped; NaN where the look does not show the picture.
        iou: overlap with the truth that the decoder expects, 0 to 1.
    """

    kind: int
    modality: tuple[float, ...]
    conditions: tuple[float, ...]
    logits: PictureLogits
    iou: float

    @property
    def mask(self) -> np.ndarray:
        """The pixels that it takes to be the target's."""
        return self.logits > 0

    @property
    def stability(self) -> float:
        """Overlap of the mask with itself when its logits are shifted up and down by one."""
        wide = int((self.logits > -_SHIFT).sum())
        return int((self.logits > _SHIFT).sum()) / wide if wide else 1.0


@runtime_checkable
class ReadsPictures(Protocol):
    """Anything that reads pictures."""

    @property
    def kinds(self) -> tuple[PictureKind, ...]:
        """Of pictures that it knows."""
        ...

    def look(self, picture: Volume, change: Perturbation) -> Look:
        """Encode a picture, changed first."""
        ...

    def strangeness(self, look: Look) -> float:
        """How far a picture is from all that is known; up to 1 it is familiar."""
        ...

    def follow(
        self, look: Look, path: int = 0, coupling: Coupling = Coupling.REGION_MASK, kind: int | None = None
    ) -> Candidate:
        """One path of reasoning."""
        ...

    def without_steps(self, look: Look) -> str | None:
        """The condition at a glance."""
        ...
