"""Reads a part of a CT at once: a frozen 3D network, and the features of its inner stages.

The inner stages are what a mask needs: with voxels of 1.5 x 1.5 x 3 mm, Astra's last stage has cells of
48 mm, in which left and right kidney are two cells apart; its second has cells of 12 mm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.errors import InputError
from lib.model.inflated_resnet import InflatedResNet
from lib.model.install import read_tensors
from lib.model.strict import load_all
from lib.model.volume_config import VolumeConfig, VolumeNetwork, load_volume_config
from lib.model.weights import find_entry
from lib.shapes import CellBatch, CellFeatures, PatchVoxels, VoxelBatch


@dataclass(frozen=True, eq=False)
class VolumeFeatures:
    """What a volume encoder sees in a patch.

    Attributes:
        stages: name to features, shape (channels, cells along i, j, k); finer stages first.
        cell_mm: name to the size of a cell along right, anterior and superior; the first begins where the
            patch does.
    """

    stages: Mapping[str, CellFeatures]
    cell_mm: Mapping[str, tuple[float, float, float]]


class VolumeEncoder:
    """A frozen volume encoder.

    Args:
        network: in eval mode, without gradients.
        config: how it is used.
    """

    def __init__(self, network: nn.Module, config: VolumeConfig) -> None:
        self.network = network
        self.config = config

    @torch.inference_mode()
    def encode(self, patch: PatchVoxels) -> VolumeFeatures:
        """Features of a patch.

        Args:
            patch: from 0 to 1, on the configuration's spacing along right, anterior and superior, as
                `lib.transforms.volume_patch` makes it.

        Raises:
            InputError: the patch is larger than the configuration says, or not as a ViT wants it.
        """
        self._check(patch)
        found = self.network(patch[None, None], self.config.stages)
        return VolumeFeatures(
            {name: found[name][0] for name in self.config.stages},
            {name: self._cell_mm(name) for name in self.config.stages},
        )

    def _check(self, patch: Tensor) -> None:
        size, most = tuple(patch.shape), self.config.patch_ijk
        exact = self.config.network is VolumeNetwork.MONAI_VIT
        if (exact and size != most) or any(n > limit for n, limit in zip(size, most, strict=True)):
            bound = "exactly" if exact else "at most"
            raise InputError(f"A patch for {self.config.name} has {bound} {most} voxels; got {size}.")

    def _cell_mm(self, stage: str) -> tuple[float, float, float]:
        i, j, k = (
            voxels * mm
            for voxels, mm in zip(self.config.cell_voxels(stage), self.config.spacing_mm, strict=True)
        )
        return (i, j, k)


class _MonaiVit(nn.Module):
    """MONAI's ViT, with features on a grid."""

    def __init__(self, config: VolumeConfig) -> None:
        super().__init__()
        # imported here: it is slow, and only such weights need it
        from monai.networks.nets import ViT  # noqa: PLC0415

        cell = config.cell_voxels(config.stages[0])
        self.cells = tuple(n // voxels for n, voxels in zip(config.patch_ijk, cell, strict=True))
        self.known = config.known_stages
        self.vit = ViT(
            in_channels=1,
            img_size=config.patch_ijk,
            patch_size=cell,
            hidden_size=config.width,
            mlp_dim=4 * config.width,
            num_layers=config.blocks[0],
            num_heads=config.heads,
        )

    def forward(self, voxels: VoxelBatch, stages: tuple[str, ...]) -> dict[str, CellBatch]:
        _, inner = self.vit(voxels)
        return {
            name: inner[self.known.index(name)].movedim(1, -1).unflatten(-1, self.cells) for name in stages
        }


def build_volume_network(config: VolumeConfig) -> nn.Module:
    """The network of a configuration, with random parameters."""
    if config.network is VolumeNetwork.MONAI_VIT:
        return _MonaiVit(config)
    return InflatedResNet(config.blocks, config.width)


def load_parameters(network: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Load parameters as published, strictly.

    Raises:
        WeightsError: one is missing, unexpected or of another shape.
    """
    load_all(network.vit if isinstance(network, _MonaiVit) else network, tensors, name)


def load_volume_encoder(
    name: str, weights_dir: Path, device: torch.device, dtype: torch.dtype = torch.float32
) -> VolumeEncoder:
    """Load an installed volume encoder.

    Args:
        name: of the weights.
        weights_dir: where `medvl weights fetch` put them.
        device: where it runs.
        dtype: in which it computes; patches must have it.

    Raises:
        WeightsError: unknown, missing, altered, or not fitting the configuration.
    """
    config = load_volume_config(find_entry(name, weights_dir).config)
    network = build_volume_network(config)
    load_parameters(network, read_tensors(name, weights_dir), name)
    network.to(device, dtype).eval().requires_grad_(requires_grad=False)
    return VolumeEncoder(network, config)
