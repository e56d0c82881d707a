"""PicturePrior: what a picture is, where its target is, and what it may show, from the segmenter's embedding.

RegionPrior for pictures (Sim4Seg's similarity region, Song et al., AAAI 2026): a learned [SEG] query of
each target is compared with tokens of the picture. The similarity is a map of signed logits on two grids:
that of the embedding's cells, and a finer one, for which a few convolutions look at the picture itself, as
vessels are thinner than a cell. The same query, after attending to the tokens, gives the single vector of the
coupling `seg_token`, which is all that the mask decoder is then told.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lib.errors import ConfigError

FINE_SIDE = 512
"""Side of the canvas of the finer map, in pixels."""
EMBEDDING_CHANNELS = 256
PROMPT_CHANNELS = 256
_FREQUENCIES = 4
_HEADS = 4
_STATISTICS = 2 * EMBEDDING_CHANNELS

Embeddings = Float[Tensor, "batch 256 cells cells"]
Inside = Float[Tensor, "batch 1 cells cells"]
FinePictures = Float[Tensor, "batch 3 fine_h fine_w"]
CellMaps = Float[Tensor, "batch query cells cells"]
FineMaps = Float[Tensor, "batch query fine_h fine_w"]
Tokens = Float[Tensor, "batch channel token_h token_w"]
WideTokens = Float[Tensor, "batch wide_channel wide_h wide_w"]
WideInside = Float[Tensor, "batch 1 wide_h wide_w"]
PromptVectors = Float[Tensor, "batch 256"]
ClassLogits = Float[Tensor, "batch _classes"]
Statistics = Float[Tensor, "batch _statistics"]


@dataclass(frozen=True)
class PictureKind:
    """A kind of picture that the weights know.

    Attributes:
        modality: as manifests name it.
        target: what is drawn in such pictures.
        conditions: that the weights were taught to tell; empty where the data name none.
        map_share: share of the map, beside what the decoder draws from it, in the final mask, 0 to 1.
        familiar_distance: pictures farther than this from those that were learned from are strange.
    """

    modality: str
    target: str
    conditions: tuple[str, ...] = ()
    map_share: float = 0.5
    familiar_distance: float = 1.2


@dataclass(frozen=True)
class PicturePriorConfig:
    """What the network knows, in the order of its weights, and its size.

    Attributes:
        kinds: of pictures; each has a query of its own, and one more query is that of any target.
        widths: channels on the embedding's cells, on cells twice and four times as wide.
        fine_widths: channels on the finer grid, and on grids of a half and a quarter of it.
    """

    kinds: tuple[PictureKind, ...]
    widths: tuple[int, int, int] = (64, 80, 112)
    fine_widths: tuple[int, int, int] = (8, 16, 32)

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ConfigError("A PicturePrior needs at least one kind of picture.")

    @property
    def conditions(self) -> tuple[str, ...]:
        """Of all kinds, in order."""
        return tuple(condition for kind in self.kinds for condition in kind.conditions)

    def conditions_of(self, kind: int) -> slice:
        """Where a kind's conditions lie among all."""
        before = sum(len(one.conditions) for one in self.kinds[:kind])
        return slice(before, before + len(self.kinds[kind].conditions))


@dataclass(frozen=True, eq=False)
class PictureTokens:
    """What the network makes of a batch of pictures before it is asked for a target.

    Attributes:
        cells: tokens on the embedding's cells.
        wide: tokens on cells four times as wide.
        inside: which of the wide cells show the picture.
        modality: logits of the kinds.
    """

    cells: Tokens
    wide: WideTokens
    inside: WideInside
    modality: ClassLogits


