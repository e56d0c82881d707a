"""Samples for the RegionPrior: turned, scaled, bent, mirrored, cut to a slab, in other contrast, with noise.

A mirrored patient's right kidney lies on the left and is the left kidney: names change sides with the
picture, so that the network must tell sides from places.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from lib.model.region_prior import GRID_MM, mirrored_numbers, region_channels
from lib.shapes import AnyArray
from lib.train.region_data import STORED_MM, RegionCase
from lib.transforms.region_grid import OUTSIDE_HU, middle_of_body

_PHASES = (
    # how contrast medium raises the density, at most, in HU; the rest hardly changes
    ("kidney_", 150.0),
    ("aorta", 180.0),
    ("inferior_vena_cava", 110.0),
    ("portal_vein", 120.0),
    ("heart", 130.0),
    ("spleen", 70.0),
    ("liver", 60.0),
    ("pancreas", 50.0),
    ("stomach", 60.0),
    ("urinary_bladder", 120.0),
)


@dataclass(frozen=True)
class AugmentConfig:
    """How much samples vary.

    Attributes:
        size: cells of a sample.
        turn_degrees: about each axis, standard deviation.
        scale: factor, highest and lowest.
        bend_mm: of smooth deformations, standard deviation.
        mirrored: how often left and right are exchanged.
        slab: how often only some slices are seen.
        slab_mm: thickness of such a slab, least and most.
        phase: how often organs take up more or less contrast medium.
        noise_hu: at most.
        arms: how often arms lie beside the body.
    """

    size: tuple[int, int, int] = (64, 48, 48)
    turn_degrees: float = 6.0
    scale: tuple[float, float] = (0.8, 1.25)
    bend_mm: float = 6.0
    mirrored: float = 0.3
    slab: float = 0.35
    slab_mm: tuple[float, float] = (35.0, 180.0)
    phase: float = 0.5
    noise_hu: float = 30.0
    arms: float = 0.0


@dataclass(frozen=True, eq=False)
class RegionSample:
    """One sample.

    Attributes:
        scan: channels, (1, C, I, J, K).
        labels: (I, J, K), long; 0 none of the names, -1 not scanned.
        known: (names,), bool.
    """

    scan: Tensor
    labels: Tensor
    known: Tensor


def draw_sample(
    case: RegionCase, names: Sequence[str], config: AugmentConfig, rng: np.random.Generator
) -> RegionSample:
    """A random part of a case, in a random way.

    Args:
        case: on the stored grid.
        names: of the label numbers.
        config: how much varies.
        rng: decides.
    """
    hu = _in_another_phase(case, names, config, rng)
    where, is_mirrored = _places(case, config, rng)
    seen = _sampled(hu, where, "bilinear", OUTSIDE_HU)
    labels = _sampled(case.labels.astype(np.float32) + 1, where, "nearest", 0.0).long() - 1
    known = torch.from_numpy(case.known)
    if is_mirrored:
        other_sides = torch.tensor(mirrored_numbers(names))
        labels, known = _mirrored_labels(labels, other_sides), known[other_sides]
    if config.arms and rng.random() < config.arms:
        seen = _with_arms(seen, rng)
    seen, labels = _slab(seen, labels, config, rng)
    seen = _as_another_scanner(seen, config, rng)
    middle = middle_of_body(seen.numpy())
    x, y, _ = (torch.arange(size, dtype=torch.float32) for size in seen.shape)
    shift = rng.normal(0, 1.5, size=2)
    beside = (x - middle[0] + shift[0]) * GRID_MM
    before = (y - middle[1] + shift[1]) * GRID_MM
    scan = region_channels(seen, beside.view(-1, 1, 1), before.view(1, -1, 1))
    return RegionSample(scan, labels, known)


def _mirrored_labels(labels: Tensor, other_sides: Tensor) -> Tensor:
    """Labels under the other sides' names; not scanned (-1) and none (0) stay."""
    table = torch.cat([torch.tensor([-1, 0]), other_sides + 1])
    return table[labels + 1]


def _in_another_phase(
    case: RegionCase, names: Sequence[str], config: AugmentConfig, rng: np.random.Generator
) -> AnyArray:
    hu = case.hu.astype(np.float32)
    if not case.is_real or rng.random() > config.phase:
        return hu
    shifts = np.zeros(len(names) + 1, dtype=np.float32)
    strength = rng.uniform(-1, 1)
    for number, name in enumerate(names, start=1):
        rise = next((rise for start, rise in _PHASES if name.startswith(start)), 0.0)
        shifts[number] = rise * (0.7 * strength + 0.3 * rng.uniform(-1, 1)) * 0.6 + rng.normal(0, 6)
    return hu + shifts[case.labels] * (hu > -100)


