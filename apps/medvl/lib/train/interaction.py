"""One object, segmented by a simulated user: a box or a click to start with, then corrections.

The protocol of the CVPR 2025 challenge on interactive 3D biomedical segmentation (see `clicks`). Every
step hands over all that the user gave so far (the box and every click) and the previous mask. When a mask is
perfect no click is made, nothing is computed, and its scores count for the remaining steps too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol, runtime_checkable

import numpy as np

from lib.mask import Mask
from lib.predict.segment import SegmentOptions
from lib.prompt import Prompt
from lib.shapes import BinaryMask
from lib.train.clicks import Click, Start, clicks_in_order, next_click, start_boxes
from lib.train.metrics import TOLERANCE_MM, TOLERANCE_PX, Overlap, area_under_clicks, mean_of, overlap
from lib.transforms.spatial import slice_plane
from lib.volume import Volume

LABEL = "object"


@runtime_checkable
class Segmented(Protocol):
    """What a segmenter answers with."""

    @property
    def mask(self) -> Mask:
        """On the scan's grid."""
        ...


@runtime_checkable
class Segmenter(Protocol):
    """Whatever turns prompts into masks; `lib.predict.Predictor` does."""

    def segment(
        self, volume: Volume, prompts: Mapping[str, Prompt], options: SegmentOptions | None = None
    ) -> Segmented:
        """One mask for each named prompt."""
        ...


@dataclass(frozen=True)
class Setup:
    """How the simulated user works.

    Attributes:
        start: a box before the clicks, or clicks alone.
        clicks: corrections after the box, or clicks in all; at least 1.
        options: the segmenter's.
        seed: of the choice among equally good clicks, anew for every object.
    """

    start: Start = Start.BOX
    clicks: int = 5
    options: SegmentOptions = field(default_factory=SegmentOptions)
    seed: int = 42


@dataclass(frozen=True, eq=False)
class Target:
    """An object of a scan.

    Attributes:
        volume: the scan.
        reference: its voxels, not empty, shape (I, J, K).
        in_pixels: measure surfaces in pixels, because the pixel size is unknown (pictures).
    """

    volume: Volume
    reference: BinaryMask
    in_pixels: bool = False

    def compare(self, prediction: BinaryMask) -> Overlap:
        """Agreement with the reference, surfaces at 2 mm (or 2 pixels)."""
        if self.in_pixels:
            return overlap(self.reference, prediction, (1.0, 1.0, 1.0), TOLERANCE_PX)
        return overlap(self.reference, prediction, self.volume.spacing_mm, TOLERANCE_MM)

    def slice_axis(self, options: SegmentOptions) -> int:
        """The voxel axis across the slices that the segmenter works on."""
        return slice_plane(self.volume.affine, self.volume.shape, options.axis).axis


@dataclass(frozen=True)
class Scores:
    """How an object went.

    Attributes:
        dice_start: after the box; after the first click where clicks start.
        dice_final: after the last click.
        nsd_final: surface Dice after the last click.
        dice_auc: area under Dice after each click; for five clicks 4.0 at most.
        nsd_auc: the same of surface Dice.
        seconds_first: until the first mask, reading the slices included unless they were in the cache.
        seconds_later: mean of the later masks; None where none was needed.
    """

    dice_start: float
    dice_final: float
    nsd_final: float
    dice_auc: float
    nsd_auc: float
    seconds_first: float
    seconds_later: float | None


def simulate(segmenter: Segmenter, target: Target, setup: Setup) -> Scores:
    """Segments one object as a user would who knows the reference.

    Raises:
        MedVLError: whatever the segmenter raises.
    """
    rng = np.random.default_rng(setup.seed)
    prompt, prediction, clicks = Prompt(), np.zeros(target.volume.shape, dtype=bool), list[Click]()
    seconds, steps = list[float](), list[Overlap]()
    if setup.start is Start.BOX:
        axis = target.slice_axis(setup.options)
        prompt = Prompt(boxes=start_boxes(target.reference, target.volume.affine, axis))
        prediction, elapsed = timed_segment(segmenter, target.volume, prompt, setup.options)
        seconds.append(elapsed)
        steps.append(target.compare(prediction))
    for _ in range(setup.clicks):
        click = next_click(target.reference, prediction, rng)
        if click is None:
            steps.append(steps[-1])
            continue
        clicks.append(click)
        prompt = _corrected(prompt, clicks, prediction, target.volume)
        prediction, elapsed = timed_segment(segmenter, target.volume, prompt, setup.options)
        seconds.append(elapsed)
        steps.append(target.compare(prediction))
    return _scores(steps, seconds, setup.clicks)


def timed_segment(
    segmenter: Segmenter, volume: Volume, prompt: Prompt, options: SegmentOptions
) -> tuple[BinaryMask, float]:
    """One mask, and the seconds it took."""
    begin = perf_counter()
    answer = segmenter.segment(volume, {LABEL: prompt}, options)
    return answer.mask.of(LABEL), perf_counter() - begin


def scores_of_one_mask(agreement: Overlap, seconds: float, clicks: int) -> Scores:
    """The scores of a method that makes one mask and hears no correction."""
    return _scores([agreement] * clicks, [seconds], clicks)


def _corrected(prompt: Prompt, clicks: list[Click], prediction: BinaryMask, volume: Volume) -> Prompt:
    return Prompt(
        clicks=clicks_in_order(clicks, volume.affine),
        boxes=prompt.boxes,
        earlier=prediction if prediction.any() else None,
    )


def _scores(steps: list[Overlap], seconds: list[float], clicks: int) -> Scores:
    after_clicks = steps[-clicks:]
    return Scores(
        dice_start=steps[0].dice,
        dice_final=steps[-1].dice,
        nsd_final=steps[-1].nsd,
        dice_auc=area_under_clicks([step.dice for step in after_clicks]),
        nsd_auc=area_under_clicks([step.nsd for step in after_clicks]),
        seconds_first=seconds[0],
        seconds_later=mean_of(seconds[1:]),
    )
