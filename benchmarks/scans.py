"""Scans for the benchmarks: the sample CT around its liver, interpolated to 512 x 512 pixels; and clicks."""

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from lib.cli.sample_data import CACHE, fetch_sample_data, load_sample_data
from lib.formats import read_volume, write_volume
from lib.train.label_names import totalsegmentator_names
from lib.volume import Modality, Volume

SIDE = 512
ORGAN = "liver"
WRONG_DEPTH = 5
"""Voxels from the edge of a mask at which a corrective click is."""


@dataclass(frozen=True)
class Stack:
    """Which slices to make.

    Attributes:
        slices: on which the liver is.
        around: further slices at either end.
        share: of the liver's height, about its middle.
    """

    slices: int
    around: int = 0
    share: float = 1.0


def write_scan(path: Path, stack: Stack) -> None:
    """A scan of 512 x 512 pixels, and beside it the liver's mask as NAME.npy.

    Args:
        path: of the scan, a NIfTI file.
        stack: its slices.
    """
    sample = load_sample_data()
    fetch_sample_data(sample)
    scan = read_volume(CACHE / sample.image)
    value = next(number for number, name in totalsegmentator_names().items() if name == ORGAN)
    organ = (np.asarray(nibabel.load(CACHE / sample.labels).dataobj) == value).astype(np.float32)
    shown = np.flatnonzero(organ.any(axis=(0, 1)))
    middle, length = (shown[0] + shown[-1]) / 2, stack.share * (shown[-1] - shown[0])
    step = length / (stack.slices - 1)
    heights = middle - length / 2 + step * (np.arange(stack.slices + 2 * stack.around) - stack.around)
    hu = np.stack([_slice_at(scan.voxels[0], height) for height in heights], axis=-1)
    scale = np.diag([*((size - 1) / (SIDE - 1) for size in organ.shape[:2]), step, 1.0])
    write_volume(Volume(np.rint(hu).astype(np.int16)[None], scan.affine @ scale, Modality.CT), path)
    mask = np.stack([_slice_at(organ, height) > 0.5 for height in heights], axis=-1)
    mask[..., : stack.around] = mask[..., stack.around + stack.slices :] = (
        False  # the sample CT cuts the liver
    )
    np.save(path.with_suffix(".npy"), mask)


def _slice_at(voxels: np.ndarray, height: float) -> np.ndarray:
    lower = int(np.clip(np.floor(height), 0, voxels.shape[2] - 2))
    part = float(np.clip(height - lower, 0.0, 1.0))
    blended = (1 - part) * voxels[:, :, lower] + part * voxels[:, :, lower + 1]
    return ndimage.zoom(blended.astype(np.float32), SIDE / np.array(blended.shape), order=1)


def write_copy(source: Path, target: Path, change: int) -> None:
    """The same scan with another value in one voxel: for every cache another scan."""
    volume = read_volume(source)
    voxels = volume.voxels.copy()
    voxels[0, 0, 0, 0] += change
    write_volume(Volume(voxels, volume.affine, volume.modality), target)


def click_in(mask: np.ndarray, index: int) -> list[int]:
    """The voxel deepest inside of a slice's mask."""
    return _voxel(ndimage.distance_transform_edt(mask[:, :, index]), index)


def wrong_click(drawn: np.ndarray, index: int) -> list[int]:
    """A voxel inside of what was drawn on a slice, some voxels from its edge: clicked as not the object."""
    depth = ndimage.distance_transform_edt(drawn[:, :, index])
    return _voxel(-np.abs(depth - min(WRONG_DEPTH, depth.max())), index)


def _voxel(score: np.ndarray, index: int) -> list[int]:
    row, col = np.unravel_index(int(score.argmax()), score.shape)
    return [int(row), int(col), int(index)]


def write_noise(path: Path, slices: int) -> float:
    """Noise with a brighter block in it, for what needs a large scan only; its megabytes in memory."""
    rng = np.random.default_rng(0)
    voxels = rng.integers(-100, 100, (1, SIDE, SIDE, slices), dtype=np.int16)
    voxels[0, 200:300, 200:300, slices // 2 - 10 : slices // 2 + 10] += 200
    write_volume(Volume(voxels, np.diag([0.7, 0.7, 1.0, 1.0]), Modality.CT), path)
    return voxels.nbytes / 2**20
