"""SAM2's mask decoder as a graph of OpenVINO's operations, built from the parameters of the PyTorch modules.

The same function of the same parameters, arranged for one slice and few prompt tokens. A slice has thousands
of cells and a prompt some ten tokens: so keys, queries and values of the cells are never computed; the tokens
are taken through those matrices instead, which is a third of the work, and cells stay (cell, channel) until
the mask is put together. What the three masks that are not shown would need is left out.
"""

from types import ModuleType
from typing import Any, cast

import numpy as np
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from lib.model.graph_parts import GraphParts, Node, array
from lib.shapes import AnyArray


class DecoderGraph(GraphParts):
    """Builds the graph for prompts with, or without, a mask among them.

    Args:
        ops: `openvino.opset13`.
        sam2: the network, with its parameters.
        with_mask: whether a mask is among the prompts.
        side: cells along each side of what is drawn on, the canvas or a part of it.
    """

    def __init__(self, ops: ModuleType, sam2: SAM2Base, *, with_mask: bool, side: int) -> None:
        super().__init__(ops)
        self._prompt_encoder: Any = sam2.sam_prompt_encoder
        self._decoder: Any = sam2.sam_mask_decoder
        self._with_mask = with_mask
        self._side = side
        self._channels = int(sam2.sam_mask_decoder.transformer_dim)
        self._no_memory = array(sam2.no_mem_embed).reshape(-1) if sam2.directly_add_no_mem_embed else None
        self._position = ops.parameter([side**2, self._channels], np.float32)

    def build(self) -> tuple[list[Node], list[Node]]:
        """Results and parameters.

        Parameters are an embedding (1, C, h, w), the tokens of points and boxes (N, C), where each cell
        lies (h * w, C) and, where there is one, a mask (1, 1, 4h, 4w). Results are the mask's logits
        (1, 1, 4h, 4w), its predicted overlap (1, 1), its token (1, C) and, where the weights know it, the
        object's logit (1, 1).
        """
        embedding = self._ops.parameter([1, self._channels, self._side, self._side], np.float32)
        prompt = self._ops.parameter([-1, self._channels], np.float32)
        given = [embedding, prompt, self._position]
        cells = self._to_cells(embedding)
        if self._with_mask:
            given.append(self._ops.parameter([1, 1, 4 * self._side, 4 * self._side], np.float32))
            cells = self._ops.add(cells, self._mask_prompt(given[-1]))
        else:
            cells = self._ops.add(cells, self._constant(array(self._prompt_encoder.no_mask_embed.weight)))
        if self._no_memory is not None:
            cells = self._ops.add(cells, self._constant(self._no_memory[None]))
        tokens = self._ops.concat([self._constant(self._own_tokens()), prompt], 0)
        tokens, cells = self._transformer(tokens, cells)
        return self._results(tokens, cells), given

    def _own_tokens(self) -> AnyArray:
        """Of the object's score, the overlap and the masks, in this order."""
        names = ["iou_token", "mask_tokens"]
        if self._decoder.pred_obj_scores:
            names.insert(0, "obj_score_token")
        return np.concatenate([array(getattr(self._decoder, name).weight) for name in names])

    def _to_cells(self, x: Node) -> Node:
        return self._reshape(self._ordered(x, 0, 2, 3, 1), self._side**2, self._channels)

    def _mask_prompt(self, mask: Node) -> Node:
        """A mask's embedding for each cell: two strided convolutions are products, pixel by pixel."""
        first, first_norm, _, second, second_norm, _, last = self._prompt_encoder.mask_downscaling
        x = self._reshape(mask, self._side, 2, 2, self._side, 2, 2)
        x = self._reshape(self._ordered(x, 0, 3, 1, 4, 2, 5), self._side**2 * 4, 4)
        x = self._linear(x, _patch_weight(first), array(first.bias))
        x = self._ops.gelu(self._norm(x, first_norm), "erf")
        x = self._reshape(x, self._side**2, 4 * first.out_channels)
        x = self._linear(x, _patch_weight(second), array(second.bias))
        x = self._ops.gelu(self._norm(x, second_norm), "erf")
        return self._linear(x, array(last.weight)[:, :, 0, 0], array(last.bias))

    def _transformer(self, tokens: Node, cells: Node) -> tuple[Node, Node]:
        """sam2's `TwoWayTransformer`: tokens and cells look at one another in turn."""
        asked, position = tokens, self._position
        transformer = self._decoder.transformer
        for layer in transformer.layers:
            tokens = self._norm(self._self_attention(tokens, asked, layer), layer.norm1)
            placed = self._ops.add(cells, position)
            seen = self._seen_by_tokens(
                self._ops.add(tokens, asked), placed, cells, layer.cross_attn_token_to_image
            )
            tokens = self._norm(self._ops.add(tokens, seen), layer.norm2)
            tokens = self._norm(self._ops.add(tokens, self._mlp(tokens, layer.mlp)), layer.norm3)
            told = self._told_to_cells(
                placed, self._ops.add(tokens, asked), tokens, layer.cross_attn_image_to_token
            )
            cells = self._norm(self._ops.add(cells, told), layer.norm4)
        seen = self._seen_by_tokens(
            self._ops.add(tokens, asked),
            self._ops.add(cells, position),
            cells,
            transformer.final_attn_token_to_image,
        )
        return self._norm(self._ops.add(tokens, seen), transformer.norm_final_attn), cells

    def _self_attention(self, tokens: Node, asked: Node, layer: Any) -> Node:
        attention = layer.self_attn
        placed = tokens if layer.skip_first_layer_pe else self._ops.add(tokens, asked)
        query = self._heads(self._projected(placed, attention.q_proj, _scale(attention)), attention)
        key = self._heads(self._projected(placed, attention.k_proj), attention)
        value = self._heads(self._projected(tokens, attention.v_proj), attention)
        weights = self._ops.softmax(self._ops.matmul(query, key, False, True), -1)
        mixed = self._merged(self._ops.matmul(weights, value, False, False), attention)
        mixed = self._projected(mixed, attention.out_proj)
        return mixed if layer.skip_first_layer_pe else self._ops.add(tokens, mixed)

    def _seen_by_tokens(self, query: Node, placed: Node, cells: Node, attention: Any) -> Node:
        """What each token takes from the cells.

        A query's product with all keys is its product with the key matrix, times the cells; the keys' bias is
        the same for all cells and falls out of the softmax.
        """
        asked = self._heads(self._projected(query, attention.q_proj, _scale(attention)), attention)
        asked = self._through(asked, array(attention.k_proj.weight), attention)
        weights = self._ops.softmax(self._ops.matmul(asked, placed, False, True), -1)
        taken = self._ops.matmul(weights, cells, False, False)  # (heads * tokens, C)
        heads = attention.num_heads
        taken = self._reshape(taken, heads, -1, self._channels)
        weight = array(attention.v_proj.weight).reshape(heads, -1, self._channels)
        taken = self._ops.matmul(taken, self._constant(weight), False, True)
        merged = self._ops.add(self._merged(taken, attention), self._constant(array(attention.v_proj.bias)))
        return self._projected(merged, attention.out_proj)

    def _told_to_cells(self, placed: Node, key: Node, tokens: Node, attention: Any) -> Node:
        """What each cell takes from the tokens."""
        heads, scale = attention.num_heads, _scale(attention)
        keys = self._heads(self._projected(key, attention.k_proj, scale), attention)
        asked = self._through(keys, array(attention.q_proj.weight), attention)
        bias = array(attention.q_proj.bias).reshape(heads, -1, 1)
        offset = self._reshape(self._ops.matmul(keys, self._constant(bias), False, False), 1, -1)
        scores = self._ops.add(self._ops.matmul(placed, asked, False, True), offset)
        scores = self._reshape(scores, self._side**2, heads, -1)
        weights = self._reshape(self._ops.softmax(scores, -1), self._side**2, -1)
        values = self._heads(self._projected(tokens, attention.v_proj), attention)
        weight = array(attention.out_proj.weight).T.reshape(heads, -1, self._channels)
        told = self._ops.matmul(values, self._constant(weight), False, False)
        told = self._ops.matmul(weights, self._reshape(told, -1, self._channels), False, False)
        return self._ops.add(told, self._constant(array(attention.out_proj.bias)))

    def _through(self, tokens: Node, weight: AnyArray, attention: Any) -> Node:
        """Tokens (heads, T, width) taken through the cells' projection: (heads * T, C)."""
        by_head = self._constant(weight.reshape(attention.num_heads, -1, self._channels))
        return self._reshape(self._ops.matmul(tokens, by_head, False, False), -1, self._channels)

    def _heads(self, tokens: Node, attention: Any) -> Node:
        """(T, heads * width) to (heads, T, width)."""
        width = attention.internal_dim // attention.num_heads
        return self._ordered(self._reshape(tokens, -1, attention.num_heads, width), 1, 0, 2)

    def _merged(self, by_head: Node, attention: Any) -> Node:
        return self._reshape(self._ordered(by_head, 1, 0, 2), -1, attention.internal_dim)

    def _projected(self, x: Node, module: nn.Linear, scale: float = 1.0) -> Node:
        return self._linear(x, array(module.weight) * scale, array(module.bias) * scale)

    def _mlp(self, x: Node, mlp: Any) -> Node:
        """sam2's `MLP` with rectifiers between its layers."""
        *inner, last = mlp.layers
        for module in inner:
            x = self._ops.relu(self._projected(x, module))
        return self._projected(x, last)

    def _results(self, tokens: Node, cells: Node) -> list[Node]:
        first = 1 if self._decoder.pred_obj_scores else 0
        mask_token = self._row(tokens, first + 1)
        overlap = self._mlp(self._row(tokens, first), self._decoder.iou_prediction_head)
        results = [
            self._mask(cells, self._mlp(mask_token, self._decoder.output_hypernetworks_mlps[0])),
            self._ops.slice(overlap, *(self._integers(value) for value in (0, 1, 1, 1))),
            mask_token,
        ]
        if first:
            results.append(self._object_logit(self._row(tokens, 0)))
        return results

    def _object_logit(self, token: Node) -> Node:
        head = self._decoder.pred_obj_score_head
        return self._projected(token, head) if isinstance(head, nn.Linear) else self._mlp(token, head)

    def _row(self, tokens: Node, index: int) -> Node:
        return self._ops.slice(tokens, *(self._integers(value) for value in (index, index + 1, 1, 0)))

    def _mask(self, cells: Node, hyper: Node) -> Node:
        """Cells become pixels by two transposed convolutions; as products, put in place at the end."""
        first, norm, _, second, _ = self._decoder.output_upscaling
        x = self._linear(cells, *_spread(first))
        x = self._norm(self._reshape(x, self._side**2 * 4, first.out_channels), norm)
        x = self._linear(self._ops.gelu(x, "erf"), *_spread(second))
        x = self._reshape(self._ops.gelu(x, "erf"), self._side**2 * 16, second.out_channels)
        x = self._ops.matmul(x, hyper, False, True)
        x = self._reshape(x, self._side, self._side, 2, 2, 2, 2)
        x = self._ordered(x, 0, 2, 4, 1, 3, 5)
        return self._reshape(x, 1, 1, 4 * self._side, 4 * self._side)


def _scale(attention: Any) -> float:
    return float(attention.internal_dim / attention.num_heads) ** -0.5


def _patch_weight(conv: nn.Conv2d) -> AnyArray:
    """A convolution whose windows do not overlap, as a matrix (out, rows * columns * in)."""
    return array(conv.weight).transpose(0, 2, 3, 1).reshape(conv.out_channels, -1)


def _spread(conv: nn.ConvTranspose2d) -> tuple[AnyArray, AnyArray]:
    """A transposed convolution whose windows do not overlap: matrix (rows * columns * out, in) and bias."""
    weight = array(conv.weight).transpose(2, 3, 1, 0).reshape(-1, conv.in_channels)
    bias = array(cast("Tensor", conv.bias))
    return weight, np.tile(bias, len(weight) // conv.out_channels)
