"""From a seed to a CT of a trunk that never was, with exact labels and facts."""

from dataclasses import dataclass

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from lib.shapes import BinaryMask, LabelMap
from lib.train.phantom.abdomen import (
    paint_kidneys,
    paint_liver,
    paint_muscles,
    paint_small_organs,
    paint_spleen,
)
from lib.train.phantom.bowel import paint_colon, paint_duodenum, paint_small_bowel, paint_stomach
from lib.train.phantom.chest import paint_chest, paint_cord, paint_tubes
from lib.train.phantom.config import PhantomConfig, load_phantom_config
from lib.train.phantom.facts import PhantomFacts
from lib.train.phantom.lesions import PlacedLesion, paint_lesions
from lib.train.phantom.measure import facts_of, mirror_name
from lib.train.phantom.patient import Patient, draw_patient
from lib.train.phantom.scanner import ScanGrid, add_table, degrade, draw_grid, paint_body
from lib.train.phantom.scene import AIR_HU, Scene, draw_densities, label_ids
from lib.train.phantom.skeleton import paint_hips, paint_ribs, paint_shoulders, paint_spine
from lib.train.phantom.space import body_space, rotation
from lib.train.phantom.torso import make_torso
from lib.volume import Modality, Volume


@dataclass(frozen=True, eq=False)
class Phantom:
    """A procedural CT.

    Attributes:
        volume: int16 HU in some file order.
        label_map: TotalSegmentator v2's ids on the same grid; 0 is none of them. Lesions keep their organ's.
        lesion_map: 0, or the number of the lesion.
        body: the patient without table; arms included.
        facts: what is true of it.
    """

    volume: Volume
    label_map: LabelMap
    lesion_map: LabelMap
    body: BinaryMask
    facts: PhantomFacts


def make_phantom(seed: int, config: PhantomConfig | None = None) -> Phantom:
    """Makes a phantom; equal seeds and configurations make equal phantoms, in any process.

    Args:
        seed: not negative.
        config: what varies and how much; None: the project's own.
    """
    numbers = config or load_phantom_config()
    rng = np.random.default_rng(seed)
    patient = draw_patient(numbers, rng)
    grid = draw_grid(numbers.sampling, patient, rng)
    scene = _scene(patient, grid, numbers, rng)
    body = _paint(scene, grid)
    lesion_map, placed = paint_lesions(scene)
    hu = degrade(scene.hu, grid.spacing_mm, numbers.sampling, rng)
    if patient.situs_inversus:
        placed = _mirror_labels(scene, placed)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(grid.orientation))
    hu, labels, lesions, inside = (
        np.ascontiguousarray(apply_orientation(array, turn)) for array in (hu, scene.labels, lesion_map, body)
    )
    volume = Volume(hu[np.newaxis], _affine(grid) @ inv_ornt_aff(turn, grid.shape), Modality.CT)
    facts = facts_of(seed, patient, volume, (labels, lesions), placed)
    return Phantom(volume, labels, lesions, inside, facts)


def _scene(patient: Patient, grid: ScanGrid, config: PhantomConfig, rng: np.random.Generator) -> Scene:
    space = body_space(grid.lines, grid.spacing_mm, patient, config.sampling, rng)
    domes = (rng.uniform(206, 228), rng.uniform(194, 214))
    return Scene(
        space=space,
        torso=make_torso(space, patient.fat_mm, (float(domes[0]), float(domes[1]))),
        patient=patient,
        config=config,
        rng=rng,
        densities=draw_densities(config, patient, rng),
        ids=label_ids(),
        hu=np.full(grid.shape, AIR_HU, dtype=np.float32),
        labels=np.zeros(grid.shape, dtype=np.uint8),
    )


def _paint(scene: Scene, grid: ScanGrid) -> BinaryMask:
    """Later bodies take the place of earlier ones; returns where the patient is."""
    paint_body(scene, grid.lines)
    body = scene.hu > AIR_HU
    add_table(scene, grid.lines)
    painters = (
        paint_muscles,
        paint_chest,
        paint_small_bowel,
        paint_colon,
        paint_stomach,
        paint_liver,
        paint_duodenum,
        paint_spleen,
        paint_kidneys,
        paint_hips,
        paint_small_organs,
        paint_tubes,
        paint_spine,
        paint_cord,
        paint_ribs,
        paint_shoulders,
    )
    for paint in painters:
        paint(scene)
    return body


def _mirror_labels(scene: Scene, placed: tuple[PlacedLesion, ...]) -> tuple[PlacedLesion, ...]:
    """In a mirrored patient the organ drawn as the right kidney lies left, and is the left kidney."""
    table = np.arange(256, dtype=np.uint8)
    for name, value in scene.ids.items():
        table[value] = scene.ids[mirror_name(name)]
    scene.labels[...] = table[scene.labels]
    return tuple(PlacedLesion(part.number, part.kind, mirror_name(part.organ)) for part in placed)


def _affine(grid: ScanGrid) -> np.ndarray:
    affine = np.diag([*grid.spacing_mm, 1.0])
    affine[:3, 3] = grid.origin_mm
    tilt = np.eye(4)
    tilt[:3, :3] = rotation((grid.tilt_degrees, 0.0, 0.0))
    return tilt @ affine
