"""Structures that follow from Hounsfield units and form: body, lungs, airways, bone.

They serve, and label scans that lack them for training and for references. What a rule cannot decide it
leaves out.

All rules take the volume as it is and answer on its own grid; left and right are told by the affine.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.errors import InputError
from lib.geometry import voxel_to_world, world_axes
from lib.shapes import BinaryMask
from lib.volume import Modality, Volume

BODY_ABOVE_HU = -350.0
LUNG_HU = (-1050.0, -400.0)
"""Air and lung; the walls of vessels and bronchi are closed up afterwards."""
AIRWAY_BELOW_HU = -880.0
BONE_ABOVE_HU = 160.0
BONE_CORE_HU = 260.0
THICK_BONE_HU = 290.0
"""A tenth of a thick bone is at least as dense."""
_LEAST_LUNG_ML, _LEAST_LUNG_AT_TOP_ML = 40.0, 6.0
_LEAST_CHEST_ML = 400.0
_THICK_MM = 8.0
_MARROW_ABOVE_HU, _MARROW_WITHIN_MM = 85.0, 5.0
_LEAST_BONE_ML = 0.15
_WORK_MM = 2.4
"""Lungs and body are found on a grid about this fine."""
_OPEN_MM, _CLOSE_MM, _BODY_OPEN_MM = 3.0, 7.0, 5.0
_BIG_AIRWAY_ML = 120.0


@dataclass(frozen=True, eq=False)
class RuleLabels:
    """What the rules found, each on the scan's grid.

    Attributes:
        body: without table and clothes; arms included.
        lung_left: of the patient; vessels inside it included.
        lung_right: of the patient.
        airway: windpipe and large bronchi.
        bone: bones and what is as dense and hangs on them.
    """

    body: BinaryMask
    lung_left: BinaryMask
    lung_right: BinaryMask
    airway: BinaryMask
    bone: BinaryMask

    def named(self) -> dict[str, BinaryMask]:
        """Those that are there, under the vocabulary's names."""
        return {name: mask for name, mask in vars(self).items() if mask.any()}


def label_by_rules(volume: Volume) -> RuleLabels:
    """Labels a CT.

    Raises:
        InputError: the scan is no CT in Hounsfield units.
    """
    hu = _hu_of(volume)
    body = body_mask(volume)
    airway = airway_mask(volume, body)
    left, right = lung_masks(volume, body, airway)
    voxel_ml = float(np.prod(volume.spacing_mm)) / 1000
    if (left.sum() + right.sum()) * voxel_ml < _LEAST_CHEST_ML:
        # without a chest the dark tube was bowel
        airway = np.zeros_like(airway)
    return RuleLabels(body, left, right, airway, bone_mask(hu, body, volume.spacing_mm))


def body_mask(volume: Volume) -> BinaryMask:
    """The patient: the largest dense body after thin things (table, sheets) were cut off, slices filled."""
    hu, step = _coarse(_hu_of(volume), volume.spacing_mm)
    spacing = _times(volume.spacing_mm, step)
    dense = hu > BODY_ABOVE_HU
    kept = _largest(ndimage.binary_opening(dense, _ball(_BODY_OPEN_MM, spacing)))
    # what the opening took off the patient comes back; the table stays away
    grown = ndimage.binary_dilation(kept, _ball(_BODY_OPEN_MM, spacing)) & dense
    filled = _filled_slices(grown, _axial_axis(volume))
    return _fine(filled, step, volume.shape)


