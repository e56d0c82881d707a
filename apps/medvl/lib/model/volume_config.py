"""Settings of a volume encoder, read once from `configs/volume/NAME.yaml`."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lib.errors import ConfigError
from lib.model.config import CONFIG_DIR, parse, read_yaml

VOLUME_DIR = CONFIG_DIR / "volume"
_VIT_PATCH = 16


class VolumeNetwork(StrEnum):
    """Which network reads the voxels."""

    INFLATED_RESNET = "inflated-resnet"
    MONAI_VIT = "monai-vit"


@dataclass(frozen=True)
class VolumeConfig:
    """A network that reads a part of a CT at once, and how the voxels are prepared.

    Attributes:
        name: of this configuration; equals the file's name.
        network: the network.
        spacing_mm: of the voxels that it reads, along right, anterior and superior.
        hu_range: what becomes 0 and 1; values beyond are cut off.
        patch_ijk: voxels that it reads at once; a ViT reads exactly so many, a ResNet at most.
        stages: whose features are given, coarser and coarser: `layer1` to `layer4` of a ResNet, `block1` and
            so on of a ViT.
        blocks: in each stage of a ResNet; of a ViT their one number.
        width: channels of a ResNet's first convolution, or of a ViT's tokens.
        heads: of a ViT's attention; 0 for a ResNet.
    """

    name: str
    network: VolumeNetwork
    spacing_mm: tuple[float, float, float]
    hu_range: tuple[float, float]
    patch_ijk: tuple[int, int, int]
    stages: tuple[str, ...]
    blocks: tuple[int, ...]
    width: int
    heads: int

    def __post_init__(self) -> None:
        known = self.known_stages
        if not self.stages or not set(self.stages) <= set(known):
            raise ConfigError(f"{self.name}: stages must be some of {list(known)}; got {list(self.stages)}.")
        if self.hu_range[0] >= self.hu_range[1] or min(self.spacing_mm) <= 0 or min(self.patch_ijk) < 1:
            raise ConfigError(
                f"{self.name}: hu_range must rise, spacing_mm and patch_ijk be above 0; got {self.hu_range}, "
                f"{self.spacing_mm} and {self.patch_ijk}."
            )

    @property
    def known_stages(self) -> tuple[str, ...]:
        """All stages of the network, in order."""
        if self.network is VolumeNetwork.INFLATED_RESNET:
            return tuple(f"layer{number}" for number in range(1, len(self.blocks) + 1))
        return tuple(f"block{number}" for number in range(1, self.blocks[0] + 1))

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the features of each of the stages."""
        if self.network is VolumeNetwork.MONAI_VIT:
            return (self.width,) * len(self.stages)
        return tuple(self.width * 4 << self.known_stages.index(stage) for stage in self.stages)

    def cell_voxels(self, stage: str) -> tuple[int, int, int]:
        """Voxels of the input for each cell of a stage's features."""
        if self.network is VolumeNetwork.MONAI_VIT:
            return (_VIT_PATCH, _VIT_PATCH, _VIT_PATCH)
        coarse = 4 << self.known_stages.index(stage)
        return (coarse, coarse, coarse // 2)


def load_volume_config(name: str, folder: Path = VOLUME_DIR) -> VolumeConfig:
    """Read `folder/NAME.yaml`.

    Raises:
        ConfigError: no such file, or a key or value that is wrong.
    """
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"No volume configuration is called {name!r}; known are {known}.")
    return parse(VolumeConfig, read_yaml(folder / f"{name}.yaml"), f"{name}.yaml")
