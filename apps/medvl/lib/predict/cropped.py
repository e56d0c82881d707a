"""Masks of many structures of one scan, each kept as the box around it: most are small in a large scan."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.errors import InputError
from lib.mask import MAX_LABELS, Mask
from lib.shapes import Affine, BinaryMask

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class CroppedMask:
    """One object on a scan's grid.

    Attributes:
        shape: of the scan.
        corner: lowest voxel of the box.
        voxels: what is in the box; of size 0 for an empty mask.
    """

    shape: Shape
    corner: Shape
    voxels: BinaryMask

    @classmethod
    def of(cls, mask: BinaryMask, corner: Shape = (0, 0, 0), shape: Shape | None = None) -> "CroppedMask":
        """From a mask of the whole scan, or of a part of it that begins at a corner."""
        size = shape or (mask.shape[0], mask.shape[1], mask.shape[2])
        found = ndimage.find_objects(mask.astype(np.uint8))
        if not found:
            return cls(size, (0, 0, 0), np.zeros((0, 0, 0), dtype=bool))
        i, j, k = found[0]
        begin = (corner[0] + i.start, corner[1] + j.start, corner[2] + k.start)
        return cls(size, begin, np.ascontiguousarray(mask[i, j, k]))

    @classmethod
    def empty(cls, shape: Shape) -> "CroppedMask":
        """Nothing."""
        return cls(shape, (0, 0, 0), np.zeros((0, 0, 0), dtype=bool))

    @property
    def count(self) -> int:
        """Number of voxels of the object."""
        return int(np.count_nonzero(self.voxels))

    @property
    def window(self) -> tuple[slice, slice, slice]:
        """The box as slices of the scan."""
        i, j, k = (
            slice(start, start + size) for start, size in zip(self.corner, self.voxels.shape, strict=True)
        )
        return (i, j, k)

    def full(self) -> BinaryMask:
        """The mask on the scan's grid."""
        mask = np.zeros(self.shape, dtype=bool)
        mask[self.window] = self.voxels
        return mask

    def within(self, other: "CroppedMask") -> "CroppedMask":
        """What lies in another mask of the same scan too."""
        if not self.count or not other.count:
            return CroppedMask.empty(self.shape)
        return CroppedMask.of(self.voxels & other.full()[self.window], self.corner, self.shape)

    def centre_ijk(self) -> np.ndarray:
        """Mean position of its voxels, shape (3,); nan if it is empty."""
        if not self.count:
            return np.full(3, np.nan)
        return np.argwhere(self.voxels).mean(axis=0) + np.array(self.corner)

    def components(self) -> "list[CroppedMask]":
        """Its connected parts (through corners too), the largest first."""
        labelled, _ = ndimage.label(self.voxels, structure=np.ones((3, 3, 3)))
        parts = []
        for number, box in enumerate(ndimage.find_objects(labelled), start=1):
            i, j, k = box
            begin = (self.corner[0] + i.start, self.corner[1] + j.start, self.corner[2] + k.start)
            parts.append(CroppedMask(self.shape, begin, labelled[box] == number))
        return sorted(parts, key=lambda part: part.count, reverse=True)


def union(masks: Iterable[CroppedMask], shape: Shape) -> CroppedMask:
    """All masks together."""
    filled = [mask for mask in masks if mask.count]
    if len(filled) <= 1:
        return filled[0] if filled else CroppedMask.empty(shape)
    low = np.min([mask.corner for mask in filled], axis=0)
    high = np.max([np.add(mask.corner, mask.voxels.shape) for mask in filled], axis=0)
    together = np.zeros(tuple(high - low), dtype=bool)
    for mask in filled:
        window = tuple(
            slice(part.start - start, part.stop - start) for part, start in zip(mask.window, low, strict=True)
        )
        together[window] |= mask.voxels
    return CroppedMask.of(together, (int(low[0]), int(low[1]), int(low[2])), shape)


def painted(
    masks: Mapping[str, CroppedMask], shape: Shape, affine: Affine, confidence: Mapping[str, float]
) -> Mask:
    """One label map, values 1 to N in the order of the names; where masks overlap, the smaller one shows.

    Raises:
        InputError: no name, or more than a label map holds.
    """
    if not 1 <= len(masks) <= MAX_LABELS:
        raise InputError(f"A label map holds 1 to {MAX_LABELS} objects; got {len(masks)}.")
    values = {name: value for value, name in enumerate(masks, start=1)}
    label_map = np.zeros(shape, dtype=np.uint8)
    for name, mask in sorted(masks.items(), key=lambda item: -item[1].count):
        label_map[mask.window][mask.voxels] = values[name]
    return Mask(label_map, affine, values, dict(confidence))
