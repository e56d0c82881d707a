"""The simulated user of the CVPR 2025 challenge on interactive 3D biomedical segmentation.

After `CVPR25_iter_eval.py` and `get_boxes.py` of github.com/JunMa11/CVPR-MedSegFMCompetition: a box to
begin with, then clicks, each into the thickest part of the largest mistake.

*The box.* The challenge gives a tight 2D box on one slice in the middle of the object, and the range of
slices. A `Prompt` says the same with two boxes: the 2D box, and a 3D box from the first to the last slice
of the object that leaves the plane free. One 3D box with the edges of the middle slice would not do: a 3D
box holds the whole object, so that the aorta or the pancreas would be cut off where they leave the middle
slice's box. Two differences: the challenge takes the slice of the median voxel, we take the middle of the
range (or the slice with the object nearest to it), where a 3D box is read too; and the challenge widens
the box at random by up to 5/256 of the picture, ours is tight.

*The clicks.* Distances are in voxels, not in millimetres, and the object's edge at the border of the scan
counts as an edge, both as in the challenge.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.ndimage import distance_transform_edt, label

from lib.geometry import voxel_to_world
from lib.prompt import Box, Clicks, box_from_voxels
from lib.shapes import Affine, BinaryMask
from lib.train.extent import extent

EDT_MAX_VOXELS = 60_000_000
"""Above it the distance transform is taken on every second, third ... voxel."""


class Start(StrEnum):
    """What the user gives first."""

    BOX = "box"
    CLICKS = "clicks"


@dataclass(frozen=True)
class Click:
    """One correction.

    Attributes:
        ijk: voxel indices.
        positive: True where the object was missed, False where something else was taken for it.
    """

    ijk: tuple[int, int, int]
    positive: bool


def next_click(
    reference: BinaryMask,
    prediction: BinaryMask,
    rng: np.random.Generator,
    max_voxels: int = EDT_MAX_VOXELS,
) -> Click | None:
    """Where the user clicks next: the thickest part of the largest mistake; None if there is no mistake.

    Mistakes are the 26-connected components of where prediction and reference differ (so a component may hold
    both kinds; the clicked voxel decides the sign). The largest is that of the most voxels.

    Args:
        reference: the object, shape (I, J, K).
        prediction: the mask so far.
        rng: chooses among voxels that are equally thick.
        max_voxels: size of the component's bounding box above which distances are coarser.
    """
    error = reference != prediction
    if not error.any():
        return None
    window = extent(error)
    components, _ = label(error[window], structure=np.ones((3, 3, 3)))
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    inside = thickest_voxel(components == sizes.argmax(), reference.shape, rng, max_voxels)
    i, j, k = (part.start + index for part, index in zip(window, inside, strict=True))
    return Click((i, j, k), positive=bool(reference[i, j, k]))


def thickest_voxel(
    component: BinaryMask,
    scan_shape: tuple[int, ...],
    rng: np.random.Generator,
    max_voxels: int = EDT_MAX_VOXELS,
) -> tuple[int, int, int]:
    """The voxel farthest from the component's edge, by the Euclidean distance transform in voxels.

    Args:
        component: not empty; a part of the scan.
        scan_shape: the scan's size. Along an axis of one voxel (a picture) there is no edge.
        rng: chooses among equals.
        max_voxels: above it only every n-th voxel along each axis is looked at.
    """
    window = extent(component)
    crop = component[window]
    step = max(1, int(np.ceil((crop.size / max_voxels) ** (1 / 3))))
    coarse = crop[::step, ::step, ::step]
    if not coarse.any():
        # A component thinner than the step can fall between the voxels that are looked at.
        step, coarse = 1, crop
    rim = [(0, 0) if length == 1 else (1, 1) for length in scan_shape]
    distance = distance_transform_edt(np.pad(coarse, rim))
    farthest = np.argwhere(distance == distance.max()) - [low for low, _ in rim]
    i, j, k = farthest[rng.integers(len(farthest))] * step + [low.start for low in window]
    return (int(i), int(j), int(k))


def start_boxes(reference: BinaryMask, affine: Affine, axis: int) -> tuple[Box, ...]:
    """The first prompt of the protocol (see above): the middle slice's box, and the range of slices.

    The range is left out where the object is on one slice only.

    Args:
        reference: the object, not empty.
        affine: the scan's affine.
        axis: voxel axis across the slices.
    """
    present = _slices_with(reference, axis)
    centre = (present[0] + present[-1]) / 2
    middle = int(present[np.abs(present - centre).argmin()])
    on_middle = _box(*_slice_bounds(reference, axis, middle), reference, affine)
    if present[0] == present[-1]:
        return (on_middle,)
    low, high = np.zeros(3, dtype=np.int64), np.array(reference.shape) - 1
    low[axis], high[axis] = present[0], present[-1]
    return on_middle, _box(low, high, reference, affine)


def slice_boxes(reference: BinaryMask, affine: Affine, axis: int) -> tuple[Box, ...]:
    """The tight 2D box of every slice that shows the object."""
    bounds = (_slice_bounds(reference, axis, int(index)) for index in _slices_with(reference, axis))
    return tuple(_box(low, high, reference, affine) for low, high in bounds)


def clicks_in_order(made: list[Click], affine: Affine) -> Clicks:
    """Clicks as a prompt holds them, in the order in which they were made."""
    points = np.array([click.ijk for click in made], dtype=np.float64).reshape(-1, 3)
    return Clicks(voxel_to_world(points, affine), np.array([click.positive for click in made], dtype=bool))


def _slices_with(reference: BinaryMask, axis: int) -> np.ndarray:
    others = tuple(other for other in range(3) if other != axis)
    return np.flatnonzero(reference.any(axis=others))


def _slice_bounds(reference: BinaryMask, axis: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    window = extent(reference.take([index], axis=axis))
    low, high = (
        np.array(ends) for ends in zip(*((part.start, part.stop - 1) for part in window), strict=True)
    )
    low[axis] = high[axis] = index
    return low, high


def _box(low: np.ndarray, high: np.ndarray, reference: BinaryMask, affine: Affine) -> Box:
    size_i, size_j, size_k = reference.shape
    return box_from_voxels(low, high, (size_i, size_j, size_k), affine)
