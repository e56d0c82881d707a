"""Reads weights as they are published, and names the parameters as the networks here do."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from lib.errors import WeightsError
from lib.model.gguf_file import Published, read_gguf
from lib.model.weights import CheckpointFormat, WeightsKind

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
_VOLUME_PREFIX = re.compile(r"^(?:module\.)?(?:.*i3_resnet\.)?")
_VOLUME_HEADS = ("classifier.", "contrastive_head.")
_SAFETENSORS = (
    CheckpointFormat.MEDVL,
    CheckpointFormat.SENTENCES,
    CheckpointFormat.REPORTS,
    CheckpointFormat.REGIONS,
    CheckpointFormat.PICTURES,
)
_WITH_TEXTS = (CheckpointFormat.SENTENCES, CheckpointFormat.REPORTS)
_PRETRAINING_HEADS = ("classification_head.",)


def read_published(path: Path, layout: CheckpointFormat) -> Published:
    """Read published weights with the texts that belong to them.

    Args:
        path: the file.
        layout: how it is laid out.

    Raises:
        WeightsError: the file is not laid out so, or holds anything but tensors and texts.
    """
    if layout is CheckpointFormat.GGUF:
        return read_gguf(path)
    texts = read_texts(path) if layout in _WITH_TEXTS else {}
    return Published(read_checkpoint(path, layout), texts)


def read_texts(path: Path) -> dict[str, str]:
    """The texts in a safetensors file.

    Raises:
        WeightsError: it is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"The weights are no safetensors file ({error}); fetch them again.") from error


def read_checkpoint(path: Path, layout: CheckpointFormat) -> dict[str, Tensor]:
    """Read published weights, nothing but tensors, and name them as the networks here do.

    Args:
        path: the file.
        layout: how it is laid out.

    Raises:
        WeightsError: the file is not laid out so, or holds anything but tensors.
    """
    if layout in _SAFETENSORS:
        return _read_safetensors(path)
    if layout.kind is WeightsKind.VOLUME:
        return _volume_parameters(path, layout)
    content = _read_torch(path)
    if layout is CheckpointFormat.SAM2:
        return _checked(content.get("model"), layout)
    return {_renamed(key): value for key, value in _checked(content, layout).items()}


def _volume_parameters(path: Path, layout: CheckpointFormat) -> dict[str, Tensor]:
    """Of a volume encoder, without the heads that it was trained with; bfloat16."""
    state: Any
    if _looks_like_safetensors(path):
        state = _read_safetensors(path)
    else:
        content = _read_torch(path)
        state = next((content[key] for key in ("state_dict", "model") if key in content), content)
    tensors = _checked(state, layout)
    inner = {key: value for key, value in tensors.items() if "i3_resnet." in key} or tensors
    heads = _VOLUME_HEADS if layout is CheckpointFormat.INFLATED_RESNET else _PRETRAINING_HEADS
    named = {_VOLUME_PREFIX.sub("", key): value for key, value in inner.items()}
    return {
        key: value.bfloat16() if value.is_floating_point() else value
        for key, value in named.items()
        if not key.startswith(heads)
    }


def _renamed(key: str) -> str:
    for pattern, replacement in _LITE_MEDSAM_NAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"The weights are no safetensors file ({error}); fetch them again.") from error


def _looks_like_safetensors(path: Path) -> bool:
    """They begin with the size, 8 bytes, of a JSON text."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


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
