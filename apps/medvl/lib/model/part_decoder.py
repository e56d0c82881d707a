"""Objects on one part of a slice.

The TinyViT encoder knows no absolute position, and the decoder was trained on parts of the canvas, so that an
object may be drawn on the cells around it alone: a quarter of the side costs a tenth of the time. Hiera's
embeddings are always drawn on as a whole.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from lib.model.decoder import PIXELS_PER_CELL, PromptTensors
from lib.model.engine import DecoderEngine
from lib.shapes import FeatureMap, Scores

BoxesPx = Float[Tensor, "batch 4"]
ClicksPx = Float[Tensor, "batch num_clicks 2"]
PartLogits = Float[Tensor, "batch 1 part_height part_width"]
_PIXEL_CENTRE = 0.5
_BOX_CORNERS = (2, 3)
"""SAM's point labels of a box's upper left and lower right corner."""


@dataclass(frozen=True)
class Part:
    """A rectangle of a slice's embedding, in cells; masks have four pixels a cell along each side.

    Attributes:
        row: first row.
        col: first column.
        height: number of rows.
        width: number of columns.
    """

    row: int
    col: int
    height: int
    width: int

    @property
    def cells(self) -> tuple[slice, slice]:
        """Its rows and columns of an embedding of the whole canvas."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rows and columns of a mask of the whole canvas."""
        times = PIXELS_PER_CELL
        return (
            slice(self.row * times, (self.row + self.height) * times),
            slice(self.col * times, (self.col + self.width) * times),
        )


def placed_in(features: Tensor, part: Part, height: int, width: int) -> Tensor:
    """Features of a part (..., C, h, w) as those of the whole, zero elsewhere."""
    right, below = width - part.col - part.width, height - part.row - part.height
    return pad(features, (part.col, right, part.row, below))


@dataclass(frozen=True, eq=False)
class PartPrompts:
    """What is asked of one part of a slice, one object an entry.

    Attributes:
        part: which part.
        boxes_px: edges x0, y0, x1, y1 in pixels of the whole canvas; None for no boxes.
        mask_logits: where each object probably is, positive inside, four pixels a cell of the part; None for
            weights that do not follow masks.
        clicks_px: points on each object, (x, y) in pixels of the whole canvas; None for no clicks.

    Either boxes or clicks are given.
    """

    part: Part
    boxes_px: BoxesPx | None
    mask_logits: PartLogits | None = None
    clicks_px: ClicksPx | None = None

    def to(self, device: torch.device) -> "PartPrompts":
        """A copy elsewhere."""
        tensors = (self.boxes_px, self.mask_logits, self.clicks_px)
        boxes, masks, clicks = (None if tensor is None else tensor.to(device) for tensor in tensors)
        return PartPrompts(self.part, boxes, masks, clicks)


@dataclass(frozen=True, eq=False)
class PartOutput:
    """What the decoder drew on the part.

    Attributes:
        mask_logits: before the sigmoid, shape (B, 1, 4 height, 4 width).
        iou: predicted overlap with the truth, shape (B,), not limited to 0 to 1.
        object_logit: above zero where the object is on the slice, shape (B,); None if the weights do not say.
    """

    mask_logits: PartLogits
    iou: Scores
    object_logit: Scores | None


def decode_part(
    decoder: DecoderEngine, levels: tuple[FeatureMap, ...], prompts: PartPrompts, *, boxes_as_points: bool
) -> PartOutput:
    """Draw several objects on one part of a slice, without memory.

    Args:
        decoder: runs the network.
        levels: feature maps (1, C, h, w) of the slice from fine to coarse.
        prompts: one for each object.
        boxes_as_points: SAM2 takes a box as two labelled points, SAM as a box.
    """
    points, boxes = _points_and_boxes(prompts, boxes_as_points=boxes_as_points)
    count = len(boxes) if boxes is not None else len(points[0]) if points is not None else 0
    drawn = decoder.decode(
        tuple(_cut(level, levels[-1], prompts.part).expand(count, -1, -1, -1) for level in levels),
        PromptTensors(points, boxes, prompts.mask_logits),
        corner=(prompts.part.row, prompts.part.col),
    )
    return PartOutput(drawn.mask_logits[:, :1].float(), drawn.iou[:, 0].float(), drawn.object_logit.float())


def _points_and_boxes(
    prompts: PartPrompts, *, boxes_as_points: bool
) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
    if prompts.clicks_px is not None:
        on_object = torch.ones(
            prompts.clicks_px.shape[:2], dtype=torch.int32, device=prompts.clicks_px.device
        )
        return (prompts.clicks_px - _PIXEL_CENTRE, on_object), None
    if prompts.boxes_px is None:
        return None, None
    boxes = prompts.boxes_px.reshape(-1, 2, 2) - _PIXEL_CENTRE
    if not boxes_as_points:
        return None, boxes
    labels = torch.tensor(_BOX_CORNERS, dtype=torch.int32, device=boxes.device).expand(len(boxes), -1)
    return (boxes, labels), None


def _cut(level: FeatureMap, coarsest: FeatureMap, part: Part) -> FeatureMap:
    """The part of a feature map, whose cells may be finer than those that the part counts."""
    times = level.shape[-1] // coarsest.shape[-1]
    rows = slice(part.row * times, (part.row + part.height) * times)
    return level[..., rows, part.col * times : (part.col + part.width) * times]