class PicturePrior(nn.Module):
    """Tokens of a picture, queries of targets, their similarity, and classes.

    Args:
        config: what it knows, and its size.
    """

    familiar_mean: Tensor
    familiar_axes: Tensor

    def __init__(self, config: PicturePriorConfig) -> None:
        super().__init__()
        self.config = config
        fine, middle, wide = config.widths
        self.reduce = nn.Sequential(_block(EMBEDDING_CHANNELS, fine, kernel=1), _Residual(fine))
        self.down = nn.ModuleList(
            [
                nn.Sequential(_block(fine, middle, stride=2), _Residual(middle)),
                nn.Sequential(_block(middle, wide, stride=2), _Residual(wide), _Residual(wide, dilation=2)),
            ]
        )
        self.join = nn.ModuleList([nn.Conv2d(wide, middle, 1), nn.Conv2d(middle, fine, 1)])
        self.up = nn.ModuleList([_Residual(middle), _Residual(fine)])
        count = len(config.kinds) + 1
        self.queries = nn.Parameter(torch.randn(count, fine) * 0.2)
        self.offsets = nn.Parameter(torch.full((count,), -1.0))
        self.modality = nn.Linear(2 * wide, len(config.kinds))
        self.blind = nn.Linear(2 * wide, max(1, len(config.conditions)))
        self.seeing = nn.Linear(4 * wide, max(1, len(config.conditions)))
        self.fine = _FineMap(fine, config.fine_widths)
        self.seg = _SegVector(fine, wide)
        self.register_buffer("familiar_mean", torch.zeros(len(config.kinds), _STATISTICS))
        self.register_buffer("familiar_axes", torch.zeros(_STATISTICS, _FAMILIAR_AXES))

    def tokens(self, embedding: Embeddings, inside: Inside) -> PictureTokens:
        """Everything that does not depend on the target.

        Args:
            embedding: of the slice encoder.
            inside: 1 where the canvas shows the picture, 0 beside it.
        """
        levels = [self.reduce(embedding) * inside]
        for down in self.down:
            levels.append(down(levels[-1]))
        wide = grown = levels.pop()
        for join, up in zip(self.join, self.up, strict=True):
            skip = levels.pop()
            spread = interpolate(join(grown), size=skip.shape[-2:], mode="bilinear", align_corners=False)
            grown = up(skip + spread)
        there = nn.functional.adaptive_avg_pool2d(inside, wide.shape[-2:])
        return PictureTokens(grown, wide, there, self.modality(_pooled(wide, there)))

    def similarity(self, tokens: PictureTokens, queries: Tensor | None = None) -> CellMaps:
        """Signed logits of each query on the embedding's cells.

        Args:
            tokens: of the pictures.
            queries: numbers of queries, shape (Q,); None for all.
        """
        vectors, offsets = (
            (self.queries, self.offsets)
            if queries is None
            else (self.queries[queries], self.offsets[queries])
        )
        return torch.einsum("bchw,qc->bqhw", tokens.cells, vectors) + offsets.view(1, -1, 1, 1)

    def fine_map(self, tokens: Tokens, picture: FinePictures, query: Tensor, cells: Tensor) -> FineMaps:
        """Signed logits of one query for each picture on the finer grid.

        Args:
            tokens: on the embedding's cells, or a part of them.
            picture: 0 to 1, the same part of the finer canvas.
            query: its number for each picture, shape (B,).
            cells: its similarity on the same part, shape (B, 1, cells, cells).
        """
        return self.fine(tokens, picture, self.queries[query], cells)

    def seg_vector(self, tokens: PictureTokens, query: Tensor) -> PromptVectors:
        """The sparse prompt of one query for each picture.

        Args:
            tokens: of the pictures.
            query: its number for each picture, shape (B,).
        """
        return self.seg(tokens, self.queries[query])

    def conditions(self, tokens: PictureTokens, region: Inside | None) -> ClassLogits:
        """Logits of all conditions.

        Args:
            tokens: of the pictures.
            region: the target's probability on the embedding's cells; None: it is not looked at.
        """
        whole = _pooled(tokens.wide, tokens.inside)
        if region is None:
            return self.blind(whole)
        height, width = tokens.wide.shape[-2:]
        share = nn.functional.adaptive_avg_pool2d(region, (height, width)) * tokens.inside
        around = (1 - share) * tokens.inside
        return self.seeing(torch.cat([whole, _mean(tokens.wide, share), _mean(tokens.wide, around)], dim=1))

    def distance(self, embedding: Embeddings, inside: Inside) -> ClassLogits:
        """How far a picture is from each kind, in standard deviations of what it was taught from."""
        centred = statistics(embedding, inside)[:, None] - self.familiar_mean
        return torch.linalg.vector_norm(centred @ self.familiar_axes, dim=-1) / math.sqrt(_FAMILIAR_AXES)


_FAMILIAR_AXES = _STATISTICS


def statistics(embedding: Embeddings, inside: Inside) -> Statistics:
    """Mean and standard deviation of each channel over the picture."""
    weight = inside / inside.sum(dim=(2, 3), keepdim=True)
    mean = (embedding * weight).sum(dim=(2, 3))
    spread = ((embedding - mean[..., None, None]) ** 2 * weight).sum(dim=(2, 3)).clamp(min=1e-8).sqrt()
    return torch.cat([mean, spread], dim=1)