def _places(case: RegionCase, config: AugmentConfig, rng: np.random.Generator) -> tuple[Tensor, bool]:
    """For each cell of the sample, where in the stored case it lies, in stored cells: (I, J, K, 3)."""
    size, stored = np.array(config.size), np.array(case.hu.shape)
    scale = np.exp(rng.uniform(*np.log(config.scale))) * np.exp(rng.normal(0, 0.04, size=3))
    is_mirrored = bool(rng.random() < config.mirrored)
    step = GRID_MM / STORED_MM / scale
    turn = _rotation(rng.normal(0, config.turn_degrees, size=3)) * step
    if is_mirrored:
        turn[:, 0] *= -1
    reach = np.maximum(0, stored - size * step) / 2
    centre = (stored - 1) / 2 + rng.uniform(-1, 1, size=3) * (reach + 4)
    cells = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing="ij"), axis=-1)
    where = torch.from_numpy(cells.astype(np.float32)) @ torch.from_numpy(turn.T.astype(np.float32))
    where += torch.from_numpy(centre.astype(np.float32))
    knots = torch.from_numpy(
        rng.normal(0, config.bend_mm / STORED_MM, size=(1, 3, 5, 4, 5)).astype(np.float32)
    )
    bend = interpolate(knots, size=tuple(config.size), mode="trilinear", align_corners=True)
    return where + bend[0].permute(1, 2, 3, 0), is_mirrored


def _rotation(degrees: AnyArray) -> AnyArray:
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one, two = [other for other in range(3) if other != axis]
        part = np.eye(3)
        part[one, one] = part[two, two] = np.cos(angle)
        part[one, two], part[two, one] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ part
    return matrix


def _sampled(values: AnyArray, where: Tensor, mode: str, outside: float) -> Tensor:
    sizes = torch.tensor(values.shape, dtype=torch.float32)
    places = (2 * where + 1) / sizes - 1
    # zeros lie beyond the scan, so that values are moved before and after
    moved = torch.from_numpy(values - outside)[None, None]
    found = grid_sample(moved, places.flip(-1)[None], mode=mode, padding_mode="zeros", align_corners=False)
    return found[0, 0] + outside


def _with_arms(seen: Tensor, rng: np.random.Generator) -> Tensor:
    """Two arms beside the body, as of patients who cannot lift them: soft tissue around a bone."""
    i, j, k = (torch.arange(size, dtype=torch.float32) for size in seen.shape)
    in_body = seen > -300.0
    columns = torch.nonzero(in_body.any(dim=2).float().sum(dim=1) > 2)[:, 0]
    if not len(columns):
        return seen
    changed = seen.clone()
    for edge, outwards in ((float(columns[0]), -1.0), (float(columns[-1]), 1.0)):
        radius = float(rng.uniform(35.0, 55.0)) / GRID_MM
        middle = edge + outwards * (radius + float(rng.uniform(-0.5, 3.0)))
        along = (
            (seen.shape[1] - 1) / 2 + float(rng.normal(0, 3)) + (k - k.mean()) * float(rng.normal(0, 0.15))
        )
        away = torch.hypot((i.view(-1, 1, 1) - middle), j.view(1, -1, 1) - along.view(1, 1, -1))
        arm = torch.where(away < 0.3 * radius, float(rng.uniform(200, 700)), float(rng.uniform(-20, 60)))
        changed = torch.where((away < radius) & ~in_body & (seen > OUTSIDE_HU + 1), arm, changed)
    return changed


def _slab(
    seen: Tensor, labels: Tensor, config: AugmentConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    if rng.random() > config.slab:
        return seen, labels
    height = seen.shape[2]
    kept = min(height, max(4, round(float(rng.uniform(*config.slab_mm)) / GRID_MM)))
    first = int(rng.integers(0, height - kept + 1))
    seen[..., :first], seen[..., first + kept :] = OUTSIDE_HU, OUTSIDE_HU
    labels[..., :first], labels[..., first + kept :] = -1, -1
    return seen, labels


def _as_another_scanner(seen: Tensor, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    inside = seen > OUTSIDE_HU + 1
    changed = (seen + 100) * float(rng.uniform(0.88, 1.12)) - 100 + float(rng.normal(0, 10))
    noise = rng.standard_normal(tuple(seen.shape), dtype=np.float32)
    changed = changed + torch.from_numpy(noise) * float(rng.uniform(0, config.noise_hu))
    return torch.where(inside, changed, seen)