def lung_masks(volume: Volume, body: BinaryMask, airway: BinaryMask) -> tuple[BinaryMask, BinaryMask]:
    """Left and right lung of the patient, empty where there is none.

    Air inside the body that is neither airway nor bowel: of the large pieces, those that hold lung rather
    than pure gas. Two lungs that touch are parted where they are thinnest.
    """
    air, step = _coarse(_hu_of(volume), volume.spacing_mm)
    spacing = _times(volume.spacing_mm, step)
    inside = body[step[0] // 2 :: step[0], step[1] // 2 :: step[1], step[2] // 2 :: step[2]]
    tubes = airway[step[0] // 2 :: step[0], step[1] // 2 :: step[1], step[2] // 2 :: step[2]]
    lungs = (air > LUNG_HU[0]) & (air < LUNG_HU[1]) & inside & ~ndimage.binary_dilation(tubes)
    lungs = _lung_pieces(
        ndimage.binary_opening(lungs, _ball(_OPEN_MM, spacing)),
        air,
        spacing,
        _top_slices(volume, lungs.shape),
    )
    right = _right_of_middle(lungs, volume, step)
    sides = []
    for side in (lungs & ~right, lungs & right):
        closed = _closed(side, _CLOSE_MM, spacing) & inside & ~tubes & (air < 250)
        sides.append(_fine(_filled_slices(closed, _axial_axis(volume)), step, volume.shape) & body & ~airway)
    left_lung, right_lung = sides[0], sides[1]
    return left_lung & ~right_lung, right_lung


def airway_mask(volume: Volume, body: BinaryMask) -> BinaryMask:
    """Windpipe and large bronchi: very dark tubes inside the body that hang on the one from above.

    Empty where the scan does not show the windpipe in cross-section.
    """
    hu = _hu_of(volume)
    axis = _axial_axis(volume)
    dark = (hu < AIRWAY_BELOW_HU) & body
    seed = _windpipe(dark, volume, axis)
    if seed is None:
        return np.zeros(volume.shape, dtype=bool)
    return _grown(seed, hu, body, volume)


def bone_mask(hu: np.ndarray, body: BinaryMask, spacing_mm: tuple[float, float, float]) -> BinaryMask:
    """Dense pieces of the body with the marrow between them; contrast medium may be taken for bone.

    Args:
        hu: shape (I, J, K).
        body: the patient.
        spacing_mm: of the voxels.
    """
    dense = (hu > BONE_ABOVE_HU) & body
    pieces, _ = ndimage.label(dense)
    sizes_ml = np.bincount(pieces.ravel()) * float(np.prod(spacing_mm)) / 1000
    keep = sizes_ml >= _LEAST_BONE_ML
    keep[0] = False
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        keep[number] = keep[number] and _is_bone(hu[box], pieces[box] == number, spacing_mm)
    bone = keep[pieces]
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), [1.2 / step for step in spacing_mm])
    marrow = _closed(bone, _MARROW_WITHIN_MM, spacing_mm) & (smooth > _MARROW_ABOVE_HU)
    return (bone | marrow) & body


def _is_bone(hu: np.ndarray, piece: np.ndarray, spacing_mm: tuple[float, float, float]) -> bool:
    """A thick piece must be dense in good part: kidneys full of contrast medium are thick and even."""
    values = hu[piece]
    if values.max() <= BONE_CORE_HU:
        return False
    edged = np.pad(piece, 1)
    thick_mm = float(ndimage.distance_transform_edt(edged, sampling=spacing_mm).max())
    return thick_mm < _THICK_MM or float(np.percentile(values, 90)) > THICK_BONE_HU


def _hu_of(volume: Volume) -> np.ndarray:
    if volume.modality is not Modality.CT or volume.voxels.shape[0] != 1:
        raise InputError(
            f"Rules label CT in Hounsfield units; got {volume.modality.value} with "
            f"{volume.voxels.shape[0]} channels."
        )
    return volume.voxels[0]


def _axial_axis(volume: Volume) -> int:
    """The voxel axis that runs along the patient."""
    return [world for world, _ in world_axes(volume.affine)].index(2)


