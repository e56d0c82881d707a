"""A 3D ResNet inflated from a 2D one, as the CT backbones of Merlin and Astra are.

Bottleneck blocks with the stride in the middle convolution (He et al. 2015; inflation: Carreira and
Zisserman 2017). Parameters are named as those projects publish them. Slices come first, as
`(B, C, Z, X, Y)`, inside only.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from lib.shapes import CellBatch, VoxelBatch

_EXPANSION = 4


class Bottleneck(nn.Module):
    """Three convolutions and a way around them.

    Args:
        inputs: channels that come in.
        width: channels of the middle convolution; four times as many come out.
        stride: of the middle convolution.
        reshapes: the way around has a convolution of its own.
    """

    def __init__(self, inputs: int, width: int, stride: int, *, reshapes: bool) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        self.conv1 = nn.Conv3d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(outputs)
        self.downsample = (
            nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm3d(outputs))
            if reshapes
            else nn.Identity()
        )

    def forward(self, grid: CellBatch) -> CellBatch:
        """The block's output; half the size along each axis where it has a stride."""
        inner = self.bn1(self.conv1(grid)).relu_()
        inner = self.bn2(self.conv2(inner)).relu_()
        return (self.bn3(self.conv3(inner)) + self.downsample(grid)).relu_()


class InflatedResNet(nn.Module):
    """A backbone of four stages, each with half the resolution of the one before.

    Args:
        blocks: in each stage; ResNet-152 has 3, 8, 36 and 3.
        width: channels of the first convolution.
    """

    def __init__(self, blocks: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        inputs = width
        self.stage_names: list[str] = []
        for number, count in enumerate(blocks):
            inner, stride = width << number, 1 if number == 0 else 2
            stage = [Bottleneck(inputs, inner, stride, reshapes=True)]
            inputs = inner * _EXPANSION
            stage += [Bottleneck(inputs, inner, 1, reshapes=False) for _ in range(1, count)]
            self.stage_names.append(f"layer{number + 1}")
            self.add_module(self.stage_names[-1], nn.Sequential(*stage))

    def forward(self, voxels: VoxelBatch, stages: Sequence[str]) -> dict[str, Tensor]:
        """Feature maps of stages, along the voxels' own axes; later stages than the last wanted are not run.

        Args:
            voxels: from 0 to 1, along right, anterior and superior.
            stages: names, `layer1` to `layer4`; along i and j they are 4, 8, 16 and 32 times as coarse as the
                voxels, along k 2, 4, 8 and 16 times.
        """
        grid = voxels.movedim(-1, 2).expand(-1, 3, -1, -1, -1)
        grid = self.maxpool(self.bn1(self.conv1(grid)).relu_())
        found: dict[str, Tensor] = {}
        for name in self.stage_names:
            if len(found) == len(set(stages)):
                break
            grid = self.get_submodule(name)(grid)
            if name in stages:
                found[name] = grid.movedim(2, -1)
        return found
