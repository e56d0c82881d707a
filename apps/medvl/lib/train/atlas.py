"""Makes the mean atlas from labelled scans: the evaluation's baseline for finding structures by name."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from lib.errors import InputError, MedVLError
from lib.geometry import world_to_voxel
from lib.predict.atlas import CELLS_ALONG, CELLS_IN_PLANE, Atlas, body_frame, cell_centres
from lib.train.dataset import Case, LabelledScan, read_case
from lib.train.phantom import make_phantom
from lib.train.phantom.scene import label_ids
from lib.train.structures import values_by_structure
from lib.volume import Modality, Volume

SMOOTHED_CELLS = 1.0
"""Standard deviation of the blur that stands in for the patients that are not there."""
_SHAPE = (CELLS_IN_PLANE, CELLS_IN_PLANE, CELLS_ALONG)


@dataclass(eq=False)
class AtlasBuilder:
    """Counts, cell by cell, how often a structure is there and how often it could have been seen.

    Attributes:
        wanted: structures and groups that the atlas is made of.
    """

    wanted: tuple[str, ...]
    _inside: dict[str, np.ndarray] = field(default_factory=dict)
    _seen: dict[str, np.ndarray] = field(default_factory=dict)
    _sources: list[str] = field(default_factory=list)

    def add(self, volume: Volume, label_map: np.ndarray, labels: dict[int, str]) -> None:
        """Count one scan; structures that its labels do not speak of are unknown there.

        Args:
            volume: a CT.
            label_map: values on its grid.
            labels: value to name of all that was labelled, present or not.
        """
        values, is_seen = _values_in_cells(volume, label_map)
        for name, parts in values_by_structure(labels, self.wanted).items():
            if name in self.wanted:
                inside = np.isin(values, parts) & is_seen
                self._inside[name] = self._inside.get(name, np.zeros(_SHAPE, np.float32)) + inside
                self._seen[name] = self._seen.get(name, np.zeros(_SHAPE, np.float32)) + is_seen
        self._sources.append(volume.digest)

    def build(self) -> Atlas:
        """The atlas of all scans so far.

        Raises:
            InputError: no scan had any of the structures.
        """
        names = tuple(name for name in self.wanted if name in self._inside and self._inside[name].any())
        if not names:
            raise InputError("No labelled scan for the atlas has any of the structures; give a train split.")
        blurred = [
            ndimage.gaussian_filter(self._inside[name], SMOOTHED_CELLS)
            / np.maximum(ndimage.gaussian_filter(self._seen[name], SMOOTHED_CELLS), 1e-3)
            for name in names
        ]
        frequency = np.clip(np.stack(blurred), 0.0, 1.0).astype(np.float32)
        identity = hashlib.sha256("".join(sorted(self._sources)).encode()).hexdigest()
        return Atlas(names, frequency, f"atlas:{identity[:16]}")


def build_atlas(cases: Iterable[Case], wanted: tuple[str, ...], phantoms: Iterable[int] = ()) -> Atlas:
    """The atlas of a split; cases that are no CT, or cannot be read, are left out.

    Args:
        cases: labelled scans.
        wanted: structures and groups.
        phantoms: seeds of procedural patients to count too.

    Raises:
        InputError: no scan had any of the structures.
    """
    builder = AtlasBuilder(wanted)
    for case in cases:
        scan = _read(case)
        if scan is not None and values_by_structure(case.labels, wanted):
            builder.add(scan.volume, scan.label_map, case.labels)
    for seed in phantoms:
        phantom = make_phantom(seed)
        builder.add(phantom.volume, phantom.label_map, {value: name for name, value in label_ids().items()})
    return builder.build()


def _read(case: Case) -> LabelledScan | None:
    try:
        scan = read_case(case)
    except (MedVLError, OSError, ValueError):
        return None
    return scan if scan.volume.modality is Modality.CT else None


def _values_in_cells(volume: Volume, label_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The label value in each cell of the atlas, and whether the scan shows the cell; shape (X, Y, Z)."""
    centres = cell_centres(body_frame(volume).affine)
    voxels = np.rint(world_to_voxel(centres, volume.affine)).astype(np.int64)
    is_seen = ((voxels >= 0) & (voxels < np.array(volume.shape))).all(axis=1)
    values = np.zeros(len(voxels), dtype=np.int64)
    values[is_seen] = label_map[tuple(voxels[is_seen].T)]
    return values.reshape(_SHAPE), is_seen.reshape(_SHAPE)
