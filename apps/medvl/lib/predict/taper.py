"""What a compact object looks like between two ends that the user named, where following it drifts.

In low contrast, as in a sarcoma beside muscle, a mask that is followed from slice to slice widens and runs
on, and is still large where the user says that the object ends. The mask of the key slice, shrunk towards
both ends as an ellipsoid is and moved along the line through the centres of the followed masks, is then the
better guess, and the network draws once more from that guess on each slice.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.model.config import TrainedPrompt
from lib.predict.edges import clear_share
from lib.predict.plan import FrameClick, ObjectPlan, bounding_box
from lib.predict.propagate import Track, as_logits, stacked, within
from lib.predict.scan import EmbeddedScan
from lib.shapes import BinaryMask, SliceMask
from lib.transforms.spatial import SlicePlane

LEAST_AGREEMENT = 0.75
"""Dice of followed and tapered object below which the object is no compact one (a vessel, a bowel loop)."""
CLEAR_EDGE = 0.85
"""Where so much of the edge is seen, the followed mask is believed. On the training cases that is .17 to
.82 for sarcomas and .85 to .98 for kidneys, gallbladder, aorta and spinal cord."""
LONGEST = 2.0
"""Radii of the key slice's mask that an object is believed to reach to either side where its edge is not
seen. On the training cases the sarcomas reach 1.2 to 3.5, and followed on one click they reach 2 to 6."""
FEWEST_SLICES = 5
_SMALLEST_SCALE = 0.05


@dataclass(frozen=True, eq=False)
class Ends:
    """Where an object begins and ends.

    Attributes:
        key: the slice whose mask is trusted.
        first: the first slice that shows the object.
        last: the last one.
    """

    key: int
    first: int
    last: int

    def scale(self, index: int) -> float:
        """Width of an ellipsoid on a slice, as a share of that on the key slice."""
        half = (self.key - self.first if index < self.key else self.last - self.key) + 0.5
        return float(np.sqrt(max(0.0, 1.0 - ((index - self.key) / half) ** 2)))


def redrawn_where_compact(scan: EmbeddedScan, plan: ObjectPlan, track: Track, key: int) -> Track:
    """The followed object, drawn anew from a tapered one if it is nearly that; else as it was.

    Args:
        scan: the scan.
        plan: the range of slices that the user gave.
        track: the object as followed.
        key: the prompted slice; its mask stays.
    """
    if plan.last - plan.first + 1 < FEWEST_SLICES:
        return track
    followed = stacked(track, plan)
    shape = tapered(followed, Ends(key, plan.first, plan.last))
    if plan.first == 0:  # the scan ends there, not the object
        shape[:key] = followed[:key]
    if plan.last == plan.plane.count - 1:
        shape[key + 1 :] = followed[key + 1 :]
    if _dice(followed, shape) < LEAST_AGREEMENT or clear_share(scan, followed) >= CLEAR_EDGE:
        return track
    return redrawn(scan, plan, track, shape)


def shortened_where_unseen(scan: EmbeddedScan, plan: ObjectPlan, track: Track, key: int) -> Track:
    """An object whose ends nobody named, not longer than it is likely to be if its edge is not seen.

    Args:
        scan: the scan.
        plan: what the user said.
        track: the object as followed from one slice.
        key: that slice; its mask stays.
    """
    followed = stacked(track, plan)
    ends = _likely_ends(plan, followed, key)
    shown = np.flatnonzero(followed.any(axis=(1, 2)))
    if ends.first <= shown[0] and shown[-1] <= ends.last:
        return track
    if clear_share(scan, followed) >= CLEAR_EDGE:
        return track
    return redrawn(scan, plan, track, tapered(_cut(followed, ends), ends))


def ended(plan: ObjectPlan, frames: BinaryMask, click: FrameClick) -> BinaryMask:
    """A mask that ends before a click's slice, and tapers off towards it.

    Args:
        plan: all that the user said; slices with clicks or boxes of their own stay.
        frames: the mask as slices (D, H, W).
        click: denies all of its slice.
    """
    changed = frames.copy()
    changed[click.index] = False
    middle = np.array([click.row, click.col], dtype=np.float64)
    depth = max(1.0, radius_in_slices(plan.plane, frames[click.index]))
    for indices in (range(click.index + 1, plan.last + 1), range(click.index - 1, plan.first - 1, -1)):
        is_beyond = not any(is_settled(plan, index) for index in indices)
        for index in indices:
            steps = abs(index - click.index)
            if is_settled(plan, index) or (steps >= depth and not is_beyond):
                break
            width = 0.0 if is_beyond else float(np.sqrt(1.0 - (1.0 - steps / depth) ** 2))
            changed[index] = frames[index] & _scaled(frames[index], middle, width)
    return changed


def is_settled(plan: ObjectPlan, index: int) -> bool:
    """Whether the user has said something of a slice, which a click elsewhere must not undo."""
    return index in plan.boxes or any(click.index == index for click in plan.clicks)


def radius_in_slices(plane: SlicePlane, mask: SliceMask) -> float:
    """Radius of a disc of the mask's area, as a number of slices."""
    area_mm2 = np.count_nonzero(mask) * np.prod(plane.pixel_mm)
    return float(np.sqrt(area_mm2 / np.pi) / plane.spacing_mm[plane.axis])


