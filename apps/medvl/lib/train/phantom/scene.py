"""The scan while it is made: densities, labels, and how a body is put into them."""

from dataclasses import dataclass

import numpy as np

from lib.train.label_names import totalsegmentator_names
from lib.train.phantom.config import PhantomConfig, Phase
from lib.train.phantom.patient import Patient
from lib.train.phantom.shapes import Shape
from lib.train.phantom.space import BodySpace, Number, Vector
from lib.train.phantom.torso import Torso

_PHASES = list(Phase)
AIR_HU = -1000.0


@dataclass(frozen=True, eq=False)
class Scene:
    """What painters work on.

    Attributes:
        space: where voxels lie in the standard patient.
        torso: the hull.
        patient: who.
        config: numbers.
        rng: further draws.
        densities: tissue to this patient's HU.
        ids: structure to label value.
        hu: float32, changed by painting.
        labels: uint8, changed by painting.
    """

    space: BodySpace
    torso: Torso
    patient: Patient
    config: PhantomConfig
    rng: np.random.Generator
    densities: dict[str, float]
    ids: dict[str, int]
    hu: np.ndarray
    labels: np.ndarray

    def paint(self, shape: Shape | None, label: str, tissue: str, gap_mm: Number = 0.0) -> None:
        """Fills a body with a tissue.

        Args:
            shape: the body; None: not in the scan.
            label: its structure; "" for none.
            tissue: whose density it gets.
            gap_mm: fat around it, where another organ would touch it.
        """
        if shape is None or label in self.patient.absent:
            return
        hu, labels = self.hu[shape.box], self.labels[shape.box]
        if gap_mm > 0:
            around = (shape.distance < gap_mm) & (labels > 0) & (self.torso.cavity[shape.box] < 0)
            hu[around], labels[around] = self.densities["visceral"], 0
        inside = shape.distance < 0
        hu[inside], labels[inside] = self.densities[tissue], self.ids.get(label, 0)

    def paint_hu(self, shape: Shape | None, tissue: str, only: str | None = None) -> None:
        """Changes the density and leaves labels; within one structure if `only` is given."""
        if shape is None:
            return
        inside = shape.distance < 0
        if only is not None:
            inside &= self.labels[shape.box] == self.ids[only]
        self.hu[shape.box][inside] = self.densities[tissue]

    def paint_muscle(self, shape: Shape | None, label: str) -> None:
        """A muscle in its sheath of fat."""
        if shape is not None:
            self.paint(Shape(shape.box, shape.distance - np.float32(1.6)), "", "fat")
            self.paint(shape, label, "muscle")

    def around(self, centre: Vector, reach_mm: Number = 5.0) -> tuple[float, float, float]:
        """A place near where an organ lies in most."""
        x, y, z = np.asarray(centre, dtype=float) + self.rng.uniform(-reach_mm, reach_mm, size=3)
        return (float(x), float(y), float(z))

    def shift_of(self, name: str) -> float:
        """How far along z a structure is displaced, in standard millimetres."""
        return self.patient.displaced.get(name, 0.0) / self.patient.scale[2]


def draw_densities(config: PhantomConfig, patient: Patient, rng: np.random.Generator) -> dict[str, float]:
    """This patient's HU of each tissue: the phase's mean with a spread of 7 percent and 2 HU."""
    phase = _PHASES.index(patient.phase)
    return {
        tissue: values[phase] + float(rng.normal()) * (2 + 0.07 * min(abs(values[phase]), 200))
        for tissue, values in config.hu.items()
    }


def label_ids() -> dict[str, int]:
    """Structure to TotalSegmentator v2's id."""
    return {name: value for value, name in totalsegmentator_names().items()}
