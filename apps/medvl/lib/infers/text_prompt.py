"""Text beside clicks: its mask is what the clicks correct."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lib.mask import merge_objects
from lib.predict.cropped import union
from lib.predict.referring import TextAnswer
from lib.predict.segment import Segmentation
from lib.prompt import Prompt
from lib.volume import Volume


def with_text(prompts: Mapping[str, Prompt], answer: TextAnswer, volume: Volume) -> dict[str, Prompt]:
    """Prompts whose earlier mask is what the text found, where there is no step before and no box.

    A box says more than a name; with clicks, a name says how far the object reaches.
    """
    mask = union(answer.masks.values(), volume.shape)
    if not mask.count:
        return dict(prompts)
    found = mask.full()
    return {
        name: prompt if prompt.boxes or prompt.earlier is not None else replace(prompt, earlier=found)
        for name, prompt in prompts.items()
    }


def says_where(prompt: Prompt) -> bool:
    """Whether there is anything but text."""
    return not replace(prompt, text="").is_empty


def nothing_drawn(names: Mapping[str, Prompt], volume: Volume) -> Segmentation:
    """Empty masks, for a text that found nothing."""
    empty = {name: np.zeros(volume.shape, dtype=bool) for name in names}
    return Segmentation(merge_objects(empty, volume.affine, dict.fromkeys(empty, 0.0)), {}, {})
