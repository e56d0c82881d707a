"""A head that names structures from the frozen slice encoder's features: what learns in the simulation.

One linear layer on each cell of the feature map, so that a training takes a second and starts from nothing:
how much a label teaches is not hidden by what the decoder knows already. A case's classes that it does not
list are unknown: where it says nothing, background and all that it does not list are taken together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lib.train.active_pool import UNKNOWN, PoolScan

STEPS = 200
BATCH_CELLS = 4096
LEARNING_RATE = 0.02
WEIGHT_DECAY = 0.01
CELLS_OF_A_SCAN = 4096
"""So many of a scan's cells are learnt from, half of them with a class."""


@dataclass(frozen=True, eq=False)
class Head:
    """A trained head.

    Attributes:
        names: of the classes; logit 0 is background.
        layer: from features to logits.
        mean: of the features, shape (C,).
        scale: their standard deviation, shape (C,).
    """

    names: tuple[str, ...]
    layer: nn.Linear
    mean: Tensor
    scale: Tensor

    @torch.no_grad()
    def logits(self, scan: PoolScan) -> Tensor:
        """Of each cell that lies in the picture, shape (cells, 1 + classes)."""
        inside = scan.targets(()) != UNKNOWN
        features = torch.from_numpy(scan.features[inside]).float()
        return self.layer((features - self.mean) / self.scale)


def train_head(scans: Sequence[PoolScan], names: Sequence[str], seed: int) -> Head:
    """Train on labelled scans.

    Args:
        scans: at least one.
        names: of all classes.
        seed: of cells and batches.
    """
    rng = np.random.default_rng(seed)
    cells = [_cells(scan, names, rng) for scan in scans]
    features, targets, unlisted = (torch.cat(parts) for parts in zip(*cells, strict=True))
    mean, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    features = (features - mean) / scale
    layer = nn.Linear(features.shape[1], 1 + len(names))
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        chosen = torch.from_numpy(rng.integers(len(features), size=BATCH_CELLS))
        optimiser.zero_grad(set_to_none=True)
        loss = marginal_cross_entropy(layer(features[chosen]), targets[chosen], unlisted[chosen])
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return Head(tuple(names), layer.requires_grad_(requires_grad=False), mean, scale)


def marginal_cross_entropy(logits: Tensor, targets: Tensor, unlisted: Tensor) -> Tensor:
    """Cross entropy in which background stands for all classes that a case does not list (Shi et al. 2021).

    Args:
        logits: shape (cells, 1 + classes).
        targets: class number, 0 for background or unlisted, shape (cells,).
        unlisted: classes that the cell's case does not list, shape (cells, 1 + classes).
    """
    others = unlisted.clone()
    others[:, 0] = True
    merged = logits.masked_fill(~others, -torch.inf).logsumexp(dim=1)
    listed = logits.gather(1, targets[:, None])[:, 0]
    return (logits.logsumexp(dim=1) - torch.where(targets == 0, merged, listed)).mean()


def mean_dice(head: Head, scans: Sequence[PoolScan]) -> float:
    """Dice of each class over all scans that list it, mean over the classes, 0 to 1."""
    together, sizes = np.zeros(len(head.names)), np.zeros(len(head.names))
    for scan in scans:
        listed = [head.names.index(name) + 1 for name in set(scan.classes.values()) if name in head.names]
        truth = scan.targets(head.names)
        truth = truth[truth != UNKNOWN]
        drawn = head.logits(scan).argmax(dim=1).numpy()
        for number in listed:
            is_true, is_drawn = truth == number, drawn == number
            together[number - 1] += 2 * np.count_nonzero(is_true & is_drawn)
            sizes[number - 1] += np.count_nonzero(is_true) + np.count_nonzero(is_drawn)
    there = sizes > 0
    return float(np.mean(together[there] / sizes[there])) if there.any() else 0.0


def uncertainty(head: Head, scan: PoolScan) -> float:
    """Mean entropy of the cells' classes, in nats."""
    log_prob = head.logits(scan).log_softmax(dim=1)
    return float(-(log_prob.exp() * log_prob).sum(dim=1).mean())


def _cells(scan: PoolScan, names: Sequence[str], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Some cells of a scan: features, class numbers, and the classes that the scan does not list."""
    targets = scan.targets(names)
    with_class, without = np.flatnonzero(targets > 0), np.flatnonzero(targets == 0)
    half = CELLS_OF_A_SCAN // 2
    parts = [rng.choice(part, size=min(half, len(part)), replace=False) for part in (with_class, without)]
    chosen = np.sort(np.concatenate(parts))
    listed = set(scan.classes.values())
    unlisted = torch.tensor([False, *(name not in listed for name in names)])
    return (
        torch.from_numpy(scan.features[chosen]).float(),
        torch.from_numpy(targets[chosen]),
        unlisted.expand(len(chosen), -1),
    )
