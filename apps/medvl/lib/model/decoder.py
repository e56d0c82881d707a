"""SAM2's prompt encoder and mask decoder on a batch of slices, for training and serving alike."""

from dataclasses import dataclass

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor
from torch.nn.functional import interpolate

from lib.shapes import CanvasLogits, FeatureMap, Scores

PIXELS_PER_CELL = 4
"""Of the masks that go in and come out, along each side of an embedding's cell."""
ALWAYS_THERE = 10.0
"""What sam2's decoder gives as an object's logit where the weights hold no score."""


@dataclass(frozen=True, eq=False)
class PromptTensors:
    """What is asked of each slice of a batch, as sam2's prompt encoder takes it.

    Attributes:
        points: coordinates (B, N, 2) as (x, y) in canvas pixels minus .5, and labels (B, N): 1 on, 0 off the
            object, -1 no point, 2 and 3 a box's corners; None for no points.
        boxes: corners (B, 2, 2) as (x, y) in canvas pixels minus .5, or None.
        masks: logits (B, 1, side, side), positive inside, or None.
        vectors: learned sparse prompts (B, N, C), such as that of a [SEG] token, or None.
    """

    points: tuple[Tensor, Tensor] | None = None
    boxes: Tensor | None = None
    masks: CanvasLogits | None = None
    vectors: Tensor | None = None

    def to(self, device: torch.device) -> "PromptTensors":
        """A copy elsewhere."""
        boxes, masks, vectors = (
            None if tensor is None else tensor.to(device) for tensor in (self.boxes, self.masks, self.vectors)
        )
        points = None if self.points is None else (self.points[0].to(device), self.points[1].to(device))
        return PromptTensors(points, boxes, masks, vectors)


@dataclass(frozen=True, eq=False)
class DecodedBatch:
    """What the decoder drew; Q is 1, or 3 where a prompt may mean several things.

    Attributes:
        mask_logits: before the sigmoid, shape (B, Q, s, s).
        iou: predicted overlap with the truth, shape (B, Q), not limited to 0 to 1.
        tokens: summary of each mask, shape (B, Q or 1, C).
        object_logit: above zero where the object is on the slice, shape (B,).
    """

    mask_logits: Tensor
    iou: Tensor
    tokens: Tensor
    object_logit: Scores


def decode_batch(
    sam2: SAM2Base,
    levels: tuple[FeatureMap, ...],
    prompts: PromptTensors,
    *,
    multimask: bool = False,
    corner: tuple[int, int] = (0, 0),
) -> DecodedBatch:
    """Draw one object on each slice of a batch, without memory.

    Training may show a part of the canvas only, which is cheaper: the feature maps are then smaller than the
    canvas, coordinates stay those of the whole canvas, and masks cover the part.

    Args:
        sam2: the network.
        levels: feature maps (B, C, h, w) of the slices from fine to coarse.
        prompts: one for each slice.
        multimask: three candidates for each prompt instead of one mask.
        corner: row and column of the canvas cell at which the coarsest feature map begins.
    """
    image = levels[-1]
    height, width = image.shape[-2:]
    sparse, dense = sam2.sam_prompt_encoder(
        points=prompts.points, boxes=prompts.boxes, masks=fitted(prompts.masks, height, width)
    )
    if prompts.vectors is not None:
        # without any other prompt, the prompt encoder counts on one entry
        sparse = torch.cat([sparse.expand(len(prompts.vectors), -1, -1), prompts.vectors], dim=1)
        dense = dense.expand(len(prompts.vectors), -1, -1, -1)
    if sam2.directly_add_no_mem_embed:
        image = image + sam2.no_mem_embed.view(1, -1, 1, 1)
    row, col = corner
    position = sam2.sam_prompt_encoder.get_dense_pe()
    masks, ious, tokens, object_logits = sam2.sam_mask_decoder(
        image_embeddings=image,
        image_pe=position[..., row : row + height, col : col + width],
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense[..., :height, :width],
        multimask_output=multimask,
        repeat_image=False,
        high_res_features=list(levels[:-1]) or None,
    )
    return DecodedBatch(masks, ious, tokens, object_logits[:, 0])


def fitted(masks: CanvasLogits | None, height: int, width: int) -> Tensor | None:
    """Mask prompts at the resolution that the prompt encoder reads: four pixels for each cell."""
    size = (PIXELS_PER_CELL * height, PIXELS_PER_CELL * width)
    if masks is None or tuple(masks.shape[-2:]) == size:
        return masks
    return interpolate(masks, size=size, mode="bilinear", align_corners=False, antialias=True)
