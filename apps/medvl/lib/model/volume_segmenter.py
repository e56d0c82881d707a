"""SAM2 on the slices of a volume: encode slices, decode prompts, follow an object by memory.

Wraps sam2's own `SAM2Base` (Ravi et al. 2024, SAM 2); a slice is a frame. Everything here is a function of
its arguments: embeddings, prompts and memory come in and go out, nothing of a user stays in the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from lib.model.config import Backbone, SegmenterConfig
from lib.model.decoder import DecodedBatch, PromptTensors, decode_batch
from lib.model.engine import DecoderEngine, EncoderEngine, TorchDecoder, TorchEngine
from lib.model.part_decoder import Part, PartOutput, PartPrompts, decode_part, placed_in
from lib.model.slice_memory import (
    MemoryMap,
    PartMasks,
    RememberedSlice,
    recalled,
    remembered_features,
)
from lib.shapes import BoxPx, CanvasBatch, CanvasLogits, FeatureMap, PointLabels, PointsPx, Queries, Scores

_PIXEL_CENTRE = 0.5
"""Canvas coordinates have pixel centres at .5; sam2's prompt encoder adds .5 to what it is given."""
_BOX_CORNERS = (2, 3)
"""SAM's point labels of a box's upper left and lower right corner."""


@dataclass(frozen=True, eq=False)
class SliceEmbedding:
    """What the encoder says of one slice.

    Attributes:
        levels: feature maps (1, C, h, w) from fine to coarse; the last is what prompts are decoded on.
    """

    levels: tuple[FeatureMap, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return sum(level.nbytes for level in self.levels)

    def to(self, device: torch.device, dtype: torch.dtype) -> "SliceEmbedding":
        """A copy elsewhere or in another precision."""
        return SliceEmbedding(tuple(level.to(device=device, dtype=dtype) for level in self.levels))


@dataclass(frozen=True, eq=False)
class SlicePrompt:
    """What is asked of one slice, in canvas pixels (x, y).

    Attributes:
        points_px: shape (N, 2).
        point_labels: shape (N,), 1 on and 0 off the object.
        box_px: x0, y0, x1, y1; edges of the outermost pixels.
        mask_logits: shape (1, 1, side, side), the mask before, positive inside.
    """

    points_px: PointsPx = field(default_factory=lambda: np.zeros((0, 2)))
    point_labels: PointLabels = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    box_px: BoxPx | None = None
    mask_logits: CanvasLogits | None = None


@dataclass(frozen=True, eq=False)
class SliceOutput:
    """What the decoder drew on one slice.

    Attributes:
        mask_logits: before the sigmoid, shape (1, 1, s, s), covering the whole canvas.
        iou: predicted overlap with the truth, shape (1,), not limited to 0 to 1.
        object_logit: above zero where the object is on the slice, shape (1,); None if the weights do not say.
        token: summary of the object for memory, shape (1, C).
    """

    mask_logits: CanvasLogits
    iou: Scores
    object_logit: Scores | None
    token: Tensor


@dataclass(eq=False)
class SliceMemory:
    """Slices segmented so far in one propagation of one object, as `SAM2Base` keeps them."""

    prompted: dict[int, dict[str, Any]] = field(default_factory=dict)
    followed: dict[int, dict[str, Any]] = field(default_factory=dict)


class VolumeSegmenter:
    """SAM2's parts, applied to slices. Thread-safe: nothing changes after construction.

    Args:
        sam2: the network in eval mode.
        config: what it was built from.
        weights_sha256: identifies the weights in caches and answers.
        device: where it runs.
        engine: what runs the slice encoder; None: the network itself.
        encoder_sha256: identifies the slice encoder's weights, where other weights share it; None: as
            weights_sha256.
        decoder: what runs prompt encoder and mask decoder; None: the network itself.
    """

    def __init__(
        self,
        sam2: SAM2Base,
        config: SegmenterConfig,
        weights_sha256: str,
        device: torch.device,
        engine: EncoderEngine | None = None,
        encoder_sha256: str | None = None,
        decoder: DecoderEngine | None = None,
    ) -> None:
        self.config = config
        self.weights_sha256 = weights_sha256
        self.encoder_sha256 = encoder_sha256 or weights_sha256
        self.device = device
        self._sam2 = sam2.to(device).eval().requires_grad_(requires_grad=False)
        self.engine = engine or TorchEngine(self._sam2)
        self.decoder = decoder or TorchDecoder(self._sam2)
        encoder = self._sam2.image_encoder
        self._encode_position = (
            encoder.position_encoding
            if config.backbone is Backbone.TINYVIT
            else encoder.neck.position_encoding
        )
        self._mean = torch.tensor(config.pixel_mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(config.pixel_std, device=device).view(1, 3, 1, 1)

    def encode(self, canvases: CanvasBatch) -> list[SliceEmbedding]:
        """Embed slices.

        Args:
            canvases: shape (B, 3, side, side), 0 to 1.

        Returns:
            One embedding per slice, on the model's device; it does not depend on the other slices.
        """
        pixels = (canvases.to(self.device) - self._mean) / self._std
        return [SliceEmbedding(self.engine.encode(pixels[index][None])) for index in range(len(pixels))]

    def decode(self, embedding: SliceEmbedding, prompt: SlicePrompt) -> SliceOutput:
        """Draw the object that a prompt means on one slice, without memory."""
        points, boxes = self._points_and_boxes(prompt)
        masks = None if prompt.mask_logits is None else prompt.mask_logits.to(self.device)
        drawn = self.decoder.decode(
            self._on_device(embedding),
            PromptTensors(points, boxes, masks),
            multimask=self._is_ambiguous(prompt),
        )
        best = int(drawn.iou[0].argmax())
        return SliceOutput(
            mask_logits=drawn.mask_logits[:, best : best + 1].float(),
            iou=drawn.iou[:, best].float(),
            object_logit=drawn.object_logit.float() if self.config.object_scores else None,
            token=drawn.tokens[:, min(best, drawn.tokens.shape[1] - 1)],
        )

    def decode_part(self, embedding: SliceEmbedding, prompts: PartPrompts) -> PartOutput:
        """Draw objects on one part of a slice, without memory."""
        as_points = self.config.backbone is Backbone.HIERA
        on_device = prompts.to(self.device)
        drawn = decode_part(self.decoder, self._on_device(embedding), on_device, boxes_as_points=as_points)
        return drawn if self.config.object_scores else replace(drawn, object_logit=None)

    def decode_vectors(
        self, embedding: FeatureMap, vectors: Queries, part: tuple[int, int, int] | None = None
    ) -> DecodedBatch:
        """Draw what a vector says on each slice of a batch, without any other prompt; gradients pass through.

        Args:
            embedding: (B, C, h, w).
            vectors: sparse prompts, (B, C).
            part: row and column of the cell where a square part begins, and its side; None for all.
        """
        row, col, side = part or (0, 0, embedding.shape[-1])
        image = embedding[..., row : row + side, col : col + side]
        prompts = PromptTensors(vectors=vectors[:, None])
        return decode_batch(self._sam2, (image,), prompts, corner=(row, col))

    def remember(
        self, memory: SliceMemory, index: int, embedding: SliceEmbedding, mask_logits: CanvasLogits
    ) -> None:
        """Put a finished slice into memory as one that a user has prompted.

        Args:
            memory: gains the slice.
            index: the slice's number.
            embedding: its embedding.
            mask_logits: its mask, shape (1, 1, side, side).
        """
        features, _, sizes = self._flattened(embedding)
        present = (mask_logits.amax(dim=(2, 3)) > 0).float() * 20 - 10
        stored, stored_positions = self._sam2._encode_new_memory(
            current_vision_feats=features,
            feat_sizes=sizes,
            pred_masks_high_res=mask_logits.to(self.device),
            object_score_logits=present.to(self.device),
            is_mask_from_pts=True,
        )
        token = self.decode(embedding, SlicePrompt(mask_logits=mask_logits)).token
        memory.prompted[index] = {
            "maskmem_features": stored,
            "maskmem_pos_enc": stored_positions,
            "obj_ptr": self._sam2.obj_ptr_proj(token),
        }

    def follow(
        self, memory: SliceMemory, index: int, embedding: SliceEmbedding, count: int, *, backwards: bool
    ) -> SliceOutput:
        """Draw the remembered object on the next slice, and remember that too.

        Args:
            memory: gains the slice.
            index: the slice's number.
            embedding: its embedding.
            count: number of slices of the volume.
            backwards: whether slices are visited in falling order.
        """
        features, positions, sizes = self._flattened(embedding)
        out = self._sam2.track_step(
            frame_idx=index,
            is_init_cond_frame=False,
            current_vision_feats=features,
            current_vision_pos_embeds=positions,
            feat_sizes=sizes,
            point_inputs=None,
            mask_inputs=None,
            output_dict={"cond_frame_outputs": memory.prompted, "non_cond_frame_outputs": memory.followed},
            num_frames=count,
            track_in_reverse=backwards,
        )
        memory.followed[index] = out
        present = out["object_score_logits"][:, 0].float() if self.config.object_scores else None
        logits = out["pred_masks"].float()
        return SliceOutput(logits, logits.new_full((1,), torch.nan), present, out["obj_ptr"])

    def remembered_part(self, embedding: SliceEmbedding, part: Part, mask: PartMasks) -> MemoryMap:
        """An object on one square part of a slice, as memory keeps it.

        Args:
            embedding: of the slice.
            part: which part.
            mask: the object on the part, (1, 1, 4 side, 4 side).
        """
        image = self._on_device(embedding)[-1]
        return remembered_features(self._sam2, image[..., *part.cells], mask.to(self.device))

    def with_memory(
        self, embedding: SliceEmbedding, part: Part, memory: Sequence[RememberedSlice]
    ) -> SliceEmbedding:
        """A slice's embedding with what memory says of one part of it added.

        Args:
            embedding: of the slice.
            part: the part that was remembered.
            memory: of other slices, at least one.
        """
        *finer, image = self._on_device(embedding)
        height, width = image.shape[-2:]
        said = recalled(self._sam2, image[..., *part.cells], memory)
        return SliceEmbedding((*finer, image + placed_in(said, part, height, width)))

    def _on_device(self, embedding: SliceEmbedding) -> tuple[Tensor, ...]:
        dtype = next(self._sam2.sam_mask_decoder.parameters()).dtype
        return embedding.to(self.device, dtype).levels

    def _flattened(
        self, embedding: SliceEmbedding
    ) -> tuple[list[Tensor], list[Tensor], list[tuple[int, int]]]:
        """Feature maps as `SAM2Base` wants them: (h*w, 1, C) with positions, fine to coarse."""
        levels = self._on_device(embedding)
        positions = [self._encode_position(level).to(level.dtype) for level in levels]
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        return [_to_sequence(level) for level in levels], [_to_sequence(p) for p in positions], sizes

    def _points_and_boxes(self, prompt: SlicePrompt) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
        """Clicks and box as the weights were trained: SAM2 takes a box as two labelled points."""
        coords, labels = _tensor(prompt.points_px), torch.as_tensor(prompt.point_labels, dtype=torch.int32)
        box = None if prompt.box_px is None else _tensor(prompt.box_px).reshape(1, 2, 2)
        if box is not None and self.config.backbone is Backbone.HIERA:
            coords = torch.cat([box[0], coords])
            labels = torch.cat([torch.tensor(_BOX_CORNERS, dtype=torch.int32), labels])
            box = None
        points = (coords[None].to(self.device), labels[None].to(self.device)) if len(coords) else None
        return points, None if box is None else box.to(self.device)

    def _is_ambiguous(self, prompt: SlicePrompt) -> bool:
        """One click could mean a part, an organ or a region; weights trained so offer three masks."""
        has_more = prompt.box_px is not None or prompt.mask_logits is not None
        return self.config.multimask and len(prompt.point_labels) == 1 and not has_more


def _tensor(values: Sequence[float] | np.ndarray) -> Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float32)) - _PIXEL_CENTRE


def _to_sequence(feature_map: Tensor) -> Tensor:
    return feature_map.flatten(2).permute(2, 0, 1)
