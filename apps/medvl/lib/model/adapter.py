"""Low-rank adapters of a language model (LoRA), through peft; parameters come from our own safetensors.

An adapter adds `alpha / rank * B A x` to a layer's output; B begins as zero, so that a new adapter changes
nothing (Hu et al., LoRA, 2021).
"""

from typing import Any

import torch
from torch import nn

from lib.errors import ConfigError
from lib.model.language_config import LanguageConfig

_SEED = 0
_MARK = "lora_"


def add_adapter(network: nn.Module, config: LanguageConfig) -> None:
    """Put a new adapter into a network; its first values are always the same.

    Args:
        network: is changed.
        config: rank, scale, and which layers.

    Raises:
        ConfigError: no layer has one of the names.
    """
    # imported here: it takes seconds, and only language models need it
    from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415

    settings = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=list(config.targets), lora_dropout=0.0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        try:
            inject_adapter_in_model(settings, network)
        except ValueError as error:
            raise ConfigError(f"{config.name}: no layers are called {list(config.targets)}.") from error


def adapter_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's parameters, by their names in the network; none where there is no adapter."""
    return {name: value for name, value in network.named_parameters() if _MARK in name}


def merge_adapter(network: nn.Module) -> None:
    """Add the adapter to the layers that it adapts, for speed; it cannot be trained afterwards."""
    adapted: Any
    for adapted in network.modules():
        if hasattr(adapted, "lora_A") and hasattr(adapted, "merge"):
            adapted.merge()
