"""Phantoms as images of a data set: their lesions, and organs that are known to be healthy."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from lib.errors import ConfigError
from lib.formats import write_mask, write_volume
from lib.mask import Mask
from lib.train.dataset import Case
from lib.train.phantom import LesionFact, Phantom, make_phantom
from lib.train.phantom.scene import label_ids
from lib.train.phantom_cases import FIRST_PHANTOM
from lib.train.reasoning.measuring import Subject
from lib.train.reasoning.sources import TRAIN, OpenedImage, OutlinedObject, SourceImage, target_words

DATA = "phantoms"
HEALTHY = "no lesion"
_LICENCE = "none needed: made by a program, no patient's data"
_ORGANS = ("liver", "spleen", "kidney_left", "kidney_right")
_HEALTHY_ORGANS = 2
_LUNG = "lung"


def phantom_sources(count: int, first_seed: int) -> list[SourceImage]:
    """The phantoms to be made; all of them are there to train on.

    Args:
        count: how many.
        first_seed: of the first; the others follow.

    Raises:
        ConfigError: seeds that are kept for evaluation.
    """
    if first_seed + count > FIRST_PHANTOM:
        raise ConfigError(
            f"Phantoms from seed {FIRST_PHANTOM} on are kept for evaluation; give smaller seeds."
        )
    return [_source(seed) for seed in range(first_seed, first_seed + count)]


def open_phantom(image: SourceImage, folder: Path) -> OpenedImage:
    """Makes a phantom, and its files where they are not there yet.

    Args:
        image: says which.
        folder: the data folder of the phantoms.
    """
    phantom = make_phantom(_seed(image))
    ids = label_ids()
    lesions, groups = _lesion_groups(phantom)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / image.mask).is_file():  # written last
        affine = phantom.volume.affine
        write_volume(phantom.volume, folder / image.image)
        names = {f"{kind} {organ}": value for value, (organ, kind) in groups.items()}
        if names:
            write_mask(Mask(lesions, affine, names), folder / _lesion_file(image))
        every = {str(value): value for value in range(1, int(phantom.label_map.max()) + 1)}
        write_mask(Mask(phantom.label_map, affine, every), folder / image.mask)
    found = [_lesion(phantom, lesions, value, organ, kind, image) for value, (organ, kind) in groups.items()]
    return OpenedImage(phantom.volume, (*found, *_healthy(phantom, ids, _seed(image))))


def _source(seed: int) -> SourceImage:
    name = f"phantom_{seed:07d}"
    image, mask = f"{name}_ct.nii.gz", f"{name}_label.nii.gz"
    case = Case(name, TRAIN, "phantom", Path(image), Path(mask))
    source = f"medvl phantom, seed {seed}"
    return SourceImage(f"{DATA}/{name}", DATA, case, image, mask, "ct", "", source, _LICENCE, name)


def _seed(image: SourceImage) -> int:
    return int(image.case.name.rpartition("_")[2])


def _lesion_file(image: SourceImage) -> str:
    return image.mask.replace("_label", "_lesions")


def _lesion_groups(phantom: Phantom) -> tuple[np.ndarray, dict[int, tuple[str, str]]]:
    """Lesions of one organ as one object; an organ with two kinds would make "the lesion" two things."""
    by_organ: dict[str, list[LesionFact]] = defaultdict(list)
    for lesion in phantom.facts.lesions:
        by_organ[_organ(lesion)].append(lesion)
    lesions = np.zeros_like(phantom.lesion_map)
    groups: dict[int, tuple[str, str]] = {}
    for organ, found in by_organ.items():
        if len({lesion.kind for lesion in found}) == 1:
            value = len(groups) + 1
            lesions[np.isin(phantom.lesion_map, [lesion.number for lesion in found])] = value
            groups[value] = (organ, found[0].kind)
    return lesions, groups


def _organ(lesion: LesionFact) -> str:
    """Lobes count as their lung."""
    return f"{_LUNG}_{lesion.side}" if lesion.organ.startswith(_LUNG) else lesion.organ


def _lesion(
    phantom: Phantom, lesions: np.ndarray, value: int, organ: str, kind: str, image: SourceImage
) -> OutlinedObject:
    within, side = target_words(organ)
    subject = Subject(
        modality="ct",
        target=f"{within} lesion",
        condition=f"{within} {kind}",
        is_normal=False,
        is_lesion=True,
        side=side,
        within=within,
        organ=_organ_mask(phantom, organ),
    )
    return OutlinedObject(value, lesions == value, subject, _lesion_file(image))


def _organ_mask(phantom: Phantom, organ: str) -> np.ndarray:
    side = organ.rpartition("_")[2]
    values = [
        value
        for name, value in label_ids().items()
        if name == organ or (organ.startswith(_LUNG) and name.startswith(_LUNG) and name.endswith(side))
    ]
    return np.isin(phantom.label_map, values)


def _healthy(phantom: Phantom, ids: dict[str, int], seed: int) -> list[OutlinedObject]:
    """Some of the organs that may have lesions and have none."""
    ill = {_organ(lesion) for lesion in phantom.facts.lesions}
    there = [name for name in _ORGANS if name in phantom.facts.structures and name not in ill]
    order = np.random.default_rng(seed).permutation(len(there))[:_HEALTHY_ORGANS]
    objects = []
    for name in sorted(there[int(number)] for number in order):
        target, side = target_words(name)
        subject = Subject("ct", target, HEALTHY, is_normal=True, is_lesion=False, side=side)
        objects.append(OutlinedObject(ids[name], phantom.label_map == ids[name], subject))
    return objects
