"""Segments bright things: what a user points at must come back at the same millimetre."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.geometry import world_to_voxel
from lib.mask import merge_objects
from lib.predict.segment import Segmentation, SegmentOptions
from lib.prompt import Prompt
from lib.volume import Volume

BRIGHT = 150
"""Above this a voxel belongs to something; in the scan's own unit."""

SLOW = "slow"
"""A prompt with this text takes its time."""
SLOW_SECONDS = 1.0


@dataclass(frozen=True)
class ScriptedPredictor:
    """What is bright inside the box, or connected to a click; a negative click takes its slice away.

    Attributes:
        seconds: how long it pretends to work.
    """

    seconds: float = 0.0

    def segment(
        self, volume: Volume, prompts: Mapping[str, Prompt], options: SegmentOptions | None = None
    ) -> Segmentation:
        """As `lib.predict.segment.Predictor.segment`."""
        is_slow = any(prompt.text == SLOW for prompt in prompts.values())
        time.sleep(SLOW_SECONDS if is_slow else self.seconds)
        masks = {name: _draw(volume, prompt) for name, prompt in prompts.items()}
        confidence = dict.fromkeys(masks, 0.5)
        return Segmentation(
            merge_objects(masks, volume.affine, confidence), dict.fromkeys(masks, self.seconds), {}
        )


def _draw(volume: Volume, prompt: Prompt) -> np.ndarray:
    bright = volume.voxels[0] > BRIGHT
    mask = np.zeros(volume.shape, dtype=bool) if prompt.earlier is None else prompt.earlier.copy()
    for box in prompt.boxes:
        low, high = box.bounds_ijk(volume.affine)
        inside = tuple(slice(first, last + 1) for first, last in zip(low, high, strict=True))
        mask[inside] |= bright[inside]
    components, _ = ndimage.label(bright)
    for clicks in (prompt.clicks, prompt.scribble):
        for point, positive in zip(clicks.points_mm, clicks.positive, strict=True):
            i, j, k = np.rint(world_to_voxel(point[np.newaxis], volume.affine)[0]).astype(int)
            if positive and components[i, j, k]:
                mask |= components == components[i, j, k]
            elif not positive:
                mask[:, :, k] = False
    return mask
