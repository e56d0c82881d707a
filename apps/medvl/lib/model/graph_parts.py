"""What graphs of OpenVINO's operations are made of, from the parameters of PyTorch modules.

Nodes are typed `Any`: OpenVINO may be absent.
"""

from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

from lib.shapes import AnyArray

Node = Any
"""One of the graph's operations, or one of its outputs."""


class GraphParts:
    """Steps that several graphs are built of.

    Args:
        ops: `openvino.opset13`.
    """

    def __init__(self, ops: ModuleType) -> None:
        self._ops: Any = ops

    def _linear(self, x: Node, weight: AnyArray, bias: AnyArray | None) -> Node:
        x = self._ops.matmul(x, self._constant(weight), False, True)
        return x if bias is None else self._ops.add(x, self._constant(bias))

    def _norm(self, x: Node, norm: nn.Module) -> Node:
        """Along the last axis, whether the module does it there or, as sam2's LayerNorm2d, along channels."""
        parameters: Any = norm
        x = self._ops.mvn(x, self._integers(-1), True, float(parameters.eps), "inside_sqrt")
        x = self._ops.multiply(x, self._constant(array(parameters.weight)))
        return self._ops.add(x, self._constant(array(parameters.bias)))

    def _reshape(self, x: Node, *shape: int) -> Node:
        """To another shape; -1 is what remains."""
        return self._ops.reshape(x, self._integers(*shape), False)

    def _ordered(self, x: Node, *axes: int) -> Node:
        """With its axes in another order."""
        return self._ops.transpose(x, self._integers(*axes))

    def _integers(self, *values: int) -> Node:
        return self._ops.constant(np.array(values, dtype=np.int64))

    def _constant(self, values: AnyArray) -> Node:
        return self._ops.constant(np.ascontiguousarray(values, dtype=np.float32))


def array(values: Tensor) -> AnyArray:
    """A parameter as OpenVINO takes it."""
    return values.detach().float().cpu().numpy()
