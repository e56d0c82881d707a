"""OpenVINO's CPU plugin as an engine for the TinyViT slice encoder and SAM2's mask decoder, in float32.

The graphs are built from the loaded parameters, which takes a tenth of a second; nothing is converted, cached
on disk or sent. OpenVINO 2026.4 reports its own import to its maker unless `openvino_telemetry` is absent:
it is therefore imported as if that package were not installed.
"""

import importlib
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from lib.model.decoder import ALWAYS_THERE, DecodedBatch, PromptTensors, fitted
from lib.model.decoder_graph import DecoderGraph
from lib.model.engine_graph import TinyVitGraph
from lib.model.slice_encoder import TinyVitEncoder
from lib.shapes import AnyArray, CanvasBatch, FeatureMap

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
    """The encoder, compiled for this processor. Safe to use from several threads.

    Args:
        encoder: TinyViT with its parameters, on the CPU.
        side: of the canvas, in pixels.
        threads: that are used in all.
        precision: `f32`, or `bf16`, which is faster on processors with AMX and changes masks.
        streams: slices that are computed side by side, sharing the threads; more of them take turns.

    Raises:
        ImportError: OpenVINO is not installed.
        RuntimeError: its CPU plugin cannot compile the graph.
    """

    def __init__(
        self, encoder: TinyVitEncoder, side: int, threads: int, precision: str = "f32", streams: int = 1
    ) -> None:
        openvino = import_openvino()
        graph = TinyVitGraph(importlib.import_module("openvino.opset13"), encoder, side)
        model = openvino.Model(*graph.build(), "slice encoder")
        self.streams = max(1, min(streams, threads))
        compiled = openvino.Core().compile_model(model, "CPU", _options(threads, precision, self.streams))
        self._precision = precision
        self._version = _version(openvino)
        self._requests = _Requests(compiled, self.streams)

    @property
    def identity(self) -> str:
        """OpenVINO's version and the precision."""
        return f"openvino {self._version} cpu {self._precision}"

    def encode(self, canvas: CanvasBatch) -> tuple[Tensor, ...]:
        """Embed one normalised slice."""
        (output,) = self._requests.run([canvas.float().cpu().contiguous().numpy()])
        return (torch.from_numpy(output),)


class OpenVinoDecoder:
    """Prompt encoder and mask decoder, compiled for this processor. Safe to use from several threads.

    Args:
        sam2: the network with its parameters, on the CPU: one feature map, one mask for each prompt.
        threads: that one slice is computed with.

    Raises:
        ImportError: OpenVINO is not installed.
        RuntimeError: its CPU plugin cannot compile the graph.
    """

    def __init__(self, sam2: SAM2Base, threads: int) -> None:
        self._openvino = import_openvino()
        self._sam2 = sam2
        self._threads = threads
        self._version = _version(self._openvino)
        self._compiling = threading.Lock()
        self._requests: dict[tuple[int, bool], _Requests] = {}
        self._position = sam2.sam_prompt_encoder.get_dense_pe()[0]
        for with_mask in (False, True):
            self._compiled(self._position.shape[-1], with_mask=with_mask)

    @property
    def identity(self) -> str:
        """OpenVINO's version and the precision."""
        return f"openvino {self._version} cpu f32"

    def decode(
        self,
        levels: tuple[FeatureMap, ...],
        prompts: PromptTensors,
        *,
        multimask: bool = False,
        corner: tuple[int, int] = (0, 0),
    ) -> DecodedBatch:
        """Draw one object on each slice, or on the same square part of each, one after the other.

        Args:
            levels: the one feature map (B, C, h, w) of the slices.
            prompts: one for each slice.
            multimask: False; one mask is drawn for each prompt.
            corner: row and column of the canvas cell at which the feature map begins.

        Raises:
            ValueError: several feature maps, a part that is no square, or several masks are asked for.
        """
        images = levels[-1]
        height, width = images.shape[-2:]
        if multimask or len(levels) > 1 or height != width:
            raise ValueError("This decoder draws one mask on a square of one feature map.")
        sparse, _ = self._sam2.sam_prompt_encoder(points=prompts.points, boxes=prompts.boxes, masks=None)
        masks = fitted(prompts.masks, height, width)
        row, col = corner
        position = self._position[:, row : row + height, col : col + width].flatten(1).T
        compiled = self._compiled(height, with_mask=masks is not None)
        drawn = []
        for number, tokens in enumerate(sparse):
            given = [images[number][None], tokens, position] + (
                [] if masks is None else [masks[number][None]]
            )
            drawn.append(compiled.run([one.float().contiguous().numpy() for one in given]))
        mask, iou, token, *score = (torch.from_numpy(np.stack(found)) for found in zip(*drawn, strict=True))
        object_logit = score[0][:, 0, 0] if score else torch.full((len(mask),), ALWAYS_THERE)
        return DecodedBatch(mask[:, 0], iou[:, 0], token, object_logit)

    def _compiled(self, side: int, *, with_mask: bool) -> "_Requests":
        """The graph for so many cells along each side, compiled when it is needed first."""
        with self._compiling:
            if (side, with_mask) not in self._requests:
                ops = importlib.import_module("openvino.opset13")
                graph = DecoderGraph(ops, self._sam2, with_mask=with_mask, side=side)
                model = self._openvino.Model(*graph.build(), "mask decoder")
                options = _options(self._threads, "f32", 1)
                compiled = self._openvino.Core().compile_model(model, "CPU", options)
                self._requests[side, with_mask] = _Requests(compiled, 1)
            return self._requests[side, with_mask]

    def rebuilt(self, sam2: SAM2Base) -> "OpenVinoDecoder":
        """The same for other parameters of the same network."""
        return OpenVinoDecoder(sam2, self._threads)


class _Requests:
    """Room for so many computations of one compiled graph at a time."""

    def __init__(self, compiled: Any, count: int) -> None:
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(compiled.create_infer_request())

    def run(self, arrays: list[AnyArray]) -> list[AnyArray]:
        """All results for these parameters, once one of the others is done if there is no room."""
        request = self._free.get()
        try:
            found = request.infer(arrays, share_inputs=True)  # results are copies: the request is used again
            return [found[number] for number in range(len(found))]
        finally:
            self._free.put(request)


def _version(openvino: ModuleType) -> str:
    return str(openvino.__version__).split("-", maxsplit=1)[0]


def _options(threads: int, precision: str, streams: int) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,  # its own choice would be half precision where it can
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        "ENABLE_CPU_PINNING": False,  # other programs use these cores too
    }
