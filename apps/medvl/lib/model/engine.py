"""Engines that run slice encoder and mask decoder: PyTorch anywhere, OpenVINO on a CPU where it is faster.

An engine computes one slice at a time, so that an embedding never depends on who else waits. Engines differ
by rounding; `identity` keeps what they computed apart in caches.
"""

import logging
from enum import StrEnum
from typing import Protocol, runtime_checkable

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from lib.errors import ConfigError
from lib.model.config import Backbone, SegmenterConfig
from lib.model.decoder import DecodedBatch, PromptTensors, decode_batch
from lib.model.engine_openvino import OpenVinoDecoder, OpenVinoEngine
from lib.shapes import CanvasBatch, FeatureMap

logger = logging.getLogger(__name__)


GPU_HALF = torch.float16
"""Mixed precision on CUDA. Simulated, masks keep a mean Dice of 0.997 to float32; with bfloat16 0.975."""


class EngineChoice(StrEnum):
    """Which engine an operator wants."""

    AUTO = "auto"
    """OpenVINO on a CPU for the encoders that it has been measured to be faster for, else PyTorch."""
    TORCH = "torch"
    OPENVINO = "openvino"


@runtime_checkable
class EncoderEngine(Protocol):
    """Anything that runs a slice encoder."""

    @property
    def identity(self) -> str:
        """Name, version and precision: what the last bits of an embedding depend on."""
        ...

    @property
    def streams(self) -> int:
        """Slices that it computes best side by side."""
        ...

    def encode(self, canvas: CanvasBatch) -> tuple[Tensor, ...]:
        """Embed one normalised slice (1, 3, side, side): feature maps (1, C, h, w), fine to coarse."""
        ...


@runtime_checkable
class DecoderEngine(Protocol):
    """Anything that runs prompt encoder and mask decoder."""

    @property
    def identity(self) -> str:
        """Name, version and precision: what the last bits of a mask depend on."""
        ...

    def decode(
        self,
        levels: tuple[FeatureMap, ...],
        prompts: PromptTensors,
        *,
        multimask: bool = False,
        corner: tuple[int, int] = (0, 0),
    ) -> DecodedBatch:
        """Draw one object on each slice, as `lib.model.decoder.decode_batch` does."""
        ...

    def rebuilt(self, sam2: SAM2Base) -> "DecoderEngine":
        """The same kind of engine for other parameters of the same network."""
        ...


class TorchEngine:
    """The encoder as sam2 runs it.

    Args:
        sam2: the network, on its device.
        half: 16 bit type of mixed precision; None: all in float32.
    """

    streams = 1
    """PyTorch spreads each step over all cores."""

    def __init__(self, sam2: SAM2Base, half: torch.dtype | None = None) -> None:
        self._sam2 = sam2
        self._half = half
        self._device = next(sam2.parameters()).device

    @property
    def identity(self) -> str:
        """PyTorch's version, the kind of device and the precision."""
        return f"torch {torch.__version__} {self._device.type} {self._half or torch.float32}"

    def encode(self, canvas: CanvasBatch) -> tuple[Tensor, ...]:
        """Embed one normalised slice; the feature maps stay on the device."""
        pixels = canvas.to(self._device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, dtype=self._half, enabled=self._half is not None):
            features = self._sam2.forward_image(pixels)
        levels = features["backbone_fpn"][-self._sam2.num_feature_levels :]
        return tuple(level.float().contiguous() for level in levels)


class TorchDecoder:
    """Prompt encoder and mask decoder as sam2 runs them.

    Args:
        sam2: the network, on its device.
    """

    def __init__(self, sam2: SAM2Base) -> None:
        self._sam2 = sam2

    @property
    def identity(self) -> str:
        """PyTorch's version and the kind of device."""
        return f"torch {torch.__version__} {next(self._sam2.parameters()).device.type}"

    def decode(
        self,
        levels: tuple[FeatureMap, ...],
        prompts: PromptTensors,
        *,
        multimask: bool = False,
        corner: tuple[int, int] = (0, 0),
    ) -> DecodedBatch:
        """Draw one object on each slice."""
        return decode_batch(self._sam2, levels, prompts, multimask=multimask, corner=corner)

    def rebuilt(self, sam2: SAM2Base) -> "TorchDecoder":
        """The same for other parameters of the same network."""
        return TorchDecoder(sam2)


def make_decoder(choice: EngineChoice, sam2: SAM2Base, config: SegmenterConfig) -> DecoderEngine:
    """What decodes slices where `make_engine` would encode them with the same choice.

    Args:
        choice: what the operator wants.
        sam2: the network in eval mode, on its device.
        config: what it was built from.
    """
    fallback = TorchDecoder(sam2)
    if choice is EngineChoice.TORCH or config.multimask or _obstacle_to_openvino(sam2, config):
        return fallback
    try:
        return OpenVinoDecoder(sam2, torch.get_num_threads())
    except (ImportError, RuntimeError) as error:  # what follows an encoder without OpenVINO is no news
        logger.info("masks are decoded by PyTorch: %s", error)
        return fallback


def make_engine(
    choice: EngineChoice, sam2: SAM2Base, config: SegmenterConfig, streams: int = 1
) -> EncoderEngine:
    """The engine that was asked for; with `auto`, the fastest that works here.

    Args:
        choice: what the operator wants.
        sam2: the network in eval mode, on its device.
        config: what it was built from.
        streams: slices that whoever uses it can hand over at a time; more of them take longer each, and less
            together.

    Raises:
        ConfigError: OpenVINO was asked for and cannot run this encoder here.
    """
    obstacle = _obstacle_to_openvino(sam2, config)
    if choice is EngineChoice.OPENVINO and obstacle:
        raise ConfigError(
            f"The engine openvino cannot be used: {obstacle}; choose --conf engine auto or torch."
        )
    is_cuda = next(sam2.parameters()).device.type == "cuda"
    engine: EncoderEngine = TorchEngine(sam2, GPU_HALF if is_cuda else None)
    if choice is not EngineChoice.TORCH and not obstacle:
        engine = _openvino_or(engine, choice, sam2, config, streams)
    logger.info("slices are encoded by %s", engine.identity)
    return engine


def _obstacle_to_openvino(sam2: SAM2Base, config: SegmenterConfig) -> str:
    if config.backbone is not Backbone.TINYVIT:
        return f"it runs the encoder {Backbone.TINYVIT}, and the weights have {config.backbone}"
    device = next(sam2.parameters()).device.type
    return "" if device == "cpu" else f"it runs on the device cpu; got {device}"


def _openvino_or(
    fallback: EncoderEngine, choice: EngineChoice, sam2: SAM2Base, config: SegmenterConfig, streams: int
) -> EncoderEngine:
    try:
        threads = torch.get_num_threads()
        return OpenVinoEngine(sam2.image_encoder, config.image_size, threads, streams=streams)
    except (ImportError, RuntimeError) as error:  # not installed, or its CPU plugin does not work here
        if choice is EngineChoice.OPENVINO:
            raise ConfigError(
                f"The engine openvino cannot be started ({type(error).__name__}); choose --conf engine "
                "auto or torch, or install openvino."
            ) from error
        logger.warning("OpenVINO cannot be started, slices are encoded more slowly: %s", error)
        return fallback
