"""The TinyViT slice encoder of LiteMedSAM, with the interface of SAM2's own image encoder.

LiteMedSAM (Ma et al. 2024) keeps four times the resolution of an ordinary TinyViT (Wu et al. 2022): its patch
embedding does not shrink the picture and its last stage does not either, so that 256 x 256 pixels become
64 x 64 cells. The network itself is timm's.
"""

from typing import Any

from sam2.modeling.position_encoding import PositionEmbeddingSine
from timm.layers import LayerNorm2d
from timm.models.tiny_vit import ConvNorm, TinyVit
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lib.shapes import CanvasBatch

WIDTHS = (64, 128, 160, 320)
"""Channels of the four stages."""


class TinyVitEncoder(nn.Module):
    """Turns a batch of slices into embeddings, one cell for every 4 x 4 pixels."""

    def __init__(self, d_model: int = 256) -> None:
        """Build the network with random parameters.

        Args:
            d_model: channels of an embedding.
        """
        super().__init__()
        trunk = _tiny_vit_at_stride_four()
        self.patch_embed: nn.Module = trunk.patch_embed
        self.stages: nn.Module = trunk.stages
        self.neck = TinyVitNeck(WIDTHS[-1], d_model)
        # the cache warm-up of PositionEmbeddingSine would start CUDA while a model is built
        self.position_encoding = PositionEmbeddingSine(d_model, warmup_cache=False)

    def forward(self, slices: CanvasBatch) -> dict[str, Any]:
        """Embed slices.

        Args:
            slices: normalised, values about 0 to 1, shape (B, 3, S, S).

        Returns:
            As SAM2Base expects: `vision_features` (B, d_model, S / 4, S / 4); `backbone_fpn` and
            `vision_pos_enc`, lists with these features and their sine position encoding of the same shape.
        """
        features = self.neck(self.stages(self.patch_embed(slices)))
        position = self.position_encoding(features).to(features.dtype)
        return {"vision_features": features, "backbone_fpn": [features], "vision_pos_enc": [position]}


class TinyVitNeck(nn.Sequential):
    """Projects the last stage to the embedding's channels, as SAM's neck does."""

    def __init__(self, width: int, d_model: int) -> None:
        super().__init__(
            nn.Conv2d(width, d_model, kernel_size=1, bias=False),
            LayerNorm2d(d_model),
            nn.Conv2d(d_model, d_model, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(d_model),
        )
        self.d_model = d_model


def _tiny_vit_at_stride_four() -> Any:
    trunk = TinyVit(
        num_classes=0,
        embed_dims=WIDTHS,
        depths=(2, 2, 6, 2),
        num_heads=(2, 4, 5, 10),
        window_sizes=(7, 7, 14, 7),
        drop_path_rate=0.0,
    )
    trunk.patch_embed.conv1 = ConvNorm(3, WIDTHS[0] // 2)
    trunk.patch_embed.conv2 = ConvNorm(WIDTHS[0] // 2, WIDTHS[0])
    trunk.stages[3].downsample.conv2.conv.stride = (1, 1)
    return trunk


def fuse_batch_norm(module: nn.Module) -> None:
    """Merge every batch normalisation into the convolution before it, in place, for inference only.

    The result differs by rounding (about 1e-6) and is faster; it can no longer be trained or loaded from
    weights that hold batch normalisation.
    """
    for name, child in module.named_children():
        if isinstance(child, ConvNorm):
            setattr(module, name, fuse_conv_bn_eval(child.conv.eval(), child.bn.eval()))
        else:
            fuse_batch_norm(child)
