"""Lesions inside organs: cysts, metastases, tumours and nodules of uneven outline."""

from dataclasses import dataclass

import numpy as np

from lib.train.phantom.config import LesionRule, Phase
from lib.train.phantom.patient import between, pick
from lib.train.phantom.scene import Scene
from lib.train.phantom.space import Box, lines_mm, smooth_field

_PHASES = list(Phase)
_TRIES = 6
_LEAST_VOXELS = 4


@dataclass(frozen=True)
class PlacedLesion:
    """A lesion in the lesion map.

    Attributes:
        number: its value.
        kind: of the rule.
        organ: the structure that holds its centre.
    """

    number: int
    kind: str
    organ: str


def paint_lesions(scene: Scene) -> tuple[np.ndarray, tuple[PlacedLesion, ...]]:
    """Draws lesions into organs that are in the scan.

    Returns:
        The lesion map, uint8, 0 or the lesion's number, and the lesions. Labels keep the organ's value.
    """
    lesion_map = np.zeros(scene.space.shape, dtype=np.uint8)
    placed: list[PlacedLesion] = []
    for organ, rule in scene.config.lesions.items():
        structures = _structures(scene, organ)
        if scene.rng.random() >= rule.probability:
            continue
        for _ in range(int(scene.rng.integers(1, rule.most + 1))):
            lesion = _paint_lesion(scene, structures, rule, lesion_map)
            if lesion is not None:
                placed.append(lesion)
    return lesion_map, tuple(placed)


def _structures(scene: Scene, organ: str) -> dict[int, str]:
    """Label values that are the organ: a lung's lobes, else itself."""
    if not organ.startswith("lung_"):
        return {scene.ids[organ]: organ}
    side = organ.removeprefix("lung_")
    return {
        value: name for name, value in scene.ids.items() if name.startswith("lung_") and name.endswith(side)
    }


def _paint_lesion(
    scene: Scene, structures: dict[int, str], rule: LesionRule, lesion_map: np.ndarray
) -> PlacedLesion | None:
    inside = np.isin(scene.labels, list(structures)) & (lesion_map == 0)
    there = np.flatnonzero(inside)
    if there.size < 500:
        return None
    kind = pick(scene.rng, dict.fromkeys(rule.kinds, 1.0))
    for _ in range(_TRIES):
        diameter_mm = between(scene.rng, rule.diameter_mm) * scene.rng.uniform(0.35, 1)
        diameter_mm = max(diameter_mm, rule.diameter_mm[0], 2.2 * max(scene.space.spacing_mm))
        i, j, k = (int(index) for index in np.unravel_index(int(scene.rng.choice(there)), inside.shape))
        box, blob = _blob(scene, (i, j, k), diameter_mm)
        blob &= inside[box]
        ball_voxels = np.pi / 6 * diameter_mm**3 / np.prod(scene.space.spacing_mm)
        if blob.sum() >= max(0.3 * ball_voxels, _LEAST_VOXELS):
            number = int(lesion_map.max()) + 1
            lesion_map[box][blob] = number
            _fill(scene, box, blob, rule.kinds[kind], kind)
            return PlacedLesion(number, kind, structures[int(scene.labels[i, j, k])])
    return None


def _blob(scene: Scene, centre: tuple[int, int, int], diameter_mm: float) -> tuple[Box, np.ndarray]:
    """A ball with a wavy, slightly stretched outline, and the block it is in."""
    rng, spacing = scene.rng, scene.space.spacing_mm
    stretch = rng.uniform(0.8, 1.25, size=3)
    slices, squares = [], []
    for middle, size, step, factor in zip(centre, scene.space.shape, spacing, stretch, strict=True):
        reach = int(np.ceil(diameter_mm * 0.85 / step)) + 1
        slices.append(slice(max(middle - reach, 0), min(middle + reach + 1, size)))
        squares.append(((np.arange(slices[-1].start, slices[-1].stop) - middle) * step / factor) ** 2)
    radius = np.sqrt(squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :])
    wave = smooth_field(lines_mm(radius.shape, spacing), (diameter_mm * 0.8, diameter_mm * 2), rng)
    return (slices[0], slices[1], slices[2]), radius + wave * 0.07 * diameter_mm < diameter_mm / 2


def _fill(scene: Scene, box: Box, blob: np.ndarray, by_phase: tuple[float, ...], kind: str) -> None:
    """Even for cysts; darker in the middle for what may be necrotic."""
    hu = scene.hu[box]
    mean = by_phase[_PHASES.index(scene.patient.phase)] + float(scene.rng.normal()) * 5
    hu[blob] = mean
    if kind != "cyst":
        lines = lines_mm(blob.shape, scene.space.spacing_mm)
        uneven = smooth_field(lines, (8, 30), scene.rng) * 7
        hu[blob] += uneven[blob]
