"""Facts read off the finished phantom."""

import numpy as np
from scipy.ndimage import find_objects

from lib.geometry import voxel_to_world, world_axes
from lib.train.label_names import totalsegmentator_names
from lib.train.phantom.facts import LesionFact, PhantomFacts, StructureFact
from lib.train.phantom.lesions import PlacedLesion
from lib.train.phantom.patient import Patient
from lib.volume import Volume

_DIRECTIONS = 36


def mirror_name(name: str) -> str:
    """The same structure on the other side; the middle lobe has no partner and joins the upper lobe."""
    if name == "lung_middle_lobe_right":
        return "lung_upper_lobe_left"
    if name == "atrial_appendage_left":
        return name
    if "right" in name:
        return name.replace("right", "left")
    return name.replace("left", "right")


def side_of(name: str) -> str | None:
    """Which side the name says, left or right."""
    return next((side for side in ("left", "right") if side in name.split("_")), None)


def facts_of(
    seed: int,
    patient: Patient,
    volume: Volume,
    maps: tuple[np.ndarray, np.ndarray],
    placed: tuple[PlacedLesion, ...],
) -> PhantomFacts:
    """Measures structures and lesions.

    Args:
        seed: of the phantom.
        patient: who was drawn.
        volume: the finished scan.
        maps: label map and lesion map.
        placed: the lesions in the map.
    """
    labels, lesion_map = maps
    named = mirror_name if patient.situs_inversus else str
    return PhantomFacts(
        seed=seed,
        phase=patient.phase,
        region=patient.region,
        sex=patient.sex,
        structures=_structures(volume, labels),
        lesions=tuple(_lesion(volume, lesion_map, lesion) for lesion in placed),
        absent=tuple(sorted(named(name) for name in patient.absent if name != "uterus")),
        displaced={named(name): shift for name, shift in patient.displaced.items()},
        situs_inversus=patient.situs_inversus,
        oral_contrast=patient.oral_contrast,
    )


def _structures(volume: Volume, labels: np.ndarray) -> dict[str, StructureFact]:
    names = totalsegmentator_names()
    facts = {}
    for value, box in enumerate(find_objects(labels), start=1):
        if box is not None:
            facts[names[value]] = _structure(volume, labels[box] == value, box)
    return facts


def _structure(volume: Volume, mask: np.ndarray, box: tuple[slice, ...]) -> StructureFact:
    axis = [world for world, _ in world_axes(volume.affine)].index(2)
    return StructureFact(
        volume_ml=_volume_ml(volume, mask),
        centre_mm=_centre_mm(volume, mask, box),
        mean_hu=float(volume.voxels[0][box][mask].mean()),
        cut=box[axis].start == 0 or box[axis].stop == volume.shape[axis],
    )


def _lesion(volume: Volume, lesion_map: np.ndarray, placed: PlacedLesion) -> LesionFact:
    box = find_objects((lesion_map == placed.number).astype(np.uint8))[0]
    mask = lesion_map[box] == placed.number
    return LesionFact(
        number=placed.number,
        kind=placed.kind,
        organ=placed.organ,
        side=side_of(placed.organ),
        diameter_mm=axial_diameter_mm(mask, volume),
        volume_ml=_volume_ml(volume, mask),
        centre_mm=_centre_mm(volume, mask, box),
        hu=float(volume.voxels[0][box][mask].mean()),
    )


def _volume_ml(volume: Volume, mask: np.ndarray) -> float:
    return float(mask.sum() * abs(np.linalg.det(volume.affine[:3, :3])) / 1000)


def _centre_mm(volume: Volume, mask: np.ndarray, box: tuple[slice, ...]) -> tuple[float, float, float]:
    ijk = np.argwhere(mask).mean(axis=0) + [part.start for part in box]
    x, y, z = voxel_to_world(ijk[None], volume.affine)[0]
    return (float(x), float(y), float(z))


def axial_diameter_mm(mask: np.ndarray, volume: Volume) -> float:
    """The longest extent within one slice across the patient's long axis, voxel edges included.

    Args:
        mask: of one object, in a block of the volume.
        volume: gives the geometry.
    """
    axis = [world for world, _ in world_axes(volume.affine)].index(2)
    across = [other for other in range(3) if other != axis]
    spacing = np.array([volume.spacing_mm[other] for other in across])
    angles = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
    directions = np.stack([np.cos(angles), np.sin(angles)])
    longest = 0.0
    for number in range(mask.shape[axis]):
        points = np.argwhere(np.take(mask, number, axis=axis)) * spacing
        if len(points):
            along = points @ directions
            longest = max(longest, float((along.max(axis=0) - along.min(axis=0)).max()))
    return longest + float(spacing.mean())
