"""Masks as the frames of a DICOM SEG, one at a time: a whole-body label map has thousands of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from lib.shapes import AnyArray, BinaryMask, LabelMap

_FRAMES_AT_ONCE = 8
"""So many frames of any size fill whole bytes."""


@dataclass(frozen=True, eq=False)
class DrawnFrames:
    """What has been drawn on the slices of a series.

    Attributes:
        shape: columns, rows and slices.
        occupied: shape (slices, 1, 1, segments), uint8: 1 where a segment has a voxel on a slice.
        frame: the voxels of a segment (number from 1) on a slice (from 0), shape (rows, columns), bool.
        is_overlapping: whether segments share voxels.
    """

    shape: tuple[int, int, int]
    occupied: AnyArray
    frame: Callable[[int, int], AnyArray]
    is_overlapping: bool = False


def frames_of_labels(label_map: LabelMap, count: int) -> DrawnFrames:
    """Frames of a label map with the values 1 to `count`."""
    columns, rows, slices = label_map.shape
    planes = np.ascontiguousarray(label_map.transpose(2, 1, 0))
    occupied = np.zeros((slices, 1, 1, count), dtype=np.uint8)
    for k, plane in enumerate(planes):
        occupied[k, 0, 0] = np.bincount(plane.ravel(), minlength=count + 1)[1 : count + 1] > 0
    return DrawnFrames((columns, rows, slices), occupied, lambda number, k: planes[k] == number)


def frames_of_masks(masks: Sequence[BinaryMask]) -> DrawnFrames:
    """Frames of masks that may share voxels."""
    columns, rows, slices = masks[0].shape
    occupied = np.zeros((slices, 1, 1, len(masks)), dtype=np.uint8)
    times_drawn = np.zeros(masks[0].shape, dtype=np.uint16)
    for index, mask in enumerate(masks):
        occupied[:, 0, 0, index] = mask.any(axis=(0, 1))
        times_drawn += mask
    return DrawnFrames(
        (columns, rows, slices),
        occupied,
        lambda number, k: masks[number - 1][:, :, k].T,
        bool((times_drawn > 1).any()),
    )


def packed_bits(frames: Iterable[AnyArray]) -> bytes:
    """Frames one after the other, one bit a voxel, the first in the lowest bit (PS3.5 section 8.1.1)."""
    parts: list[bytes] = []
    remaining = iter(frames)
    while chunk := list(islice(remaining, _FRAMES_AT_ONCE)):
        bits = np.concatenate([frame.ravel() for frame in chunk])
        parts.append(np.packbits(bits, bitorder="little").tobytes())
    packed = b"".join(parts)
    return packed + b"\0" * (len(packed) % 2)
