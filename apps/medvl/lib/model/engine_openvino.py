"""OpenVINO's CPU plugin as an engine for the TinyViT slice encoder, in float32.

The graph is built from the loaded parameters, which takes a tenth of a second; nothing is converted, cached
on disk or sent. OpenVINO 2026.4 reports its own import to its maker unless `openvino_telemetry` is absent:
it is therefore imported as if that package were not installed.
"""

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from lib.model.engine_graph import TinyVitGraph
from lib.model.slice_encoder import TinyVitEncoder
from lib.shapes import CanvasBatch

_TELEMETRY = "openvino_telemetry"


def import_openvino() -> ModuleType:
    """OpenVINO, imported without its telemetry.

    Raises:
        ImportError: it is not installed.
    """
    if "openvino" in sys.modules:
        return importlib.import_module("openvino")
    with _as_if_not_installed(_TELEMETRY):
        return importlib.import_module("openvino")


@contextmanager
def _as_if_not_installed(name: str) -> Iterator[None]:
    if name in sys.modules:  # somebody else has loaded it; it is not ours to hide
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what the import system documents
    try:
        yield
    finally:
        del sys.modules[name]


class OpenVinoEngine:
    """The encoder, compiled for this processor. Safe to use from several threads: they take turns.

    Args:
        encoder: TinyViT with its parameters, on the CPU.
        side: of the canvas, in pixels.
        threads: that one slice is computed with.
        precision: `f32`, or `bf16`, which is faster on processors with AMX and changes masks.

    Raises:
        ImportError: OpenVINO is not installed.
        RuntimeError: its CPU plugin cannot compile the graph.
    """

    def __init__(self, encoder: TinyVitEncoder, side: int, threads: int, precision: str = "f32") -> None:
        openvino = import_openvino()
        graph = TinyVitGraph(importlib.import_module("openvino.opset13"), encoder, side)
        model = openvino.Model(*graph.build(), "slice encoder")
        compiled = openvino.Core().compile_model(model, "CPU", _options(threads, precision))
        self._precision = precision
        self._version = str(openvino.__version__).split("-", maxsplit=1)[0]
        self._request: Any = compiled.create_infer_request()
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        """OpenVINO's version and the precision."""
        return f"openvino {self._version} cpu {self._precision}"

    def encode(self, canvas: CanvasBatch) -> tuple[Tensor, ...]:
        """Embed one normalised slice."""
        pixels = canvas.float().cpu().contiguous().numpy()
        with self._lock:
            output = self._request.infer([pixels], share_inputs=True)[0]  # a copy: the request is used again
        return (torch.from_numpy(output),)


def _options(threads: int, precision: str) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,  # its own choice would be half precision where it can
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # other programs use these cores too
    }
