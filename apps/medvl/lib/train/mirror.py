"""A labelled scan as its mirror image: left and right exchanged in the picture and in the names."""

from collections.abc import Mapping

import numpy as np

from lib.geometry import world_axes
from lib.train.dataset import LabelledScan
from lib.vocabulary import load_vocabulary
from lib.volume import Volume


def mirrored(scan: LabelledScan, names: Mapping[int, str]) -> tuple[LabelledScan, dict[int, str]]:
    """The mirrored patient on the same grid, and the names of all values.

    Args:
        scan: with its reference.
        names: value to name, present or not.
    """
    axis = [world for world, _ in world_axes(scan.volume.affine)].index(0)
    voxels = np.ascontiguousarray(np.flip(scan.volume.voxels, axis + 1))
    volume = Volume(voxels, scan.volume.affine.copy(), scan.volume.modality)
    objects = {value: other_side(name) for value, name in scan.objects.items()}
    turned = LabelledScan(volume, np.ascontiguousarray(np.flip(scan.label_map, axis)), objects)
    return turned, {value: other_side(name) for value, name in names.items()}


def mirrored_name(name: str) -> str | None:
    """What a structure is in the mirror image; None for one that only one side has, as the middle lobe."""
    structure = load_vocabulary().structure(name)
    one_sided = structure is not None and structure.side is not None and other_side(name) == name
    return None if one_sided else other_side(name)


def other_side(name: str) -> str:
    """The name of the same structure on the other side; the name itself where there is none."""
    structure = load_vocabulary().structure(name)
    if structure is None or structure.side is None:
        return name
    exchanged = structure.name.replace("left", "\0").replace("right", "left").replace("\0", "right")
    return exchanged if load_vocabulary().structure(exchanged) else name
