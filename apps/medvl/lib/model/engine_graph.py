"""TinyViT as a graph of OpenVINO's operations, built from the parameters of the PyTorch module.

The same network with the same parameters, arranged so that the CPU plugin moves less memory than in the graph
that is traced from PyTorch: queries, keys and values are three products instead of one that has to be split,
tokens stay (token, channel) except around convolutions, and batch normalisation and the attention's scale
are part of the weights.
"""

from types import ModuleType
from typing import Any, cast

import numpy as np
from timm.models.tiny_vit import Attention, MBConv, NormMlp, PatchMerging, TinyVitBlock
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lib.model.graph_parts import GraphParts, Node, array
from lib.model.slice_encoder import TinyVitEncoder
from lib.shapes import AnyArray


class TinyVitGraph(GraphParts):
    """Builds the graph of one encoder.

    Args:
        ops: `openvino.opset13`.
        encoder: with its parameters, in eval mode.
        side: of the canvas, in pixels.
    """

    def __init__(self, ops: ModuleType, encoder: TinyVitEncoder, side: int) -> None:
        super().__init__(ops)
        self._encoder: Any = encoder
        self._side = side

    def build(self) -> tuple[list[Node], list[Node]]:
        """Results and parameters: from a slice (1, 3, side, side) to its embedding (1, C, h, w)."""
        canvas = self._ops.parameter([1, 3, self._side, self._side], np.float32)
        embedding_stem, *stages = self._encoder.stages
        patch = self._encoder.patch_embed
        x = self._conv(self._conv(canvas, patch.conv1, activate=True), patch.conv2)
        for block in embedding_stem.blocks:
            x = self._mbconv(x, block)
        side = self._side
        for stage in stages:
            x = self._merge_patches(x, stage.downsample)
            side //= _fused(stage.downsample.conv2).stride[0]
            tokens = self._to_tokens(x, side, stage.out_dim)
            for block in stage.blocks:
                tokens = self._block(tokens, block, side)
            x = self._to_picture(tokens, side, stage.out_dim)
        return [self._neck(x, side)], [canvas]

    def _neck(self, x: Node, side: int) -> Node:
        project, first_norm, conv, last_norm = self._encoder.neck
        tokens = self._to_tokens(x, side, project.in_channels)
        tokens = self._norm(self._linear(tokens, array(project.weight)[:, :, 0, 0], None), first_norm)
        x = self._conv(self._to_picture(tokens, side, conv.in_channels), conv)
        tokens = self._norm(self._to_tokens(x, side, conv.out_channels), last_norm)
        return self._to_picture(tokens, side, conv.out_channels)

    def _mbconv(self, x: Node, block: MBConv) -> Node:
        wide = self._conv(self._conv(x, block.conv1, activate=True), block.conv2, activate=True)
        return self._ops.gelu(self._ops.add(self._conv(wide, block.conv3), x), "erf")

    def _merge_patches(self, x: Node, merging: PatchMerging) -> Node:
        wide = self._conv(self._conv(x, merging.conv1, activate=True), merging.conv2, activate=True)
        return self._conv(wide, merging.conv3)

    def _block(self, tokens: Node, block: TinyVitBlock, side: int) -> Node:
        tokens = self._ops.add(tokens, self._windowed_attention(tokens, block, side))
        x = self._conv(self._to_picture(tokens, side, block.dim), block.local_conv)
        tokens = self._to_tokens(x, side, block.dim)
        return self._ops.add(tokens, self._mlp(tokens, block.mlp))

    def _windowed_attention(self, tokens: Node, block: TinyVitBlock, side: int) -> Node:
        """Attention in windows; the picture is padded with zeros below and right to whole windows."""
        window, channels = block.window_size, block.dim
        count = -(-side // window)
        padding = count * window - side
        x = self._reshape(tokens, 1, side, side, channels)
        if padding:
            before, after = self._integers(0, 0, 0, 0), self._integers(0, padding, padding, 0)
            x = self._ops.pad(x, before, after, "constant", self._ops.constant(np.float32(0)))
        x = self._swap_inner(x, (count, window, count, window, channels))
        x = self._attention(self._reshape(x, count**2, window**2, channels), block.attn, window**2)
        x = self._swap_inner(x, (count, count, window, window, channels))
        x = self._reshape(x, 1, count * window, count * window, channels)
        if padding:
            start, stop = self._integers(0, 0), self._integers(side, side)
            x = self._ops.slice(x, start, stop, self._integers(1, 1), self._integers(1, 2))
        return self._reshape(x, 1, side * side, channels)

    def _swap_inner(self, x: Node, shape: tuple[int, ...]) -> Node:
        """Between a picture's rows of windows and windows' rows."""
        return self._ops.transpose(self._reshape(x, *shape), self._integers(0, 2, 1, 3, 4))

    def _attention(self, windows: Node, attention: Attention, tokens: int) -> Node:
        heads, width = attention.num_heads, attention.key_dim
        normed = self._norm(windows, attention.norm)
        weight = array(attention.qkv.weight).reshape(heads, 3, width, -1)
        bias = array(attention.qkv.bias).reshape(heads, 3, width)
        query, key, value = (
            self._heads(normed, weight[:, part] * scale, bias[:, part] * scale, tokens)
            for part, scale in enumerate((attention.scale, 1.0, 1.0))
        )
        query, value = (self._ops.transpose(x, self._integers(0, 2, 1, 3)) for x in (query, value))
        key = self._ops.transpose(key, self._integers(0, 2, 3, 1))
        offsets = array(attention.attention_biases[:, attention.attention_bias_idxs])[None]
        scores = self._ops.add(self._ops.matmul(query, key, False, False), self._constant(offsets))
        mixed = self._ops.matmul(self._ops.softmax(scores, -1), value, False, False)
        mixed = self._ops.transpose(mixed, self._integers(0, 2, 1, 3))
        mixed = self._reshape(mixed, -1, tokens, heads * width)
        return self._linear(mixed, array(attention.proj.weight), array(attention.proj.bias))

    def _heads(self, tokens: Node, weight: AnyArray, bias: AnyArray, count: int) -> Node:
        """One of query, key and value: (windows, count, heads, width)."""
        heads, width, _ = weight.shape
        product = self._linear(tokens, weight.reshape(heads * width, -1), bias.reshape(-1))
        return self._reshape(product, -1, count, heads, width)

    def _mlp(self, tokens: Node, mlp: NormMlp) -> Node:
        wide = self._linear(self._norm(tokens, mlp.norm), array(mlp.fc1.weight), array(mlp.fc1.bias))
        wide = self._ops.gelu(wide, "erf")
        return self._linear(wide, array(mlp.fc2.weight), array(mlp.fc2.bias))

    def _conv(self, x: Node, module: nn.Module, *, activate: bool = False) -> Node:
        conv = _fused(module)
        weight, stride, padding = array(conv.weight), list(conv.stride), list(conv.padding)
        if conv.groups > 1:  # all grouped ones are depthwise
            weight = self._constant(weight[:, None])
            x = self._ops.group_convolution(x, weight, stride, padding, padding, [1, 1])
        else:
            x = self._ops.convolution(x, self._constant(weight), stride, padding, padding, [1, 1])
        if conv.bias is not None:
            x = self._ops.add(x, self._constant(array(conv.bias)[None, :, None, None]))
        return self._ops.gelu(x, "erf") if activate else x

    def _to_tokens(self, x: Node, side: int, channels: int) -> Node:
        return self._reshape(self._ops.transpose(x, self._integers(0, 2, 3, 1)), 1, side**2, channels)

    def _to_picture(self, tokens: Node, side: int, channels: int) -> Node:
        x = self._reshape(tokens, 1, side, side, channels)
        return self._ops.transpose(x, self._integers(0, 3, 1, 2))


def _fused(module: nn.Module) -> nn.Conv2d:
    """A convolution with its batch normalisation in it, whether the encoder has been fused or not."""
    if isinstance(module, nn.Conv2d):
        return module
    conv, batch_norm = module.children()  # timm's ConvNorm
    return fuse_conv_bn_eval(cast("nn.Conv2d", conv), cast("nn.BatchNorm2d", batch_norm))