class _FineMap(nn.Module):
    """Adds to the similarity on cells what can be seen on the picture only."""

    def __init__(self, tokens: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = widths
        self.first = _block(6, first)
        self.second = nn.Sequential(_block(first, second, stride=2), _block(second, second))
        self.third = nn.Sequential(_block(second, third, stride=2), _block(third, third))
        self.tokens = nn.Conv2d(tokens, third, 1)
        self.joined = _Residual(third)
        self.up_second = nn.Conv2d(third, second, 1)
        self.mix_second = _Residual(second)
        self.up_first = nn.Conv2d(second, first, 1)
        self.mix_first = _block(first, first)
        self.query = nn.Linear(tokens, first + 1)

    def forward(self, tokens: Tensor, picture: Tensor, query: Tensor, cells: Tensor) -> Tensor:
        first = self.first(_with_contrast(picture))
        second = self.second(first)
        third = self.third(second)
        third = self.joined(third + _as(self.tokens(tokens), third))
        second = self.mix_second(second + _as(self.up_second(third), second))
        first = self.mix_first(first + _as(self.up_first(second), first))
        vector = self.query(query)
        own = torch.einsum("bchw,bc->bhw", first, vector[:, :-1])[:, None]
        return _as(cells, first) + own + vector[:, -1].view(-1, 1, 1, 1)


class _SegVector(nn.Module):
    """The query attends to the picture's wide cells, which know their places."""

    def __init__(self, query: int, wide: int) -> None:
        super().__init__()
        placed = wide + 4 * _FREQUENCIES
        self.ask = nn.Linear(query, wide)
        self.key = nn.Linear(placed, wide)
        self.value = nn.Linear(placed, wide)
        self.inner = nn.Linear(wide + query, PROMPT_CHANNELS)
        self.outer = nn.Linear(PROMPT_CHANNELS, PROMPT_CHANNELS)

    def forward(self, tokens: PictureTokens, query: Tensor) -> Tensor:
        batch, _, height, width = tokens.wide.shape
        place = _places(height, width).to(tokens.wide).expand(batch, -1, -1, -1)
        cells = torch.cat([tokens.wide, place], dim=1).flatten(2).transpose(1, 2)
        asked = self.ask(query).view(batch, _HEADS, 1, -1)
        keys, values = (
            part(cells).view(batch, height * width, _HEADS, -1).transpose(1, 2)
            for part in (self.key, self.value)
        )
        hidden = tokens.inside.flatten(2)[:, :, None] < 0.5
        scores = (asked @ keys.transpose(-1, -2)) / math.sqrt(keys.shape[-1])
        weights = scores.masked_fill(hidden, -1e4).softmax(dim=-1)
        found = (weights @ values).reshape(batch, -1)
        return self.outer(nn.functional.gelu(self.inner(torch.cat([found, query], dim=1))))


class _Residual(nn.Module):
    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.inner = nn.Sequential(_block(width, width, dilation=dilation), _block(width, width))

    def forward(self, values: Tensor) -> Tensor:
        return values + self.inner(values)


def _block(inside: int, outside: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, padding, dilation, bias=False),
        nn.GroupNorm(min(8, outside // 4), outside),
        nn.LeakyReLU(0.1, inplace=True),
    )


def _with_contrast(picture: Tensor) -> Tensor:
    """The picture, and how it differs from its surroundings, so that light and camera matter less."""
    difference = picture - _smoothed(picture, 16)
    spread = _smoothed(difference**2, 32)
    return torch.cat([picture, difference / (spread.sqrt() + 0.02)], dim=1)


def _smoothed(values: Tensor, step: int) -> Tensor:
    return _as(nn.functional.avg_pool2d(values, step, ceil_mode=True, count_include_pad=False), values)


def _as(values: Tensor, like: Tensor) -> Tensor:
    return interpolate(values, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _pooled(tokens: Tensor, inside: Tensor) -> Tensor:
    highest = tokens.masked_fill(inside < 0.5, -1e4).amax(dim=(2, 3))
    return torch.cat([_mean(tokens, inside), highest], dim=1)


def _mean(tokens: Tensor, weight: Tensor) -> Tensor:
    return (tokens * weight).sum(dim=(2, 3)) / (weight.sum(dim=(2, 3)) + 1e-3)


def _places(height: int, width: int) -> Tensor:
    """Sines and cosines of row and column, shape (1, 4 x frequencies, height, width)."""
    rows = ((torch.arange(height) + 0.5) / height).view(-1, 1).expand(height, width)
    cols = ((torch.arange(width) + 0.5) / width).view(1, -1).expand(height, width)
    waves = [
        wave(math.pi * 2**number * at)
        for number in range(_FREQUENCIES)
        for at in (rows, cols)
        for wave in (torch.sin, torch.cos)
    ]
    return torch.stack(waves)[None]