def _coarse(
    hu: np.ndarray, spacing_mm: tuple[float, float, float]
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Every n-th voxel along each axis, n so that the step is about the working grid's."""
    i, j, k = (max(1, round(_WORK_MM / step)) for step in spacing_mm)
    return hu[i // 2 :: i, j // 2 :: j, k // 2 :: k], (i, j, k)


def _fine(mask: np.ndarray, step: tuple[int, int, int], shape: tuple[int, int, int]) -> BinaryMask:
    """Back to the scan's grid, each coarse voxel where it was taken from."""
    for axis, (times, size) in enumerate(zip(step, shape, strict=True)):
        nearest = np.minimum(np.arange(size) // times, mask.shape[axis] - 1)
        mask = np.take(mask, nearest, axis=axis)
    return mask


def _times(spacing_mm: tuple[float, float, float], step: tuple[int, int, int]) -> tuple[float, float, float]:
    i, j, k = (length * times for length, times in zip(spacing_mm, step, strict=True))
    return (i, j, k)


def _ball(radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """A structuring element; one voxel along an axis whose voxels are wider than the radius."""
    lines = [np.arange(-int(radius_mm / step), int(radius_mm / step) + 1) * step for step in spacing_mm]
    grids = np.meshgrid(*lines, indexing="ij")
    return np.sqrt(grids[0] ** 2 + grids[1] ** 2 + grids[2] ** 2) <= radius_mm + 1e-6


def _closed(mask: np.ndarray, radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Closing by distances, whose cost is the same for any radius; the scan's edge takes nothing away."""
    if not mask.any():
        return mask
    pad = [int(np.ceil(radius_mm / step)) + 1 for step in spacing_mm]
    padded = np.pad(mask, [(width, width) for width in pad], mode="edge")
    near = ndimage.distance_transform_edt(~padded, sampling=spacing_mm) <= radius_mm
    inner = ndimage.distance_transform_edt(near, sampling=spacing_mm) > radius_mm
    i, j, k = (slice(width, -width) for width in pad)
    return inner[i, j, k] | mask


def _largest(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    # arms that lie apart belong to the patient
    return np.isin(pieces, np.flatnonzero(sizes > 0.04 * sizes.max()))


def _filled_slices(mask: np.ndarray, axis: int) -> np.ndarray:
    """Holes filled slice by slice."""
    slices = np.moveaxis(mask, axis, 0)
    return np.moveaxis(np.stack([ndimage.binary_fill_holes(plane) for plane in slices]), 0, axis)


def _top_slices(volume: Volume, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The two uppermost slices of a grid along the scan's axes."""
    axis = _axial_axis(volume)
    upper = slice(shape[axis] - 2, None) if world_axes(volume.affine)[axis][1] > 0 else slice(0, 2)
    return tuple(upper if number == axis else slice(None) for number in range(3))


def _lung_pieces(
    mask: np.ndarray, hu: np.ndarray, spacing_mm: tuple[float, float, float], top: tuple[slice, ...]
) -> np.ndarray:
    """Pieces large enough that hold lung: gas of stomach and bowel is darker, and even.

    A scan of the abdomen shows the lungs' lower ends only: small pieces count if the scan's top cuts them.
    """
    pieces, count = ndimage.label(mask)
    if count == 0:
        return mask
    numbers = np.arange(count + 1)
    volumes_ml = np.bincount(pieces.ravel(), minlength=count + 1) * float(np.prod(spacing_mm)) / 1000
    medians = np.asarray(ndimage.median(hu, pieces, numbers))
    at_top = (
        np.isin(numbers, np.unique(pieces[top])) & (medians > -900) & (volumes_ml >= _LEAST_LUNG_AT_TOP_ML)
    )
    large = (volumes_ml >= max(_LEAST_LUNG_ML, 0.015 * volumes_ml[1:].max())) & (medians > -945)
    keep = at_top | large
    keep[0] = False
    return keep[pieces]


def _right_of_middle(lungs: np.ndarray, volume: Volume, step: tuple[int, int, int]) -> np.ndarray:
    """Which voxels belong to the right lung: whole pieces by their centre, a joined piece by a watershed."""
    pieces, count = ndimage.label(lungs)
    x_mm = _x_mm(lungs.shape, volume, step)
    if count == 0:
        return lungs
    middle = float(np.median(x_mm[lungs])) if count == 1 else _middle_x(pieces, x_mm)
    right = np.zeros(lungs.shape, dtype=bool)
    for number in range(1, count + 1):
        piece = pieces == number
        beside = x_mm[piece] > middle
        if 0.12 < beside.mean() < 0.88:
            right |= _parted(piece, x_mm, middle)
        elif beside.mean() >= 0.88:
            right |= piece
    return right


def _x_mm(shape: tuple[int, ...], volume: Volume, step: tuple[int, int, int]) -> np.ndarray:
    """Millimetres to the patient's right, for every coarse voxel."""
    corners = np.array([[part // 2 for part in step]] * 4, dtype=np.float64)
    corners[1:] += np.diag(step)
    start, *ends = voxel_to_world(corners, volume.affine)[:, 0]
    lines = [np.arange(size) * (end - start) for size, end in zip(shape, ends, strict=True)]
    return start + lines[0][:, None, None] + lines[1][None, :, None] + lines[2][None, None, :]


def _middle_x(pieces: np.ndarray, x_mm: np.ndarray) -> float:
    """Between the two largest pieces, or in the middle of one that spans both sides."""
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    first, second = np.argsort(sizes)[::-1][:2]
    if sizes[second] < 0.25 * sizes[first]:
        return float(np.median(x_mm[pieces > 0]))
    return float(x_mm[pieces == first].mean() + x_mm[pieces == second].mean()) / 2


def _parted(piece: np.ndarray, x_mm: np.ndarray, middle: float) -> np.ndarray:
    """The right part of two lungs that touch: each voxel goes to the side whose core it is nearer to."""
    core = ndimage.binary_erosion(piece, iterations=2)
    right, left = core & (x_mm > middle + 8), core & (x_mm < middle - 8)
    if not right.any() or not left.any():
        return piece & (x_mm > middle)
    markers = np.where(right, 2, np.where(left, 1, 0)).astype(np.int16)
    markers[~piece] = -1
    depth = ndimage.distance_transform_cdt(piece).astype(np.float32)
    relief = (255 * (1 - depth / max(float(depth.max()), 1.0))).astype(np.uint8)
    return ndimage.watershed_ift(relief, markers) == 2


def _windpipe(dark: np.ndarray, volume: Volume, axis: int) -> np.ndarray | None:
    """The windpipe's cross-section in one of the upper slices: round, of 1 to 6 square centimetres."""
    planes = np.moveaxis(dark, axis, 0)
    order = range(len(planes)) if world_axes(volume.affine)[axis][1] < 0 else range(len(planes) - 1, -1, -1)
    area_cm2 = float(np.prod([part for n, part in enumerate(volume.spacing_mm) if n != axis])) / 100
    for number in list(order)[: max(1, len(planes) // 2)]:
        found = _round_hole(planes[number], area_cm2)
        if found is not None:
            seed = np.zeros_like(planes)
            seed[number] = found
            return np.moveaxis(seed, 0, axis)
    return None


def _round_hole(plane: np.ndarray, pixel_cm2: float) -> np.ndarray | None:
    """The one piece of a plane that could be a windpipe; None if there is none or several."""
    pieces, count = ndimage.label(plane)
    good = []
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[box] == number
        area_cm2 = piece.sum() * pixel_cm2
        filled = piece.mean()
        if 1.0 < area_cm2 < 6.0 and filled > 0.55 and count < 40:
            good.append(number)
    return pieces == good[0] if len(good) == 1 else None


def _grown(seed: np.ndarray, hu: np.ndarray, body: BinaryMask, volume: Volume) -> BinaryMask:
    """From the windpipe downwards, in the highest threshold that does not leak into the lungs."""
    voxel_ml = float(np.prod(volume.spacing_mm)) / 1000
    for limit_hu in (AIRWAY_BELOW_HU, AIRWAY_BELOW_HU - 30, AIRWAY_BELOW_HU - 55, AIRWAY_BELOW_HU - 75):
        tubes = ndimage.binary_propagation(seed & (hu < limit_hu), mask=(hu < limit_hu) & body)
        if 0 < tubes.sum() * voxel_ml < _BIG_AIRWAY_ML:
            return _closed(tubes, 1.5, volume.spacing_mm) & body
    return np.zeros(volume.shape, dtype=bool)
