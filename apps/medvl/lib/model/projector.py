"""From features of a volume to visual tokens: what a language model reads before the words."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool3d, gelu

from lib.errors import ConfigError
from lib.shapes import CellBatch, TokenBatch, TokenEmbeddings

_AXES = 3


class Projector(nn.Module):
    """Features of one or more stages on a common, bounded grid of tokens, each of which knows its place.

    Args:
        channels: of each stage.
        hidden_size: of the language model.
        cells: tokens along right, anterior and superior; the patch is always covered.
    """

    def __init__(self, channels: Sequence[int], hidden_size: int, cells: tuple[int, int, int]) -> None:
        super().__init__()
        if min(cells) < 1 or not channels:
            raise ConfigError(
                f"A projector needs channels and a grid of 1 or more; got {list(channels)}, {cells}."
            )
        self.cells = cells
        self.norms = nn.ModuleList([nn.LayerNorm(count) for count in channels])
        self.inner = nn.Linear(sum(channels), hidden_size)
        self.place = nn.Linear(_AXES, hidden_size)
        self.outer = nn.Linear(hidden_size, hidden_size)

    @property
    def tokens(self) -> int:
        """Number of visual tokens."""
        return self.cells[0] * self.cells[1] * self.cells[2]

    def forward(self, stages: Sequence[CellBatch]) -> TokenBatch:
        """Visual tokens, shape (B, tokens, hidden size); superior last, as the grid is read.

        Args:
            stages: features of each stage, shape (B, channels, cells along i, j, k).
        """
        pooled = [adaptive_avg_pool3d(stage, self.cells).flatten(2).movedim(1, 2) for stage in stages]
        seen = torch.cat([norm(grid) for norm, grid in zip(self.norms, pooled, strict=True)], dim=-1)
        return self.outer(gelu(self.inner(seen) + self.place(self._places().to(seen))))

    def _places(self) -> TokenEmbeddings:
        """Centres of the cells, from -1 to 1 along each axis, shape (tokens, 3)."""
        axes = [(2 * torch.arange(count) + 1) / count - 1 for count in self.cells]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)
