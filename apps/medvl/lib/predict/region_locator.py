"""The trained RegionPrior as a finder of regions: a scan onto the grid, tokens once, a map for each name."""

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lib.model.region_prior import (
    GRID_MM,
    WINDOWS_HU,
    RegionPrior,
    mirrored_numbers,
    region_channels,
    signed_logits,
)
from lib.model.region_weights import load_region_prior
from lib.predict.regions import Look, RegionMap
from lib.shapes import GridHu, NamedGrids, RegionBatch
from lib.transforms.region_grid import OUTSIDE_HU, RegionGrid, hu_on_grid, middle_of_body, region_grid
from lib.volume import Volume

_REMEMBERED = 4
"""Scans whose similarities are kept; a few megabytes each."""
_PART_CELLS = (104, 104, 96)
"""Larger scans are looked at in overlapping parts of so many cells, so that memory is bounded."""
_OVERLAP_CELLS = 32
_LEAST_CELLS = (64, 48, 48)
"""Smaller scans are set into so much air, as in training: the network's norms are taken over all cells."""
_BESIDE = len(WINDOWS_HU)
"""The channel that says how far a place is to the right."""
_SEEN_CELLS = 2.0
"""So many cells' worth of a structure give a look of it."""
_SURE_ML = 2.0
"""So much that is surely inside makes a structure's presence certain."""


def load_locator(name: str, weights_dir: Path) -> "RegionLocator":
    """A finder with installed weights.

    Args:
        name: of the weights.
        weights_dir: where they are installed.

    Raises:
        WeightsError: not installed, altered, or not those of the network that their configuration describes.
    """
    return RegionLocator(*load_region_prior(name, weights_dir))


class RegionLocator:
    """Finds structures by name. Thread-safe; the scans asked about last are remembered.

    Args:
        network: the trained prior.
        weights_sha256: of its parameters.
    """

    def __init__(self, network: RegionPrior, weights_sha256: str) -> None:
        self._network = network.eval().requires_grad_(requires_grad=False)
        self.names = network.config.names
        self.identity = weights_sha256
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Located] = OrderedDict()

    def locate(self, volume: Volume, names: Sequence[str]) -> dict[str, RegionMap]:
        """One map for each of the names that it knows; other names are left out.

        Args:
            volume: a CT in Hounsfield units.
            names: structures.
        """
        found = self._of_scan(volume)
        return {
            name: _region(found.logits[self.names.index(name)], found.grid)
            for name in names
            if name in self.names
        }

    def looks(self, volume: Volume) -> dict[str, Look]:
        """What each structure looks like: the network's features where it sees it; only of what it sees.

        Args:
            volume: a CT in Hounsfield units.
        """
        found = self._of_scan(volume)
        return {name: found.looks[number] for number, name in enumerate(self.names) if found.seen[number]}

    def _of_scan(self, volume: Volume) -> "_Located":
        key = volume.digest
        with self._lock:
            if key not in self._known:
                grid = region_grid(volume.affine, volume.shape, GRID_MM)
                hu = hu_on_grid(volume.voxels, volume.affine, grid)
                inside = _within_air(hu.shape)
                airy = np.full([part.stop + part.start for part in inside], OUTSIDE_HU, dtype=np.float32)
                airy[inside] = hu
                self._known[key] = self._located(airy, inside, grid)
            self._known.move_to_end(key)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            return self._known[key]

    def _located(self, hu: GridHu, inside: tuple[slice, ...], grid: RegionGrid) -> "_Located":
        middle = middle_of_body(hu)
        offsets = [
            (torch.arange(size, dtype=torch.float32) - at) * GRID_MM
            for size, at in zip(hu.shape[:2], middle, strict=True)
        ]
        scan = region_channels(
            torch.from_numpy(hu.astype(np.float32)), offsets[0].view(-1, 1, 1), offsets[1].view(1, -1, 1)
        )
        total = np.zeros((len(self.names), *hu.shape), dtype=np.float32)
        weights = np.zeros(hu.shape, dtype=np.float32)
        looks = np.zeros((len(self.names), self._network.look_size), dtype=np.float32)
        cells = np.zeros(len(self.names), dtype=np.float32)
        for part in _parts(hu.shape):
            found, features = self._both_ways(scan[:, :, part[0], part[1], part[2]])
            weight = _tapered(found.shape[1:])
            total[(slice(None), *part)] += found * weight
            weights[part] += weight
            shares = weight / (1 + np.exp(-found.clip(-30, 30)))
            looks += np.einsum("nijk,cijk->nc", shares, features, optimize=True)
            cells += shares.sum(axis=(1, 2, 3))
        logits = (total / weights)[(slice(None), *inside)].astype(np.float16)
        return _Located(logits, grid, looks / np.maximum(cells, 1e-6)[:, np.newaxis], cells >= _SEEN_CELLS)

    @torch.inference_mode()
    def _both_ways(self, scan: RegionBatch) -> tuple[NamedGrids, np.ndarray]:
        """The mean of the patient's and the mirrored patient's answer, so that sides follow from places.

        Also the features of the patient as he is, shape (channels, I, J, K).
        """
        similarity, features = self._network.see(_laid_out(scan))
        straight = signed_logits(similarity)
        mirrored = signed_logits(self._network(_laid_out(_turned_round(scan)))).flip(2)
        mean = (straight + mirrored[:, mirrored_numbers(self.names)]) / 2
        return mean[0].numpy(), features[0].numpy()


