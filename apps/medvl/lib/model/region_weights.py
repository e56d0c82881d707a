"""A trained RegionPrior from the weights folder."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lib.errors import WeightsError
from lib.model.config import CONFIG_DIR, parse, read_yaml
from lib.model.install import read_tensors
from lib.model.region_prior import RegionPrior, RegionPriorConfig
from lib.model.weights import find_installed

REGION_WEIGHTS = "medvl-regions"


def load_region_prior(name: str, weights_dir: Path) -> tuple[RegionPrior, str]:
    """The network in eval mode, and its weights' hash.

    Args:
        name: of the weights.
        weights_dir: where they are installed.

    Raises:
        WeightsError: not installed, altered, or not those of the network that their configuration describes.
        ConfigError: a wrong configuration.
    """
    installed = find_installed(name, weights_dir)
    network = region_prior_of(installed.config, read_tensors(name, weights_dir), name)
    return network, installed.sha256


def load_region_config(name: str) -> RegionPriorConfig:
    """The configuration of this name in configs/regions.

    Raises:
        ConfigError: there is none, or it is wrong.
    """
    path = CONFIG_DIR / "regions" / f"{name}.yaml"
    return parse(RegionPriorConfig, read_yaml(path), path.name)


def region_prior_of(config: str, tensors: Mapping[str, Tensor], name: str) -> RegionPrior:
    """The network in eval mode with these parameters.

    Args:
        config: of the network, in configs/regions.
        tensors: its parameters, in any precision.
        name: of the weights, for messages.

    Raises:
        WeightsError: they are not those of the network that the configuration describes.
        ConfigError: a wrong configuration.
    """
    network = RegionPrior(load_region_config(config))
    try:
        network.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"The weights {name!r} do not fit {config}.yaml; fetch them again: medvl weights fetch {name}"
        ) from error
    return network.eval()
