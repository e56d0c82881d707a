"""Scans for training the RegionPrior: on a coarse grid, with labels and what is known of each structure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lib.predict.rules import label_by_rules
from lib.shapes import AnyArray, GridHu
from lib.train.dataset import Case, read_case
from lib.train.features import Progress
from lib.train.label_names import totalsegmentator_names
from lib.train.phantom import make_phantom
from lib.transforms.region_grid import hu_on_grid, on_grid, region_grid
from lib.volume import Volume

STORED_MM = 4.0
"""Finer than the network's grid, so that a scan may be turned and scaled without losing more."""
UNKNOWN_NAME = "none of them"
_ALL_KNOWN = "silver"
_RULES = ("lung_left", "lung_right")


@dataclass(frozen=True, eq=False)
class RegionCase:
    """A scan on a grid of 4 mm cells along RAS+.

    Attributes:
        name: of the case.
        hu: (I, J, K), float16.
        labels: 0 for none, else 1 + the name's number.
        known: for each name, whether its absence from `labels` means that it is not there.
        is_real: no phantom.
    """

    name: str
    hu: AnyArray
    labels: AnyArray
    known: AnyArray
    is_real: bool


def structure_of(label: str) -> str:
    """The name under which a label is trained: lobes, vertebrae and ribs are joined."""
    name = label.lower().replace(" ", "_")
    if name.startswith("lung_") and "_lobe_" in name:
        return "lung_left" if name.endswith("left") else "lung_right"
    for start, joined in (("vertebrae", "vertebrae"), ("rib_", "ribs")):
        if name.startswith(start):
            return joined
    return name


def stored_region_cases(
    cases: Iterable[Case],
    phantom_seeds: Iterable[int],
    names: Sequence[str],
    folder: Path,
    progress: Progress,
) -> list[RegionCase]:
    """Prepare what is not there yet, and read all.

    Args:
        cases: volumes with labels; those with none of the names are passed over.
        phantom_seeds: a phantom is made of each.
        names: structures to learn.
        folder: where prepared cases are kept.
        progress: is told what is being made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for case in cases:
        found.append(_stored(case.name, folder, partial(_of_case, case, names), progress))
    for seed in phantom_seeds:
        found.append(_stored(f"phantom_{seed}", folder, partial(_of_phantom, seed, names), progress))
    return [case for case in found if case.known.any()]


def _stored(name: str, folder: Path, make: Callable[[], RegionCase], progress: Progress) -> RegionCase:
    path = folder / f"{name}.npz"
    if not path.is_file():
        progress(f"preparing {name}")
        made = make()
        np.savez_compressed(
            path, hu=made.hu, labels=made.labels, known=made.known, is_real=np.array(made.is_real)
        )
    with np.load(path, allow_pickle=False) as stored:
        return RegionCase(name, stored["hu"], stored["labels"], stored["known"], bool(stored["is_real"]))


def _of_case(case: Case, names: Sequence[str]) -> RegionCase:
    scan = read_case(case)
    values = _values_by_name(scan.label_map, scan.objects, names)
    masks = {name: np.isin(scan.label_map, numbers) for name, numbers in values.items()}
    known = set(names) if case.kind == _ALL_KNOWN else set(masks)
    if known - set(_RULES) and case.kind != _ALL_KNOWN:
        ruled = label_by_rules(scan.volume)
        for name in _RULES:
            mask = getattr(ruled, name)
            if name in names and name not in masks and mask.any():
                masks[name] = mask
                known.add(name)
    return _on_cells(case.name, scan.volume, masks, known, names, is_real=True)


def _of_phantom(seed: int, names: Sequence[str]) -> RegionCase:
    phantom = make_phantom(seed)
    values = _values_by_name(phantom.label_map, totalsegmentator_names(), names)
    masks = {name: np.isin(phantom.label_map, numbers) for name, numbers in values.items()}
    return _on_cells(f"phantom_{seed}", phantom.volume, masks, set(names), names, is_real=False)


def _values_by_name(
    label_map: AnyArray, objects: Mapping[int, str], names: Sequence[str]
) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for value in np.unique(label_map):
        name = structure_of(objects.get(int(value), ""))
        if value and name in names:
            found.setdefault(name, []).append(int(value))
    return found


def _on_cells(
    name: str,
    volume: Volume,
    masks: Mapping[str, AnyArray],
    known: set[str],
    names: Sequence[str],
    *,
    is_real: bool,
) -> RegionCase:
    grid = region_grid(volume.affine, volume.shape, STORED_MM)
    hu: GridHu = hu_on_grid(volume.voxels, volume.affine, grid)
    best = np.full(grid.shape, 0.5, dtype=np.float32)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    for number, structure in enumerate(names, start=1):
        if structure in masks:
            share = on_grid(masks[structure].astype(np.float32), volume.affine, grid, 0.0)
            labels[share >= best] = number
            best = np.maximum(best, share)
    return RegionCase(
        name,
        hu.astype(np.float16),
        labels,
        np.array([structure in known for structure in names]),
        is_real,
    )
