"""The stage `pictures`: the PicturePrior learns maps, the [SEG] vector and classes from labelled pictures.

The mask decoder stays as it is; the vector learns through it. All couplings learn from the same pictures, in
the same steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, interpolate

from lib.errors import ConfigError, InputError
from lib.model.config import CONFIG_DIR, parse, read_yaml
from lib.model.decoder import PIXELS_PER_CELL
from lib.model.picture_prior import FINE_SIDE, PicturePrior, PicturePriorConfig, PictureTokens
from lib.model.volume_segmenter import VolumeSegmenter
from lib.predict.picture_scan import inside_cells
from lib.train.loop import LoopConfig, Report, TrainedPart, run_loop
from lib.train.losses import dice_loss
from lib.train.picture_data import PictureCase, StoredPicture

PICTURE_STAGE = CONFIG_DIR / "train" / "pictures.yaml"
_FINE_PART = 192
_UNKNOWN = -100
_WHOLE = 0.25
_DROPPED = 0.1
_MIRRORED = 0.5
_NOISE = 0.15

Masks = Float[Tensor, "batch 1 rows cols"]
Resized = Float[Tensor, "batch 1 resized_rows resized_cols"]
Numbers = Int[Tensor, " batch"]


@dataclass(frozen=True)
class LossWeights:
    """What the losses weigh against each other; the defaults are Sim4Seg's.

    Attributes:
        ce: cross entropy of the classes that are named.
        bce: binary cross entropy of masks.
        dice: Dice loss of masks.
    """

    ce: float = 1.0
    bce: float = 2.0
    dice: float = 0.5

    def __post_init__(self) -> None:
        if min(self.ce, self.bce, self.dice) < 0 or not self.bce + self.dice:
            raise ConfigError(
                f"The weights of losses are 0 or more, and bce and dice not both 0; got {self.ce}, "
                f"{self.bce}, {self.dice}."
            )


@dataclass(frozen=True)
class PictureStageConfig:
    """How the PicturePrior is trained.

    Attributes:
        config: of the network, in configs/pictures.
        weights: of the segmenter.
        seed: of samples and parameters.
        iterations: steps.
        batch_size: pictures a step.
        learning_rate: highest.
        warmup: steps.
        weight_decay: of AdamW.
        clip_norm: longest gradient.
        average_decay: of the parameters' moving average, which comes out.
        variants: perturbed views that are embedded of each picture.
        shares: how often a picture is of each modality; equal where empty.
        holdout: share of the patients that nothing is learned from, to choose by.
        losses: what each weighs.
    """

    config: str
    weights: str
    seed: int
    iterations: int
    batch_size: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip_norm: float
    average_decay: float
    variants: int
    shares: dict[str, float]
    holdout: float = 0.0
    losses: LossWeights = LossWeights()

    def __post_init__(self) -> None:
        if min(self.iterations, self.batch_size) < 1 or any(share < 0 for share in self.shares.values()):
            raise ConfigError(
                "The stage pictures needs iterations and batch_size of 1 or more, and no negative shares."
            )


@dataclass(frozen=True, eq=False)
class PictureBatch:
    """What a step learns from.

    Attributes:
        embedding: (B, 256, cells, cells).
        inside: 1 where the canvas shows the picture.
        picture: on the finer canvas, 0 to 1.
        mask: on the finer canvas, 0 to 1.
        kind: number of each picture's kind.
        condition: number among all conditions; -100 where the source names none.
    """

    embedding: Tensor
    inside: Tensor
    picture: Tensor
    mask: Tensor
    kind: Numbers
    condition: Numbers


def load_picture_stage(path: Path = PICTURE_STAGE) -> PictureStageConfig:
    """Read the stage's settings.

    Raises:
        ConfigError: no such file, or a key or value that is wrong.
    """
    return parse(PictureStageConfig, read_yaml(path), path.name)


def train_pictures(
    stored: Sequence[StoredPicture],
    segmenter: VolumeSegmenter,
    prior: PicturePriorConfig,
    config: PictureStageConfig,
    folder: Path,
    budget_s: float | None,
    report: Report,
) -> dict[str, Tensor] | None:
    """Train the PicturePrior from nothing.

    Args:
        stored: embedded pictures.
        segmenter: whose mask decoder the vector learns through.
        prior: the network's description.
        config: how.
        folder: for checkpoints.
        budget_s: seconds after which it stops, resumable; None for no bound.
        report: is told the losses.

    Returns:
        The averaged parameters; None if the budget ran out before the end.

    Raises:
        InputError: no picture of a kind that the network knows.
    """
    torch.manual_seed(config.seed)
    network = PicturePrior(prior)
    part = TrainedPart(dict(network.named_parameters()))
    sampler = _Sampler(stored, prior, config)
    loop = LoopConfig(
        iterations=config.iterations,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        average_decay=config.average_decay,
        budget_s=budget_s,
    )

    def losses(step: int) -> dict[str, Tensor]:
        batch, rng = sampler.batch(step)
        return picture_losses(network, segmenter, batch, rng, config.losses)

    if not run_loop(part, losses, loop, folder, report):
        return None
    return dict(part.average)


def picture_losses(
    network: PicturePrior,
    segmenter: VolumeSegmenter,
    batch: PictureBatch,
    rng: np.random.Generator,
    weights: LossWeights,
) -> dict[str, Tensor]:
    """CE of the classes, BCE and Dice of maps and of the mask drawn from the vector.

    Args:
        network: that learns.
        segmenter: whose mask decoder draws.
        batch: pictures.
        rng: chooses the part of the finer grid that is looked at.
        weights: of the losses.
    """

    def mask_loss(logits: Tensor, target: Tensor, inside: Tensor | None = None) -> Tensor:
        return _mask_loss(logits, target, inside, weights)

    tokens = network.tokens(batch.embedding, batch.inside)
    similar = network.similarity(tokens)
    rows = torch.arange(len(batch.kind))
    own, any_target = similar[rows, batch.kind][:, None], similar[:, -1:]
    cells = _resized(batch.mask, own.shape[-1])
    map_loss = mask_loss(own, cells, batch.inside) + 0.5 * mask_loss(any_target, cells, batch.inside)
    fine_loss = mask_loss(*_fine(network, batch, tokens, own, rng))
    seg_loss = mask_loss(*_drawn(network, segmenter, batch, tokens, rng))
    class_loss = weights.ce * _class_loss(network, batch, tokens, own)
    return {
        "loss": map_loss + fine_loss + seg_loss + class_loss,
        "map": map_loss,
        "fine": fine_loss,
        "seg": seg_loss,
        "class": class_loss,
    }


def _drawn(
    network: PicturePrior,
    segmenter: VolumeSegmenter,
    batch: PictureBatch,
    tokens: PictureTokens,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """What the decoder draws from the vector alone, and the mask; mostly of a part, which costs a quarter."""
    count = batch.embedding.shape[-1]
    side = count if rng.random() < _WHOLE else count // 2
    corner = tuple(int(at) for at in rng.integers(0, count - side + 1, 2))
    vectors = network.seg_vector(tokens, batch.kind)
    drawn = segmenter.decode_vectors(batch.embedding, vectors, (corner[0], corner[1], side)).mask_logits
    part = tuple(slice(at * PIXELS_PER_CELL, (at + side) * PIXELS_PER_CELL) for at in corner)
    return drawn, _resized(batch.mask, count * PIXELS_PER_CELL)[..., part[0], part[1]]


def _fine(
    network: PicturePrior, batch: PictureBatch, tokens: PictureTokens, own: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """The finer map and the mask, of a part of the finer grid, which cuts its cost."""
    count = own.shape[-1]
    scale, side = FINE_SIDE // count, _FINE_PART * count // FINE_SIDE
    row, col = (int(at) for at in rng.integers(0, count - side + 1, 2))
    window = (..., slice(row, row + side), slice(col, col + side))
    fine = (
        ...,
        slice(row * scale, (row + side) * scale),
        slice(col * scale, (col + side) * scale),
    )
    found = network.fine_map(tokens.cells[window], batch.picture[fine], batch.kind, own[window])
    return found, batch.mask[fine]


def _class_loss(network: PicturePrior, batch: PictureBatch, tokens: PictureTokens, own: Tensor) -> Tensor:
    loss = cross_entropy(tokens.modality, batch.kind)
    known = batch.condition != _UNKNOWN
    if not known.any():
        return loss
    region = own.detach().sigmoid() * batch.inside
    for logits in (network.conditions(tokens, region), network.conditions(tokens, None)):
        loss = loss + 0.5 * cross_entropy(logits[known], batch.condition[known])
    return loss


def _mask_loss(logits: Tensor, target: Tensor, inside: Tensor | None, weights: LossWeights) -> Tensor:
    if inside is not None:
        logits = torch.where(inside > 0.5, logits, -10.0)
    cross_entropy = binary_cross_entropy_with_logits(logits, target)
    return weights.bce * cross_entropy + weights.dice * dice_loss(logits, target).mean()


def _resized(mask: Masks, side: int) -> Resized:
    return interpolate(mask, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


class _Sampler:
    def __init__(
        self, stored: Sequence[StoredPicture], prior: PicturePriorConfig, config: PictureStageConfig
    ) -> None:
        self._groups = {
            number: [one for one in stored if one.source.modality == kind.modality]
            for number, kind in enumerate(prior.kinds)
        }
        shares = [
            config.shares.get(kind.modality, 1.0) * bool(self._groups[number])
            for number, kind in enumerate(prior.kinds)
        ]
        if not sum(shares):
            raise InputError(
                f"No labelled picture of {[kind.modality for kind in prior.kinds]} is there to learn from."
            )
        self._shares = np.array(shares) / sum(shares)
        self._conditions = prior.conditions
        self._config = config

    def batch(self, step: int) -> tuple[PictureBatch, np.random.Generator]:
        """That of a step; it depends on the seed and the step alone."""
        rng = np.random.default_rng([self._config.seed, step])
        kinds = rng.choice(len(self._shares), size=self._config.batch_size, p=self._shares)
        chosen = [self._groups[int(kind)][rng.integers(len(self._groups[int(kind)]))] for kind in kinds]
        samples = [_augmented(one.load(), rng) for one in chosen]
        conditions = [self._number(one.source) for one in chosen]
        embedding, inside, picture, mask = (torch.stack(part) for part in zip(*samples, strict=True))
        return (
            PictureBatch(embedding, inside, picture, mask, torch.from_numpy(kinds), torch.tensor(conditions)),
            rng,
        )

    def _number(self, source: PictureCase) -> int:
        known = source.condition in self._conditions
        return self._conditions.index(str(source.condition)) if known else _UNKNOWN


def _augmented(tensors: dict[str, Tensor], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A view, perhaps mirrored (nearly as if the picture had been), with channels dropped and noise."""
    embedding, picture = tensors["embedding"].float(), tensors["picture"].float() / 255
    mask = tensors["mask"].float()[None] / 255
    inside = inside_cells(tensors["inner"].tolist(), embedding.shape[-1])
    if rng.random() < _MIRRORED:
        embedding, picture, mask, inside = (part.flip(-1) for part in (embedding, picture, mask, inside))
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    kept = torch.rand(len(embedding), 1, 1, generator=generator) >= _DROPPED
    noise = torch.randn(embedding.shape, generator=generator) * embedding.std() * _NOISE
    gain, shift = float(rng.uniform(0.8, 1.2)), float(rng.uniform(-0.1, 0.1))
    return (embedding + noise) * kept, inside, (picture * gain + shift).clamp(0, 1), mask
