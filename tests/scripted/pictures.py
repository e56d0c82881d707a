"""Reads pictures by rule: what is bright is the target, and how bright decides the rest."""

from dataclasses import dataclass, field

import numpy as np

from lib.model.picture_prior import PictureKind
from lib.predict.candidate import Candidate, Coupling
from lib.transforms.perturb import Perturbation, perturbed, restored
from lib.volume import Volume

BRIGHT = 150
KINDS = (
    PictureKind("xray", "lungs", ("COVID-19", "No Finding")),
    PictureKind("endoscopy", "polyp", ("colorectal polyp",)),
    PictureKind("fundus", "retinal vessels"),
)


@dataclass(eq=False)
class ScriptedLook:
    change: Perturbation
    seen: Volume
    shape: tuple[int, int]


@dataclass
class ScriptedReader:
    """What is bright is the target.

    Attributes:
        kind: of all pictures.
        distance: strangeness of all pictures.
        shifts: pixels by which each path draws wrong, along the first axis.
        looks: changes that were asked for.
    """

    kind: int = 1
    distance: float = 0.5
    shifts: tuple[int, ...] = (0,)
    votes: tuple[float, ...] = (0.9,)
    looks: list[Perturbation] = field(default_factory=list)
    kinds: tuple[PictureKind, ...] = KINDS

    def look(self, picture, change):
        self.looks.append(change)
        return ScriptedLook(change, perturbed(picture, change), picture.shape[:2])

    def strangeness(self, look):
        return self.distance

    def follow(self, look, path=0, coupling=Coupling.REGION_MASK, kind=None):
        bright = look.seen.voxels[0, :, :, 0] > BRIGHT
        shift = self.shifts[path % len(self.shifts)] + 3 * (coupling is not Coupling.REGION_MASK)
        logits = np.where(np.roll(bright, shift, axis=0), np.float32(4), np.float32(-4))
        shares = [0.05] * len(self.kinds)
        shares[self.kind] = 0.9
        count = len(self.kinds[self.kind].conditions)
        first = self.votes[path % len(self.votes)]
        conditions = (first, *(((1 - first) / (count - 1),) * (count - 1) if count > 1 else ()))[:count]
        return Candidate(
            self.kind,
            tuple(shares),
            conditions,
            restored(logits, look.change, look.shape, float("nan")),
            0.8,
        )

    def without_steps(self, look):
        return "COVID-19"
