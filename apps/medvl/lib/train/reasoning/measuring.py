"""From a mask to its facts: where it lies, on which side, how large and dense it is, in how many parts."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from lib.errors import InputError
from lib.geometry import voxel_to_world
from lib.predict.atlas import body_frame
from lib.predict.cropped import CroppedMask
from lib.predict.measure import (
    CLEAR_OF_MIDDLE_MM,
    axial_diameters,
    measure,
    place_within,
    reaches_edge,
    side_of,
)
from lib.shapes import BinaryMask
from lib.train.reasoning.facts import MOST_PARTS, Density, Facts, SizeClass
from lib.vocabulary import Side
from lib.volume import Modality, Volume

_LEAST_PART = 0.01
_LEAST_MAIN_PART = 0.2
_OFF_CENTRE = 1 / 6
"""How far from the middle, in parts of the whole, something is on a side or in an upper part."""
_LEAST_BODY_MM = 260.0
"""A narrower outline may be one limb, whose middle says nothing of sides."""
_MOST_BODY_AT_EDGE = 0.1
_BODY_HU = -350.0
_SAME_BRIGHTNESS = 0.05
"""Of the picture's range."""
_HU_MARGIN = 30.0
"""Noise takes single voxels so far beyond the limits of what they are."""
_LEAST_ALIKE = 0.5
_HU_UP_TO = ((-500.0, Density.AIR), (-30.0, Density.FAT), (20.0, Density.FLUID), (90.0, Density.SOFT_TISSUE))
_LESION_MM = (10.0, 50.0)
_LESION_PERCENT = (2.0, 25.0)
"""Smaller than the first is small, larger than the second large."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is known of an outlined object before its mask is looked at.

    Attributes:
        modality: as the manifest calls it.
        target: what it is called.
        condition: the diagnosis, if one is recorded.
        is_normal: it is recorded that there is no disease.
        is_lesion: rather than an organ.
        side: that its label, or its organ's, says.
        within: the organ that it lies in.
        organ: that organ's mask.
        is_oriented: the scan says how the patient lies.
    """

    modality: str
    target: str
    condition: str | None
    is_normal: bool
    is_lesion: bool
    side: Side | None = None
    within: str | None = None
    organ: BinaryMask | None = None
    is_oriented: bool = True


def measure_facts(
    volume: Volume, mask: BinaryMask, subject: Subject, middle_x_mm: float | None = None
) -> Facts:
    """Everything that a row may say of an object.

    Args:
        volume: the scan or picture.
        mask: of the object, on its grid.
        subject: what the manifest says of it.
        middle_x_mm: of the patient, RAS+; None where it is not known.

    Raises:
        InputError: an empty mask, or one on another side than its label says.
    """
    cropped = CroppedMask.of(mask)
    if not cropped.count:
        raise InputError("The mask is empty, so that there is nothing to say of it.")
    if volume.shape[2] == 1 and volume.modality is Modality.DISPLAY:
        return _in_picture(volume, cropped, subject)
    return _in_volume(volume, cropped, subject, middle_x_mm)


def patient_middle_mm(volume: Volume, spine: BinaryMask | None) -> float | None:
    """Where the patient's middle is, RAS+; None where the scan does not show it.

    It is at the spine, if that is outlined. Else it is halfway through the body, if the scan holds a trunk's
    width: a crop's middle is not the patient's.

    Args:
        volume: the scan.
        spine: vertebrae, cord or sacrum.
    """
    if spine is not None and spine.any():
        return float(voxel_to_world(CroppedMask.of(spine).centre_ijk()[np.newaxis], volume.affine)[0, 0])
    if volume.modality is not Modality.CT or _body_at_edges(volume) > _MOST_BODY_AT_EDGE:
        return None
    frame = body_frame(volume)
    if frame.high_mm[0] - frame.low_mm[0] < _LEAST_BODY_MM:
        return None
    return (frame.low_mm[0] + frame.high_mm[0]) / 2


def _body_at_edges(volume: Volume) -> float:
    """Share of body in the scan's rightmost or leftmost layer, the larger of the two."""
    axis = int(np.abs(volume.affine[0, :3] / np.array(volume.spacing_mm)).argmax())
    ends = (np.take(volume.voxels[0], place, axis=axis) for place in (0, -1))
    return max(float((end > _BODY_HU).mean()) for end in ends)


def _in_volume(volume: Volume, mask: CroppedMask, subject: Subject, middle_x_mm: float | None) -> Facts:
    measured = measure(mask, volume)
    median = float(np.median(volume.voxels[0][mask.window][mask.voxels]))
    parts = _parts(mask)
    seen = None if middle_x_mm is None else side_of(measured.centre_ras_mm, middle_x_mm)
    if subject.side is not None and seen not in (None, subject.side):
        raise InputError(f"The label of {subject.target} says {subject.side}, but its mask lies {seen}.")
    diameters = axial_diameters(parts[0], volume.affine) if subject.is_lesion else None
    facts = _facts(subject, parts, _density(volume, mask, median))
    facts = replace(
        facts,
        places=_places_in_volume(volume, mask, subject),
        side=subject.side or seen,
        is_bilateral=middle_x_mm is not None and _on_both_sides(volume, parts, middle_x_mm),
        is_partial=measured.is_partial,
        volume_ml=measured.volume_ml,
        median_hu=median if volume.modality is Modality.CT else None,
    )
    if diameters is None:
        return facts
    return replace(
        facts,
        size=_class_of(diameters.long_mm, _LESION_MM),
        long_axis_mm=diameters.long_mm,
        short_axis_mm=diameters.short_mm,
    )


