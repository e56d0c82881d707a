"""An array on a grid as a file holds it, and what its numbers mean.

Whatever the file's format, values become a scan's voxels or an annotator's labels here, by the same rules:
one scan, saved in two ways, gives the same voxels.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from lib.errors import MedVLError, VolumeError
from lib.shapes import Affine, AnyArray, Voxels
from lib.volume import Modality

MAX_VOXELS = 2**30
"""Twice the largest scans in practice (1024 x 1024 x 500); more is refused before memory is taken."""
_MAX_GZIP_RATIO = 1040
"""Deflate cannot compress better (1032:1), so a smaller file does not hold what its header says."""
_INT16 = np.iinfo(np.int16)
_BELOW_WATER_HU = -50
_BELOW_WATER_SHARE = 0.01


@dataclass(frozen=True, eq=False)
class ScanArray:
    """What a file holds, before its values are given a meaning.

    Attributes:
        values: shape (I, J, K), any real type.
        affine: voxel centres to millimetres in RAS+.
        may_be_part: whether the file may cover a part of the scan only, as a cropped .seg.nrrd does.
    """

    values: AnyArray
    affine: Affine
    may_be_part: bool = False


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn whatever a parser raises on a damaged file into one sentence.

    Args:
        what: names the format in the message.

    Raises:
        VolumeError: anything but our own errors was raised inside.
    """
    try:
        yield
    except MedVLError:
        raise
    except Exception as error:
        raise VolumeError(
            f"The {what} file cannot be read ({type(error).__name__}): it is truncated, damaged or of "
            "another format; save it again."
        ) from error


def check_size(shape: Sequence[int]) -> None:
    """Refuse a scan by its header, before memory is taken.

    Raises:
        VolumeError: no voxels, or more than MAX_VOXELS.
    """
    if min(shape, default=0) < 1:
        raise VolumeError(
            f"The scan has no voxels: its header says {tuple(shape)}; at least one along each axis is needed."
        )
    if math.prod(shape) > MAX_VOXELS:
        raise VolumeError(
            f"The scan is too large: its header says {tuple(shape)} voxels; at most {MAX_VOXELS} are "
            "allowed: crop or downsample it."
        )


def check_complete(path: Path, num_bytes: int, *, compressed: bool) -> None:
    """Refuse a file that is too small for what its header promises, before memory is taken.

    Args:
        path: the file.
        num_bytes: of the voxels, uncompressed.
        compressed: whether the file is.

    Raises:
        VolumeError: the file cannot hold that much.
    """
    available = path.stat().st_size * (_MAX_GZIP_RATIO if compressed else 1)
    if available < num_bytes:
        raise VolumeError(
            f"The file is truncated: its header promises {num_bytes} bytes of voxels, but the file "
            f"cannot hold more than {available}; save or upload it again."
        )


def check_end(stream: BufferedIOBase) -> None:
    """Read on to the end of a compressed stream, where its checksum is compared; no further than 1 MiB.

    Raises:
        Exception: of the decompressor, if the checksum does not hold.
    """
    stream.read(2**20)


def three_axes(shape: Sequence[int]) -> tuple[int, int, int]:
    """A header's shape as (I, J, K): a picture gets one slice, trailing axes of length 1 go.

    Raises:
        VolumeError: no voxels, too many, or a real fourth axis.
    """
    check_size(shape)
    if len(shape) < 2 or any(size != 1 for size in shape[3:]):
        raise VolumeError(
            f"A scan has three axes; this file has {len(shape)}, {tuple(shape)}: give one time point or "
            "channel as a file of its own."
        )
    i, j, k = (*shape, 1)[:3]
    return (i, j, k)


def as_voxels(values: AnyArray) -> Voxels:
    """Values of shape (I, J, K) as a scan's voxels, shape (1, I, J, K).

    Whole numbers that fit become int16 however they were stored, all others float32.

    Raises:
        VolumeError: values that are not finite.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise VolumeError("The scan holds values that are not finite (NaN or infinity); clean it first.")
    return _narrowed(values)[np.newaxis]


def _narrowed(values: AnyArray) -> AnyArray:
    if values.dtype.kind in "iu" and np.can_cast(values.dtype, np.int16):
        return values.astype(np.int16)
    fits = values.min() >= _INT16.min and values.max() <= _INT16.max
    if fits:
        whole = values.astype(np.int16)
        if values.dtype.kind != "f" or np.array_equal(whole, values):
            return whole
    return values.astype(np.float32)


def guess_modality(voxels: Voxels) -> Modality:
    """What the values mean, where the format does not say.

    CT if at least one voxel in a hundred is below -50: fat, lung and air are, and even a crop of soft tissue
    holds some fat. The lowest value alone does not tell: resampled MR undershoots at edges, in few voxels.
    Otherwise whole numbers within 0 to 255 are display values, and all else is MR.
    """
    below_water = np.count_nonzero(voxels < _BELOW_WATER_HU)
    if below_water >= _BELOW_WATER_SHARE * voxels.size:
        return Modality.CT
    if voxels.dtype.kind in "iu" and voxels.min() >= 0 and voxels.max() <= 255:
        return Modality.DISPLAY
    return Modality.MR


def as_labels(values: AnyArray) -> AnyArray:
    """Values as labels: uint8, or int32 where a label is above 255.

    Raises:
        VolumeError: negative, fractional or very large values.
    """
    with np.errstate(invalid="ignore"):
        labels = values.astype(np.int32)
    if not np.array_equal(labels, values) or labels.min() < 0:
        raise VolumeError(
            f"A label file holds whole numbers from 0; this one holds values from {values.min()} to "
            f"{values.max()}: save it as a label map, not as an image or a probability."
        )
    return labels.astype(np.uint8) if labels.max() <= 255 else labels
