"""A trained PicturePrior from the weights folder."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lib.errors import WeightsError
from lib.model.config import CONFIG_DIR, parse, read_yaml
from lib.model.install import read_tensors
from lib.model.picture_prior import PicturePrior, PicturePriorConfig
from lib.model.weights import find_installed

PICTURE_WEIGHTS = "medvl-pictures"


def load_picture_prior(name: str, weights_dir: Path) -> tuple[PicturePrior, str]:
    """The network in eval mode, and its weights' hash.

    Args:
        name: of the weights.
        weights_dir: where they are installed.

    Raises:
        WeightsError: not installed, altered, or not those of the network that their configuration describes.
        ConfigError: a wrong configuration.
    """
    installed = find_installed(name, weights_dir)
    return picture_prior_of(installed.config, read_tensors(name, weights_dir), name), installed.source_sha256


def load_picture_config(name: str) -> PicturePriorConfig:
    """The configuration of this name in configs/pictures.

    Raises:
        ConfigError: there is none, or it is wrong.
    """
    path = CONFIG_DIR / "pictures" / f"{name}.yaml"
    return parse(PicturePriorConfig, read_yaml(path), path.name)


def picture_prior_of(config: str, tensors: Mapping[str, Tensor], name: str) -> PicturePrior:
    """The network in eval mode with these parameters.

    Args:
        config: of the network, in configs/pictures.
        tensors: its parameters, in any precision.
        name: of the weights, for messages.

    Raises:
        WeightsError: they are not those of the network that the configuration describes.
        ConfigError: a wrong configuration.
    """
    network = PicturePrior(load_picture_config(config))
    try:
        network.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"The weights {name!r} do not fit {config}.yaml; fetch them again: medvl weights fetch {name}"
        ) from error
    return network.eval()