def _facts(subject: Subject, parts: list[CroppedMask], density: Density) -> Facts:
    return Facts(
        modality=subject.modality,
        target=subject.target,
        within=subject.within,
        places=(),
        side=None,
        is_bilateral=False,
        parts=min(len(parts), MOST_PARTS),
        density=density,
        size=None,
        condition=subject.condition,
        is_normal=subject.is_normal,
        is_paired=subject.side is not None and not subject.is_lesion,
        is_picture=False,
        is_partial=False,
    )


def _places_in_volume(volume: Volume, mask: CroppedMask, subject: Subject) -> tuple[str, ...]:
    """Upper or lower, anterior or posterior, of its organ or else of the scan."""
    is_in_unseen_organ = subject.within is not None and subject.organ is None
    if not subject.is_lesion or not subject.is_oriented or is_in_unseen_organ:
        return ()
    whole = np.ones(volume.shape, dtype=bool) if subject.organ is None else subject.organ
    if not whole.any():
        return ()
    within = measure(CroppedMask.of(whole), volume)
    return tuple(place_within(measure(mask, volume), within).split())


def _on_both_sides(volume: Volume, parts: list[CroppedMask], middle_x_mm: float) -> bool:
    ends = [
        float(voxel_to_world(part.centre_ijk()[np.newaxis], volume.affine)[0, 0]) - middle_x_mm
        for part in _main_parts(parts)
    ]
    return bool(min(ends) < -CLEAR_OF_MIDDLE_MM and max(ends) > CLEAR_OF_MIDDLE_MM)


def _main_parts(parts: list[CroppedMask]) -> list[CroppedMask]:
    """The two largest, if the second is no mere fragment."""
    first, *others = parts
    total = sum(part.count for part in parts)
    return [first, *(part for part in others[:1] if part.count >= _LEAST_MAIN_PART * total)]


def _parts(mask: CroppedMask) -> list[CroppedMask]:
    return [part for part in mask.components() if part.count >= _LEAST_PART * mask.count]


def _density(volume: Volume, mask: CroppedMask, median: float) -> Density:
    """On CT what the middle value means, if most of the object is about that."""
    if volume.modality is not Modality.CT:
        return _relative_density(volume, mask)
    low = max((limit for limit, _ in _HU_UP_TO if median >= limit), default=-np.inf)
    high, density = next(
        ((limit, one) for limit, one in _HU_UP_TO if median < limit), (np.inf, Density.DENSE)
    )
    hu = volume.voxels[0][mask.window][mask.voxels]
    alike = float(((hu >= low - _HU_MARGIN) & (hu < high + _HU_MARGIN)).mean())
    return density if alike >= _LEAST_ALIKE else Density.MIXED


def _relative_density(volume: Volume, mask: CroppedMask) -> Density:
    """Against a rim half as wide as the object's thickest place; thin vessels have a thin one."""
    gray = volume.voxels.mean(axis=0)
    room = [0 if size == 1 else 1 for size in gray.shape]
    padded = np.pad(mask.voxels, [(side, side) for side in room])
    rim = max(2, round(float(ndimage.distance_transform_edt(padded).max()) / 2))
    window = tuple(
        slice(max(0, part.start - rim), min(size, part.stop + rim))
        for part, size in zip(mask.window, gray.shape, strict=True)
    )
    inside = mask.full()[window]
    around = ndimage.distance_transform_edt(~inside) <= rim
    around &= ~inside
    if not around.any():
        return Density.SIMILAR
    low, high = np.percentile(gray, (1, 99))
    difference = float(gray[window][inside].mean() - gray[window][around].mean())
    if abs(difference) <= _SAME_BRIGHTNESS * max(float(high - low), 1e-6):
        return Density.SIMILAR
    return Density.BRIGHTER if difference > 0 else Density.DARKER


def _in_picture(volume: Volume, mask: CroppedMask, subject: Subject) -> Facts:
    """Sides are those of the picture as it is shown: i to the right, j down."""
    parts = _parts(mask)
    width, height, _ = volume.shape
    across, down = ((mask.centre_ijk()[:2] + 0.5) / (width, height) - 0.5).tolist()
    area_percent = 100.0 * mask.count / (width * height)
    ends = [(float(part.centre_ijk()[0]) + 0.5) / width - 0.5 for part in _main_parts(parts)]
    both = min(ends) < -_OFF_CENTRE / 2 and max(ends) > _OFF_CENTRE / 2
    places = () if abs(down) <= _OFF_CENTRE else ("lower" if down > 0 else "upper",)
    side = None if abs(across) <= _OFF_CENTRE else Side.RIGHT if across > 0 else Side.LEFT
    return replace(
        _facts(subject, parts, _relative_density(volume, mask)),
        places=places,
        side=None if both else side,
        is_bilateral=both,
        is_picture=True,
        is_partial=reaches_edge(mask),
        size=_class_of(area_percent, _LESION_PERCENT) if subject.is_lesion else None,
        area_percent=area_percent,
    )


def _class_of(value: float, limits: tuple[float, float]) -> SizeClass:
    low, high = limits
    return SizeClass.SMALL if value < low else SizeClass.LARGE if value > high else SizeClass.MEDIUM