@dataclass(frozen=True, eq=False)
class _Located:
    """What was found in one scan.

    Attributes:
        logits: of every name on the grid.
        grid: of the scan.
        looks: features of every name, shape (names, channels).
        seen: which names have any.
    """

    logits: NamedGrids
    grid: RegionGrid
    looks: np.ndarray
    seen: np.ndarray


def _within_air(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Where a scan lies in the middle of enough air."""
    margins = [max(0, math.ceil((least - size) / 2)) for size, least in zip(shape, _LEAST_CELLS, strict=True)]
    return tuple(slice(margin, margin + size) for size, margin in zip(shape, margins, strict=True))


def _laid_out(scan: RegionBatch) -> RegionBatch:
    return scan.contiguous(memory_format=torch.channels_last_3d)


def _turned_round(scan: RegionBatch) -> RegionBatch:
    """The mirrored patient: the picture, and how far a place is to the right."""
    mirrored = scan.flip(2)
    mirrored[:, _BESIDE] *= -1
    return mirrored


def _parts(shape: tuple[int, ...]) -> list[tuple[slice, slice, slice]]:
    starts = []
    for size, most in zip(shape, _PART_CELLS, strict=True):
        count = 1 if size <= most else math.ceil((size - _OVERLAP_CELLS) / (most - _OVERLAP_CELLS))
        starts.append([round(at) for at in np.linspace(0, max(0, size - most), count)])
    wide, deep, high = _PART_CELLS
    return [
        (slice(i, i + wide), slice(j, j + deep), slice(k, k + high))
        for i in starts[0]
        for j in starts[1]
        for k in starts[2]
    ]


def _tapered(shape: tuple[int, ...]) -> np.ndarray:
    """Weights that fall towards a part's edges, so that parts join without a step."""
    ramps = [np.minimum(np.arange(size) + 1, size - np.arange(size)).clip(max=16) / 16 for size in shape]
    return np.einsum("i,j,k->ijk", *ramps).astype(np.float32)


def _region(logits: np.ndarray, grid: RegionGrid) -> RegionMap:
    clipped = logits.astype(np.float32).clip(-30, 30)
    share = 1 / (1 + np.exp(-clipped))
    sure_ml = float(share[share > 0.5].sum()) * GRID_MM**3 / 1000
    confidence = float(share.max()) * min(1.0, sure_ml / _SURE_ML)
    return RegionMap(clipped, grid.affine, confidence)
