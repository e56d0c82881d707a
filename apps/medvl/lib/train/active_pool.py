"""Scans for simulating active learning: a few embedded slices each, their cells' classes, whose they are."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lib.model.decoder import PIXELS_PER_CELL
from lib.model.volume_segmenter import VolumeSegmenter
from lib.shapes import AnyArray, ScanEmbedding
from lib.train.dataset import Case, LabelledScan, read_case
from lib.train.features import Progress, StoredView, View, store_views
from lib.train.patients import patient_of_name
from lib.transforms.spatial import slice_plane

UNKNOWN = -1
"""Class of a cell that nothing is known of: beyond the picture."""
_SIDES = re.compile(r"_(left|right)\b")
_NUMBERS = re.compile(r"^(vertebrae|rib)_.*$|_(upper|middle|lower)_lobe")


def class_of(name: str) -> str:
    """The class of a structure: both sides, all ribs, all vertebrae and all lobes of a lung are one each.

    Features of a small part of a slice cannot tell a side or a number.
    """
    plain = _SIDES.sub("", name.strip().casefold().replace(" ", "_"))
    return _NUMBERS.sub(lambda match: match.group(1) or "", plain)


@dataclass(frozen=True, eq=False)
class PoolScan:
    """A labelled scan.

    Attributes:
        name: of the case.
        patient: whose it is.
        classes: label value to class, of the labels that the case lists.
        view: its embedded slices.
    """

    name: str
    patient: str
    classes: dict[int, str]
    view: StoredView

    @cached_property
    def features(self) -> AnyArray:
        """Of each cell of each slice, shape (cells, C), half precision."""
        maps = np.load(self.view.folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
        return np.ascontiguousarray(np.moveaxis(maps, 1, -1).reshape(-1, maps.shape[1]))

    def targets(self, names: Sequence[str]) -> AnyArray:
        """Class number of each cell, shape (cells,), from 1; 0: none of them; -1: beyond the picture."""
        middle = PIXELS_PER_CELL // 2
        values = np.asarray(self.view.labels)[:, middle::PIXELS_PER_CELL, middle::PIXELS_PER_CELL]
        numbers = np.zeros(256, dtype=np.int64)
        for value, name in self.classes.items():
            numbers[value] = names.index(name) + 1 if name in names else 0
        targets = numbers[values]
        height, width = (-(-side // PIXELS_PER_CELL) for side in self.view.record.inner)
        targets[:, height:, :] = UNKNOWN
        targets[:, :, width:] = UNKNOWN
        return targets.reshape(-1)

    @cached_property
    def embedding(self) -> ScanEmbedding:
        """What the scan looks like: its cells' mean features, of length 1."""
        inside = self.targets(()) != UNKNOWN
        mean = self.features[inside].astype(np.float64).mean(axis=0)
        return mean / max(float(np.linalg.norm(mean)), 1e-12)


def embedded_pool(
    segmenter: VolumeSegmenter, cases: Iterable[Case], folder: Path, slices: int, progress: Progress
) -> list[PoolScan]:
    """Embed a few slices of each case, once; later calls read them.

    Args:
        segmenter: its encoder is used.
        cases: labelled; pictures are left out.
        folder: where embeddings are kept.
        slices: of each case, about, spread evenly over its labels.
        progress: is told which case is read.
    """
    pool = []
    for case in cases:
        if case.is_picture:
            continue
        progress(case.name)
        scan = read_case(case)
        view = View(case, step=_step(scan, slices), margin=0)
        (stored,) = store_views(segmenter, [view], folder, lambda _: None)
        classes = {value: class_of(name) for value, name in scan.objects.items()}
        pool.append(PoolScan(case.name, patient_of_name(case.name), classes, stored))
    return pool


def _step(scan: LabelledScan, slices: int) -> int:
    plane = slice_plane(scan.volume.affine, scan.volume.shape, None)
    shown = np.flatnonzero(plane.frames(scan.label_map).any(axis=(1, 2)))
    return max(1, -(-int(shown[-1] - shown[0] + 1) // slices))
