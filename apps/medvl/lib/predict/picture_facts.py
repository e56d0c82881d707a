"""What can be measured of a target in a picture, and the sentence that says it."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.shapes import BinaryMask
from lib.transforms.intensity import choose_window
from lib.volume import Volume

_LEAST_PART = 0.02
_RING_SHARE = 0.04
_SMALLEST_SHARE = 0.0005
_FEW_PARTS = 6
_NOTABLE = 0.03
_NEAR_MIDDLE = 0.08
_LEAST_PX = 32
_LEAST_RANGE = 0.05
"""Of the brightest value, between a picture's dark and bright."""
_LEAST_CORRELATION = 0.5
"""Of neighbouring pixels; that of pictures is above 0.9, that of noise about 0."""


@dataclass(frozen=True)
class PictureFacts:
    """Measured of a mask; sides are those of the picture as shown, not the patient's.

    Attributes:
        share: of the picture's pixels, 0 to 1.
        centre: column and row of the mean position, as shares of width and height.
        box_px: columns and rows of the box around it: begin, begin, end, end.
        parts: connected parts that are not small beside the largest.
        brightness: mean of the shown intensities, 0 black to 1 white.
        contrast: the mean inside minus that of a ring around it.
    """

    share: float
    centre: tuple[float, float]
    box_px: tuple[int, int, int, int]
    parts: int
    brightness: float
    contrast: float

    @property
    def place(self) -> str:
        """Where in the picture the middle is."""
        column, row = self.centre
        beside = _third(column, "left", "right")
        above = _third(row, "upper", "lower")
        if beside and above:
            return f"in the {above} {beside} of the picture"
        if beside or above:
            return f"in the {f'{above} part' if above else f'{beside} part'} of the picture"
        return "in the middle of the picture"

    @property
    def shade(self) -> str:
        """How it differs from what is around it."""
        if abs(self.contrast) < _NOTABLE:
            return "about as bright as its surroundings"
        word = "brighter" if self.contrast > 0 else "darker"
        return f"{word} than its surroundings by {abs(self.contrast) * 100:.0f} % of the shown range"


def measure_picture(mask: BinaryMask, picture: Volume) -> PictureFacts | None:
    """None where nothing that could be seen is in the mask.

    Args:
        mask: on the picture's grid, one slice.
        picture: the picture.
    """
    inside = mask[:, :, 0]
    if np.count_nonzero(inside) < max(4, _SMALLEST_SHARE * inside.size):
        return None
    window = choose_window(picture, None)
    shown = window.apply(picture.voxels[..., 0]).mean(axis=0)
    columns, rows = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    middle = [float(axis.mean()) + 0.5 for axis in np.nonzero(inside)]
    brightness = float(shown[inside].mean())
    return PictureFacts(
        share=float(inside.mean()),
        centre=(middle[0] / inside.shape[0], middle[1] / inside.shape[1]),
        box_px=(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1),
        parts=_count_parts(inside),
        brightness=brightness,
        contrast=brightness - _around(shown, inside, brightness),
    )


def why_no_picture(picture: Volume) -> str | None:
    """One sentence where a picture shows nothing that could be read, or None.

    Args:
        picture: of one slice.
    """
    if min(picture.shape[:2]) < _LEAST_PX:
        return f"it has fewer than {_LEAST_PX} pixels along a side"
    gray = picture.voxels[..., 0].astype(np.float64).mean(axis=0)
    low, high = np.percentile(gray, (0.5, 99.5))
    if high - low < _LEAST_RANGE * max(1.0, float(np.abs(gray).max())):
        return "it is blank"
    if max(_correlation(gray), _correlation(gray.T)) < _LEAST_CORRELATION:
        return "it is noise"
    return None


def said_of(facts: PictureFacts, target: str) -> str:
    """One sentence of the step `analysis`; every number is measured on the mask.

    Args:
        facts: of the mask.
        target: what the mask shows.
    """
    parts = "in one part" if facts.parts == 1 else f"in {facts.parts} parts"
    if facts.parts > _FEW_PARTS:
        parts = "in many parts"
    if target.endswith("s"):
        be, has, cover = "are", "lie", "cover"
        shade = facts.shade.replace("its", "their")
    else:
        be, has, cover, shade = "is", "lies", "covers", facts.shade
    return (
        f"The {target} {has} {facts.place}, {cover} {facts.share * 100:.1f} % of it {parts}, "
        f"and {be} {shade}."
    )


def _third(share: float, low: str, high: str) -> str:
    if abs(share - 0.5) < _NEAR_MIDDLE:
        return ""
    return low if share < 0.5 else high


def _correlation(gray: np.ndarray) -> float:
    """Of pixels with their neighbours along the first axis; 0 where nothing varies."""
    first, second = gray[:-1].ravel(), gray[1:].ravel()
    first, second = first - first.mean(), second - second.mean()
    spread = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / spread if spread > 0 else 0.0


def _count_parts(inside: np.ndarray) -> int:
    labelled, _ = ndimage.label(inside, structure=np.ones((3, 3)))
    sizes = np.bincount(labelled.ravel())[1:]
    return int((sizes >= _LEAST_PART * sizes.max()).sum())


def _around(shown: np.ndarray, inside: np.ndarray, otherwise: float) -> float:
    """Mean brightness of a ring around the mask; of the mask itself where there is none."""
    reach = max(2, round(_RING_SHARE * max(inside.shape)))
    distance = ndimage.distance_transform_edt(~inside)
    ring = (distance > 0) & (distance <= reach)
    return float(shown[ring].mean()) if ring.any() else otherwise