def _likely_ends(plan: ObjectPlan, frames: BinaryMask, key: int) -> Ends:
    """As far as the object reaches, but not farther from the key slice than is likely."""
    reach = max(2, round(LONGEST * radius_in_slices(plan.plane, frames[key])))
    shown = np.flatnonzero(frames.any(axis=(1, 2)))
    return Ends(key, max(int(shown[0]), key - reach), min(int(shown[-1]), key + reach))


def _cut(frames: BinaryMask, ends: Ends) -> BinaryMask:
    kept = np.zeros_like(frames)
    kept[ends.first : ends.last + 1] = frames[ends.first : ends.last + 1]
    return kept


def tapered(frames: BinaryMask, ends: Ends) -> BinaryMask:
    """The key slice's mask, shrunk towards both ends and moved along the line of the masks' centres.

    Args:
        frames: the object as followed, slices (D, H, W); not empty on the key slice.
        ends: where it begins and ends.
    """
    mask = frames[ends.key]
    centre, drift = np.array(ndimage.center_of_mass(mask)), _drift(frames, ends.key)
    shape = np.zeros_like(frames)
    for index in range(ends.first, ends.last + 1):
        shape[index] = _scaled(mask, centre, ends.scale(index), drift * (index - ends.key))
    return shape


def _scaled(mask: SliceMask, centre: np.ndarray, scale: float, moved: np.ndarray | float = 0.0) -> SliceMask:
    """A mask shrunk towards a point (row, col), and moved by rows and columns."""
    if scale < _SMALLEST_SCALE or not mask.any():
        return np.zeros_like(mask)
    grow = 1.0 / scale
    lowest, highest = _corners(mask)
    reached = [centre + moved + scale * (corner - centre) for corner in (lowest, highest)]
    low = np.clip(np.floor(reached[0]), 0, mask.shape).astype(int)
    high = np.clip(np.ceil(reached[1]) + 1, low, mask.shape).astype(int)
    shape = np.zeros_like(mask)
    if (high == low).any():
        return shape
    shown = (slice(lowest[0], highest[0] + 1), slice(lowest[1], highest[1] + 1))
    values = ndimage.affine_transform(
        mask[shown].astype(np.float32),
        np.eye(2) * grow,
        offset=grow * low + centre - grow * (centre + moved) - lowest,
        output_shape=tuple(high - low),
        order=1,
    )
    shape[low[0] : high[0], low[1] : high[1]] = values > 0.5
    return shape


def _corners(mask: SliceMask) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest row and column around a mask that is not empty, one more where there is one."""
    rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    lowest = np.maximum(np.array([rows[0], cols[0]]) - 1, 0)
    return lowest, np.minimum(np.array([rows[-1], cols[-1]]) + 1, np.array(mask.shape) - 1)


def redrawn(scan: EmbeddedScan, plan: ObjectPlan, track: Track, shape: BinaryMask) -> Track:
    """What the network draws on each slice of a guessed object; slices with a box of the user stay."""
    drawn = Track(stability=track.stability)
    for index in (int(index) for index in np.flatnonzero(shape.any(axis=(1, 2)))):
        if index in plan.boxes and index in track.masks:
            drawn.add(index, track.masks[index], track.ious.get(index, np.nan))
        else:
            drawn.add(index, *_drawn(scan, plan, shape[index], index))
    return drawn


def _drawn(scan: EmbeddedScan, plan: ObjectPlan, guess: SliceMask, index: int) -> tuple[SliceMask, float]:
    follows = scan.segmenter.config.knows(TrainedPrompt.MASK)
    hint = as_logits(guess) if follows else None
    result = scan.decode(index, box=bounding_box(guess), mask_logits=hint, is_tight=True)
    mask = within(result.mask, plan.bounds)
    return (mask, result.iou) if mask.any() else (guess, np.nan)


def _drift(frames: BinaryMask, key: int) -> np.ndarray:
    """Rows and columns that the centre moves by per slice: a line through the key slice's centre."""
    shown = np.flatnonzero(frames.any(axis=(1, 2)))
    steps = (shown - key).astype(np.float64)
    centres = np.array([ndimage.center_of_mass(frames[index]) for index in shown])
    moved = centres - centres[shown.tolist().index(key)]
    return (steps[:, None] * moved).sum(axis=0) / max(1.0, float((steps**2).sum()))


def _dice(one: BinaryMask, other: BinaryMask) -> float:
    """Overlap of two masks that are not both empty."""
    return float(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))
