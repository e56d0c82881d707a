"""SAM2's memory on a coarse grid around one object: what it looked like on other slices.

SAM2 (Ravi et al. 2024, SAM 2, section 4) remembers slices at the embedding's own resolution, which costs
seconds a slice on two cores. Here its memory encoder and memory attention see a square part of the embedding,
as large as the object needs, averaged to 16 x 16 cells. What the attention says is *added* to the embedding,
whose prompts (box and mask of the slice before) go on to the decoder as ever; its last normalisation begins
at zero, so that memory that was never trained changes nothing. Instead of SAM2's order in time, each
remembered slice is marked by its distance in millimetres, and prompted slices by one mark more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from lib.model.decoder import PIXELS_PER_CELL
from lib.shapes import FeatureMap

GRID = 16
"""Cells along each side of what is remembered."""
LAYERS = 2
"""Of memory attention; SAM2 has four."""
NEAR_MM = (2.0, 4.0, 8.0, 16.0, 32.0)
"""Distances up to which a remembered slice gets the first mark, the second and so on, and one beyond."""
GAIN = 8.0
"""Of what memory says: its last normalisation begins at zero and would else grow too slowly."""
_PROMPTED_MARK = 6
_INSIDE, _OUTSIDE = 10.0, -10.0
"""Of a mask as sam2's memory encoder reads it (`sigmoid_scale_for_mem_enc`, `sigmoid_bias_for_mem_enc`)."""

PartMasks = Bool[Tensor, "batch 1 part_height part_width"]
MemoryMap = Float[Tensor, "batch _memory grid grid"]
Marks = Int[Tensor, " batch"]


@dataclass(frozen=True, eq=False)
class RememberedSlice:
    """One slice of a batch of objects, as memory attention reads it.

    Attributes:
        features: of the memory encoder, on the grid.
        marks: for how far away the slice is, see `mark_of`.
        is_prompted: a user has prompted or corrected it.
    """

    features: MemoryMap
    marks: Marks
    is_prompted: bool


def mark_of(away_mm: float) -> int:
    """Which mark a remembered slice at this distance gets."""
    return sum(away_mm > limit for limit in NEAR_MM)


def remembered_features(sam2: SAM2Base, parts: FeatureMap, masks: PartMasks) -> MemoryMap:
    """Put slices and the object on them into what is remembered; gradients pass through.

    Args:
        sam2: the network.
        parts: square parts of embeddings, (B, C, s, s).
        masks: the objects there, four pixels a cell.
    """
    shares = adaptive_avg_pool2d(masks.to(parts.dtype), PIXELS_PER_CELL * GRID)
    logits = shares * (_INSIDE - _OUTSIDE) + _OUTSIDE
    features: Tensor = sam2.memory_encoder(adaptive_avg_pool2d(parts, GRID), logits, skip_mask_sigmoid=True)[
        "vision_features"
    ]
    return features


def recalled(sam2: SAM2Base, parts: FeatureMap, memory: Sequence[RememberedSlice]) -> FeatureMap:
    """What memory says of slices, to be added to their embeddings; gradients pass through.

    Args:
        sam2: the network.
        parts: square parts of embeddings, (B, C, s, s).
        memory: at least one slice; the same parts of other slices.

    Returns:
        (B, C, s, s).
    """
    count, channels, side, _ = parts.shape
    tokens, positions = [], []
    for slice_ in memory:
        mark = sam2.maskmem_tpos_enc[slice_.marks, 0, 0]
        if slice_.is_prompted:
            mark = mark + sam2.maskmem_tpos_enc[_PROMPTED_MARK, 0, 0]
        tokens.append(_sequence(slice_.features))
        positions.append(_positions(slice_.features.shape[1]).to(mark) + mark[None])
    said: Tensor = sam2.memory_attention(
        curr=_sequence(adaptive_avg_pool2d(parts, GRID)),
        curr_pos=_positions(channels).to(parts).expand(-1, count, -1),
        memory=torch.cat(tokens),
        memory_pos=torch.cat(positions),
    )
    on_grid = GAIN * said.permute(1, 2, 0).reshape(count, channels, GRID, GRID)
    if side == GRID:
        return on_grid
    return interpolate(on_grid, size=(side, side), mode="bilinear", align_corners=False)


def silence(sam2: SAM2Base) -> None:
    """Make memory say nothing, as before training: the last normalisation's scale and shift are zero."""
    torch.nn.init.zeros_(sam2.memory_attention.norm.weight)
    torch.nn.init.zeros_(sam2.memory_attention.norm.bias)


def _sequence(feature_map: FeatureMap) -> Tensor:
    return feature_map.flatten(2).permute(2, 0, 1)


@lru_cache(maxsize=4)
def _positions(channels: int) -> Tensor:
    """Sines and cosines of the grid's cells, (G*G, 1, C), as sam2 gives its cells."""
    encode = PositionEmbeddingSine(
        channels, normalize=True, scale=None, temperature=10000, warmup_cache=False
    )
    return _sequence(encode(torch.zeros(1, channels, GRID, GRID)))
