"""RegionPrior: where in a scan a structure probably is, as the similarity of its query to every place.

Sim4Seg compares the state of the [SEG] token with the image tokens, and gives the similarities to the
segmenter as a mask prompt. A VLM's image tokens are too coarse for that in three dimensions (tens of
millimetres), so the tokens here come from a small convolutional encoder on a grid of 7 mm, fine enough to
tell neighbouring organs. A query (of the [SEG] state, or of a structure's name) is compared with all of
them; what comes out is signed: positive where the structure is more likely than everything else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lib.shapes import NameLogits, PaddedBatch, QueryBatch, RegionBatch, RegionLogits, TokenGrid

GRID_MM = 7.0
"""Side of a cell of the grid that scans are resampled to."""
WINDOWS_HU = ((-160.0, 240.0), (-1000.0, 200.0), (0.0, 1000.0))
"""Soft tissue, lung and bone; each becomes a channel of -1 to 1."""
CHANNELS = len(WINDOWS_HU) + 2
"""The windows, and how far a place is to the patient's left and front of the body's middle."""
_STEP = 16
"""Four times the grid is halved: sides are padded to multiples of this."""


@dataclass(frozen=True)
class RegionPriorConfig:
    """The network's size.

    Attributes:
        names: structures with a query of their own; the first query is that of "none of them".
        widths: channels from the finest to the coarsest level.
        query_size: channels of tokens and queries.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    query_size: int = 24


class RegionPrior(nn.Module):
    """Tokens of a scan, queries of structures, and their similarity.

    Args:
        config: the network's size.
    """

    def __init__(self, config: RegionPriorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = _block(CHANNELS, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(_block(fine, coarse, stride=2), _block(coarse, coarse))
            for fine, coarse in pairwise(widths)
        )
        self.reduce = nn.ModuleList(
            nn.Conv3d(coarse, fine, kernel_size=1) for fine, coarse in pairwise(widths)
        )
        self.up = nn.ModuleList(_block(width, width) for width in widths[1:-1])
        self.tokens_out = nn.Sequential(
            _block(widths[0], config.query_size),
            nn.Conv3d(config.query_size, config.query_size, kernel_size=1),
        )
        self.queries = nn.Parameter(torch.randn(len(config.names) + 1, config.query_size) * 0.2)
        self.offsets = nn.Parameter(torch.zeros(len(config.names) + 1))
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                # a third faster on a CPU
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)

    @property
    def look_size(self) -> int:
        """Channels of the features that `see` gives."""
        return self.config.query_size + self.config.widths[0]

    def tokens(self, scan: RegionBatch) -> TokenGrid:
        """A token for every cell of the grid.

        Args:
            scan: channels as `region_channels` makes them, (B, CHANNELS, I, J, K).
        """
        return self._tokens_and_stem(scan)[0]

    def _tokens_and_stem(self, scan: RegionBatch) -> tuple[TokenGrid, TokenGrid]:
        """The tokens, and the first layer's features, which tell intensities where tokens tell names."""
        size = scan.shape[-3:]
        stem = self.stem(_padded(scan))
        levels = [stem]
        for down in self.down:
            levels.append(down(levels[-1]))
        grown = levels.pop()
        for number in range(len(levels) - 1, -1, -1):
            fine = levels[number]
            spread = interpolate(
                self.reduce[number](grown), size=fine.shape[-3:], mode="trilinear", align_corners=False
            )
            grown = fine + spread
            if number:
                grown = self.up[number - 1](grown)
        tokens, features = (
            grid[..., : size[0], : size[1], : size[2]] for grid in (self.tokens_out(grown), stem)
        )
        return tokens, features

    def similarity(self, tokens: TokenGrid, queries: QueryBatch | None = None) -> RegionLogits:
        """Similarity of every token with every query; the softmax over queries is that of the names.

        Args:
            tokens: (B, C, I, J, K).
            queries: (Q, C); None: those of "none of them" and of all names, with their offsets.
        """
        if queries is None:
            return torch.einsum("bcijk,qc->bqijk", tokens, self.queries) + self.offsets.view(-1, 1, 1, 1)
        return torch.einsum("bcijk,qc->bqijk", tokens, queries)

    def forward(self, scan: RegionBatch) -> RegionLogits:
        """Similarities with all queries of its own, (B, 1 + names, I, J, K)."""
        return self.see(scan)[0]

    def see(self, scan: RegionBatch) -> tuple[RegionLogits, TokenGrid]:
        """The similarities, and features that tell what every place looks like, (B, look size, I, J, K)."""
        tokens, stem = self._tokens_and_stem(scan)
        return self.similarity(tokens), torch.cat([tokens, stem], dim=1)


def mirrored_numbers(names: Sequence[str]) -> list[int]:
    """For each name the number of its other side's, or its own: what it is called in a mirrored patient."""
    other = {"left": "right", "right": "left"}
    numbers = []
    for name in names:
        stem, _, side = name.rpartition("_")
        numbers.append(names.index(f"{stem}_{other[side]}" if side in other else name))
    return numbers


def region_channels(hu: Tensor, beside_mm: Tensor, before_mm: Tensor) -> RegionBatch:
    """What the network sees of a scan.

    Args:
        hu: Hounsfield units on the grid, (I, J, K); the axes are those of RAS+.
        beside_mm: each cell's RAS+ x from the body's middle, broadcastable to (I, J, K).
        before_mm: its RAS+ y from there.
    """
    windows = [((hu - low) / (high - low)).clamp(0, 1) * 2 - 1 for low, high in WINDOWS_HU]
    places = [(offset / 200.0).expand_as(hu) for offset in (beside_mm, before_mm)]
    return torch.stack([*windows, *places])[None]


def signed_logits(similarity: RegionLogits) -> NameLogits:
    """Log odds of each name against everything else: (B, names, I, J, K), without "none of them"."""
    everything = torch.logsumexp(similarity, dim=1, keepdim=True)
    share = (similarity - everything)[:, 1:].clamp(max=-1e-6)
    return share - torch.log(-torch.expm1(share))


def _padded(scan: RegionBatch) -> PaddedBatch:
    missing = [(-side) % _STEP for side in scan.shape[-3:]]
    return nn.functional.pad(scan, (0, missing[2], 0, missing[1], 0, missing[0]), value=-1.0)


def _block(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inside, outside, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(min(8, outside // 4), outside),
        nn.LeakyReLU(0.1, inplace=True),
    )
