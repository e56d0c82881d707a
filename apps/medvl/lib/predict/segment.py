"""From a scan and prompts to a mask: key slices first, then outwards, then corrections."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lib.errors import InputError, PromptError
from lib.mask import Mask, merge_objects
from lib.model.config import TrainedPrompt
from lib.model.volume_segmenter import VolumeSegmenter
from lib.predict.clicks import segment_click
from lib.predict.correct import correct
from lib.predict.plan import FrameBox, FrameClick, ObjectPlan, bounding_box, make_plan
from lib.predict.propagate import Propagation, Track, goes_by_prompts, propagate, stacked, within
from lib.predict.scan import ComputeGate, EmbeddedScan, EmbeddingCache
from lib.predict.taper import redrawn_where_compact, shortened_where_unseen
from lib.prompt import Prompt
from lib.shapes import BinaryMask
from lib.transforms.intensity import choose_window
from lib.transforms.spatial import fit_canvas
from lib.volume import Volume


@dataclass(frozen=True)
class SegmentOptions:
    """How to segment.

    Attributes:
        axis: voxel axis across the slices (0, 1, 2); None: best in-plane resolution.
        propagation: how an object is carried from slice to slice.
        window: a CT window by name; None: by modality.
    """

    axis: int | None = None
    propagation: Propagation = Propagation.REPROMPT
    window: str | None = None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A mask and how it came about.

    Attributes:
        mask: label values in the order of the prompts.
        seconds: by object.
        key_slices: by object, the voxel index along the slice axis where segmentation began.
        weights_sha256: identifies the weights that drew; empty where none did.
    """

    mask: Mask
    seconds: dict[str, float]
    key_slices: dict[str, int]
    weights_sha256: str = ""


@dataclass(frozen=True, eq=False)
class _Drawn:
    mask: BinaryMask
    confidence: float
    key_slice: int


@dataclass(frozen=True, eq=False)
class Predictor:
    """Segments for anybody at any time: thread-safe, holds no user's state.

    Attributes:
        segmenter: the network.
        cache: slice embeddings, shared.
        gate: turns at the processor.
    """

    segmenter: VolumeSegmenter
    cache: EmbeddingCache
    gate: ComputeGate = field(default_factory=ComputeGate)

    @property
    def weights_sha256(self) -> str:
        """Identifies the weights that draw."""
        return self.segmenter.weights_sha256

    def segment(
        self, volume: Volume, prompts: Mapping[str, Prompt], options: SegmentOptions | None = None
    ) -> Segmentation:
        """Segment one object per prompt.

        Args:
            volume: the scan.
            prompts: label name to what the user said; where objects overlap, the later one wins.
            options: how to segment; None for the defaults.

        Raises:
            PromptError: a prompt that says nothing, or that does not fit the scan.
            InputError: no prompt, more than a label map holds, or memory that the weights did not learn.
        """
        options = options or SegmentOptions()
        drawn, seconds = {}, {}
        for name, prompt in prompts.items():
            started = time.perf_counter()
            drawn[name] = self._draw(volume, prompt, options)
            seconds[name] = time.perf_counter() - started
        mask = merge_objects(
            {name: one.mask for name, one in drawn.items()},
            volume.affine,
            {name: one.confidence for name, one in drawn.items()},
        )
        key_slices = {name: one.key_slice for name, one in drawn.items()}
        return Segmentation(mask, seconds, key_slices, self.weights_sha256)

    def _check(self, how: Propagation) -> None:
        if how is Propagation.MEMORY and not self.segmenter.config.knows(TrainedPrompt.MEMORY):
            others = " or ".join(kind for kind in Propagation if kind is not Propagation.MEMORY)
            raise InputError(
                "The weights in use did not learn to follow objects by memory, so propagation must not be "
                f"memory; give {others}."
            )

    def _draw(self, volume: Volume, prompt: Prompt, options: SegmentOptions) -> _Drawn:
        plan = make_plan(volume, prompt, options.axis)
        self._check(options.propagation)
        scan = self._embedded(volume, plan, options)
        if plan.earlier is None:
            track, key_slice = _followed(scan, plan, options.propagation)
            frames, confidence = stacked(track, plan), track.confidence
        else:
            frames, confidence, key_slice = plan.earlier, np.nan, int(plan.earlier.any(axis=(1, 2)).argmax())
        for click in plan.clicks:
            frames = correct(scan, plan, frames, click, options.propagation)
        sure = _agreement(scan, frames) if np.isnan(confidence) else confidence
        return _Drawn(plan.plane.volume_of(frames), sure, key_slice)

    def _embedded(self, volume: Volume, plan: ObjectPlan, options: SegmentOptions) -> EmbeddedScan:
        return EmbeddedScan(
            volume=volume,
            plane=plan.plane,
            canvas=fit_canvas(plan.plane, self.segmenter.config.image_size),
            window=choose_window(volume, options.window),
            segmenter=self.segmenter,
            cache=self.cache,
            gate=self.gate,
        )


def _followed(scan: EmbeddedScan, plan: ObjectPlan, how: Propagation) -> tuple[Track, int]:
    """The object on all slices that it reaches, before any correction, and the first slice drawn."""
    track = _first_slices(scan, plan)
    prompted = tuple(track.masks)
    propagate(scan, plan, track, how)
    if goes_by_prompts(scan, how) and len(prompted) == 1 and track.masks[prompted[0]].any():
        compact = redrawn_where_compact if plan.is_bounded else shortened_where_unseen
        track = compact(scan, plan, track, prompted[0])
    return track, prompted[0]


def _agreement(scan: EmbeddedScan, frames: BinaryMask) -> float:
    """Confidence in a corrected mask: how far the network agrees, on the largest slice, given its box."""
    index = int(frames.sum(axis=(1, 2)).argmax())
    mask = frames[index]
    if not mask.any():
        return 0.0
    result = scan.decode(index, box=bounding_box(mask), is_tight=True)
    overlap = np.count_nonzero(mask & result.mask) / np.count_nonzero(mask | result.mask)
    return float(np.clip(result.iou, 0, 1) * result.stability * overlap)


def _first_slices(scan: EmbeddedScan, plan: ObjectPlan) -> Track:
    """The slices that the user prompted: those with a box, else the one with the first positive click."""
    track = Track()
    for index, box in plan.boxes.items():
        clicks = _clicks_with_box(scan, plan, index, box)
        result = scan.decode(index, box=box, clicks=clicks, is_tight=True)
        track.add(index, within(result.mask, box), result.iou)
        track.stability = min(track.stability, result.stability)
    if not track.masks:
        click = next((click for click in plan.clicks if click.positive), None)
        if click is None:
            raise PromptError("Text alone is not followed by these weights: give a positive click or a box.")
        candidate = segment_click(scan, plan, click)
        if candidate is None:
            track.add(click.index, np.zeros(plan.plane.size, dtype=bool), np.nan)
        else:
            track.add(click.index, candidate.mask, candidate.iou)
            track.stability = candidate.score / candidate.iou if candidate.iou > 0 else 0.0
    return track


def _clicks_with_box(
    scan: EmbeddedScan, plan: ObjectPlan, index: int, box: FrameBox
) -> tuple[FrameClick, ...]:
    """Clicks inside of the slice's box, for weights that follow both together."""
    if not scan.segmenter.config.knows(TrainedPrompt.CLICK):
        return ()
    return tuple(
        click
        for click in plan.clicks
        if click.index == index and box.row0 <= click.row <= box.row1 and box.col0 <= click.col <= box.col1
    )
