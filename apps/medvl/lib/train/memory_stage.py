"""One training step of the stage `memory`: an object is followed through a clip and every slice is scored.

As when it serves, each slice gets box and mask of the slice before as prompts, and memory of the first slice
and of the two before; sometimes memory alone. In some clips one slice is corrected on the way. A slice after
the object's end teaches that it has ended, and is the last one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from lib.model.decoder import PIXELS_PER_CELL, DecodedBatch, PromptTensors, decode_batch
from lib.model.part_decoder import placed_in
from lib.model.slice_memory import MemoryMap, RememberedSlice, mark_of, recalled, remembered_features
from lib.shapes import FeatureMap, SliceMask
from lib.train.clips import Clip
from lib.train.prompt_stage import MASK_LOGIT, NEIGHBOUR_MARGIN_PX, LossWeights, drawn_losses
from lib.train.slice_prompts import box_of, loosened, worn
from lib.train.tasks import CANVAS_CELLS

LEARNING_PARTS = ("memory_attention.", "memory_encoder.", "maskmem_tpos_enc")
_WORN = 0.2
"""How often the first mask of a clip is imperfect."""
_CORRECTED = 0.3
"""Share of batches with a correction on the way."""
_LAST = 2
_PIXEL_CENTRE = 0.5
_NO_POINT = -1


@dataclass(frozen=True)
class Mixture:
    """How often the slice before is given to the decoder as what.

    Attributes:
        box_and_mask: both, as when it serves.
        mask: its mask alone.
        nothing: memory alone, as SAM2 follows objects in videos.
    """

    box_and_mask: float
    mask: float
    nothing: float


@dataclass(eq=False)
class _Followed:
    """One clip while it is followed."""

    clip: Clip
    before: SliceMask
    memory: list[tuple[int, MemoryMap, bool]] = field(default_factory=list)

    def remembered(self) -> list[tuple[int, MemoryMap, bool]]:
        """Prompted slices, then the last ones drawn."""
        prompted = [one for one in self.memory if one[2]]
        return [*prompted[-_LAST:], *[one for one in self.memory if not one[2]][-_LAST:]]


def clip_loss(
    sam2: SAM2Base,
    clips: Sequence[Clip],
    rng: np.random.Generator,
    mixture: Mixture,
    weights: LossWeights,
) -> dict[str, Tensor]:
    """The loss of a batch of clips and its parts, as scalars with gradients.

    Args:
        sam2: the network; embeddings are moved to its device.
        clips: whose remembered parts have one side.
        rng: makes the prompts.
        mixture: of prompts.
        weights: of the parts.

    Returns:
        `loss`, and unweighted `focal`, `dice`, `iou`, `presence`, `mean_iou`.
    """
    shares = np.array([mixture.box_and_mask, mixture.mask, mixture.nothing])
    given = ("box and mask", "mask", "nothing")[rng.choice(3, p=shares / shares.sum())]
    longest = max(len(clip.truths) for clip in clips)
    corrected = int(rng.integers(2, max(3, longest))) if rng.random() < _CORRECTED else 0
    going = [_Followed(clip, _perhaps_worn(clip.truths[0], rng)) for clip in clips]
    _remember(sam2, going, 0, is_prompted=True)
    corner = _corner(going[0].before, rng)
    all_drawn: list[DecodedBatch] = []
    all_truths: list[SliceMask] = []
    for position in range(1, longest):
        going = [one for one in going if position < len(one.clip.truths)]
        prompts = _prompts([one.before for one in going], given, corner, rng).to(sam2.no_mem_embed.device)
        drawn = _draw(sam2, going, position, prompts, corner)
        truths = [one.clip.truths[position] for one in going]
        all_drawn.append(drawn)
        all_truths += truths
        masks = (drawn.mask_logits[:, 0] > 0).cpu().numpy()
        for one, mask, truth in zip(going, masks, truths, strict=True):
            # an object that was lost on the way gives no lesson about the next slice
            one.before = truth if position == corrected or not mask.any() else mask
        going = [one for one, truth in zip(going, truths, strict=True) if truth.any()]
        if not going:
            break
        _remember(sam2, going, position, is_prompted=position == corrected)
    return drawn_losses(_together(all_drawn), all_truths, weights)


def _corner(mask: SliceMask, rng: np.random.Generator) -> tuple[int, int]:
    """Where on the canvas the clips are said to lie: the slice encoder knows no positions."""
    row, col = rng.integers(0, CANVAS_CELLS - len(mask) // PIXELS_PER_CELL + 1, size=2)
    return int(row), int(col)


def _perhaps_worn(mask: SliceMask, rng: np.random.Generator) -> SliceMask:
    return worn(mask, rng) if rng.random() < _WORN else mask


def _parts(images: FeatureMap, going: Sequence[_Followed]) -> FeatureMap:
    """The remembered part of each embedding."""
    return torch.stack([image[:, *one.clip.part.cells] for image, one in zip(images, going, strict=True)])


def _images(going: Sequence[_Followed], position: int, device: torch.device) -> FeatureMap:
    return torch.stack([one.clip.embeddings[position] for one in going]).to(device)


def _remember(sam2: SAM2Base, going: Sequence[_Followed], position: int, *, is_prompted: bool) -> None:
    device = sam2.no_mem_embed.device
    masks = [one.before[one.clip.part.window] for one in going]
    features = remembered_features(
        sam2,
        _parts(_images(going, position, device), going),
        torch.from_numpy(np.stack(masks)[:, None]).to(device),
    )
    for one, feature in zip(going, torch.split(features, 1), strict=True):
        one.memory.append((position, feature, is_prompted))


def _draw(
    sam2: SAM2Base,
    going: Sequence[_Followed],
    position: int,
    prompts: PromptTensors,
    corner: tuple[int, int],
) -> DecodedBatch:
    images = _images(going, position, sam2.no_mem_embed.device)
    said = recalled(sam2, _parts(images, going), _memory(going, position, images.device))
    height, width = images.shape[-2:]
    placed = [
        placed_in(one, clip.clip.part, height, width) for one, clip in zip(said.unbind(), going, strict=True)
    ]
    return decode_batch(sam2, (images + torch.stack(placed),), prompts, corner=corner)


def _memory(going: Sequence[_Followed], position: int, device: torch.device) -> list[RememberedSlice]:
    """Slice by slice, of all clips; they have as many each, and prompted ones at the same positions."""
    memory = []
    for slices in zip(*(one.remembered() for one in going), strict=True):
        marks = [
            mark_of(abs(position - number) * one.clip.spacing_mm)
            for (number, _, _), one in zip(slices, going, strict=True)
        ]
        features = torch.cat([feature for _, feature, _ in slices])
        memory.append(RememberedSlice(features, torch.tensor(marks, device=device), slices[0][2]))
    return memory


def _prompts(
    before: Sequence[SliceMask], given: str, corner: tuple[int, int], rng: np.random.Generator
) -> PromptTensors:
    if given == "nothing":
        labels = torch.full((len(before), 1), _NO_POINT, dtype=torch.int32)
        return PromptTensors((torch.zeros(len(before), 1, 2), labels))
    masks = torch.where(torch.from_numpy(np.stack(before)[:, None]), MASK_LOGIT, -MASK_LOGIT)
    if given == "mask":
        return PromptTensors(masks=masks)
    side = before[0].shape[0]
    boxes = np.stack([loosened(box_of(mask), rng, side, NEIGHBOUR_MARGIN_PX) for mask in before])
    offset = torch.tensor(corner[::-1], dtype=torch.float32) * PIXELS_PER_CELL
    corners = torch.from_numpy(boxes).float().reshape(-1, 2, 2) - _PIXEL_CENTRE + offset
    return PromptTensors(boxes=corners, masks=masks)


def _together(drawn: Sequence[DecodedBatch]) -> DecodedBatch:
    return DecodedBatch(
        torch.cat([one.mask_logits for one in drawn]),
        torch.cat([one.iou for one in drawn]),
        torch.cat([one.tokens for one in drawn]),
        torch.cat([one.object_logit for one in drawn]),
    )
