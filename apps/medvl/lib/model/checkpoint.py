"""Reads weights in the formats in which they are published, and names the parameters as `SAM2Base` does."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lib.errors import WeightsError
from lib.model.weights import CheckpointFormat

_LITE_MEDSAM_NAMES: tuple[tuple[str, str], ...] = (
    (r"^image_encoder\.patch_embed\.seq\.0\.", "image_encoder.patch_embed.conv1."),
    (r"^image_encoder\.patch_embed\.seq\.2\.", "image_encoder.patch_embed.conv2."),
    (r"^image_encoder\.layers\.0\.downsample\.", "image_encoder.stages.1.downsample."),
    (r"^image_encoder\.layers\.1\.downsample\.", "image_encoder.stages.2.downsample."),
    (r"^image_encoder\.layers\.2\.downsample\.", "image_encoder.stages.3.downsample."),
    (r"^image_encoder\.layers\.", "image_encoder.stages."),
    (r"^(image_encoder\..*)\.c\.weight$", r"\1.conv.weight"),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"^mask_decoder\.", "sam_mask_decoder."),
    (r"^(sam_mask_decoder\..*)\.mlp\.lin1\.", r"\1.mlp.layers.0."),
    (r"^(sam_mask_decoder\..*)\.mlp\.lin2\.", r"\1.mlp.layers.1."),
)


def read_checkpoint(path: Path, layout: CheckpointFormat) -> dict[str, Tensor]:
    """Read published weights, nothing but tensors, and name them as `SAM2Base` does.

    Args:
        path: the file.
        layout: how it is laid out.

    Raises:
        WeightsError: the file is not laid out so, or holds anything but tensors.
    """
    if layout is CheckpointFormat.MEDVL:
        return _read_safetensors(path)
    content = _read_torch(path)
    if layout is CheckpointFormat.SAM2:
        return _checked(content.get("model"), layout)
    return {_renamed(key): value for key, value in _checked(content, layout).items()}


def _renamed(key: str) -> str:
    for pattern, replacement in _LITE_MEDSAM_NAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"The weights are no safetensors file ({error}); fetch them again.") from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no common error: pickle, zip, runtime and key errors
        raise WeightsError(
            f"The weights cannot be read as a torch file of plain tensors ({type(error).__name__}); "
            "a file that holds code or is cut short is refused."
        ) from error
    return content if isinstance(content, Mapping) else {}


def _checked(state: Any, layout: CheckpointFormat) -> dict[str, Tensor]:
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f"The weights are not laid out as {layout.value!r}: no parameters were found.")
    other = sorted(str(key) for key, value in state.items() if not isinstance(value, Tensor))
    if other:
        raise WeightsError(f"The weights are not laid out as {layout.value!r}: {other[:3]} are no tensors.")
    return {str(key): value.contiguous() for key, value in state.items()}
