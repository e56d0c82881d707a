"""Loading parameters strictly: exactly those that a network has, each of its shape."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lib.errors import WeightsError


def load_all(network: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Load all parameters and buffers of a network, in its own precision.

    Args:
        network: takes them.
        tensors: by name.
        name: of the weights, for messages.

    Raises:
        WeightsError: one is missing, unexpected or of another shape.
    """
    load_exactly(network.state_dict(), tensors, name)


@torch.no_grad()
def load_exactly(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], name: str) -> None:
    """Copy tensors into those of a network.

    Args:
        own: the network's, by name; changed in place.
        tensors: as many, with the same names.
        name: of the weights, for messages.

    Raises:
        WeightsError: one is missing, unexpected or of another shape; nothing was changed.
    """
    shared = set(own) & set(tensors)
    faults = {
        "missing": sorted(set(own) - shared),
        "unexpected": sorted(set(tensors) - shared),
        "of another shape": sorted(key for key in shared if own[key].shape != tensors[key].shape),
    }
    if any(faults.values()):
        listed = ", ".join(f"{len(keys)} {fault} {keys[:3]}" for fault, keys in faults.items() if keys)
        raise WeightsError(
            f"The weights {name!r} do not fit the network: {listed}; use the configuration that they were "
            "trained with."
        )
    for key, value in own.items():
        value.copy_(tensors[key])
