"""How procedural patients vary, from `configs/train/phantom.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from lib.errors import ConfigError

PHANTOM_FILE = Path(__file__).resolve().parents[3] / "configs" / "train" / "phantom.yaml"
Range = tuple[float, float]
"""Lowest and highest value of a uniform distribution."""
Points = tuple[tuple[int | float, ...], ...]
"""Of a tube: x, y, z and radius in mm, in the standard patient."""


class Phase(StrEnum):
    """Of the contrast medium."""

    NATIVE = "native"
    ARTERIAL = "arterial"
    PORTAL_VENOUS = "portal_venous"


class Region(StrEnum):
    """What was scanned."""

    TRUNK = "trunk"
    ABDOMEN = "abdomen"
    CHEST = "chest"
    PELVIS = "pelvis"


@dataclass(frozen=True)
class Sampling:
    """What is drawn for each patient and scan; `configs/train/phantom.yaml` says what each is."""

    in_plane_mm: Range
    slice_mm: Range
    max_voxels: int
    orientations: dict[str, float]
    phases: dict[str, float]
    regions: dict[str, float]
    region_z_mm: dict[str, Range]
    region_jitter_mm: float
    margin_mm: Range
    oblique_degrees: float
    size: Range
    width: Range
    fat_mm: Range
    turn_degrees: float
    warp_mm: Range
    ripple_mm: Range
    noise_hu: Range
    noise_grain_mm: Range
    blur_mm: Range
    bone_hu_factor: Range
    table: float
    arms_beside: float
    oral_contrast: float
    metal: float


@dataclass(frozen=True)
class LesionRule:
    """Lesions of one organ.

    Attributes:
        probability: that there is any.
        most: how many at most.
        diameter_mm: range.
        kinds: name to HU by phase (native, arterial, portal venous).
    """

    probability: float
    most: int
    diameter_mm: Range
    kinds: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Tube:
    """A vessel or alike.

    Attributes:
        label: structure, or "" if it has none.
        tissue: which density.
        points: along the middle.
        along_spine: if set, y is counted from the vertebral bodies' centre, with this offset in mm.
    """

    label: str
    tissue: str
    points: Points
    along_spine: float | None = None


@dataclass(frozen=True)
class Ellipsoid:
    """A rounded organ; as a tube, but with a centre, three radii and turns in degrees."""

    label: str
    tissue: str
    centre: tuple[float, ...]
    radii: tuple[float, ...]
    turn: tuple[float, ...]


@dataclass(frozen=True)
class PhantomConfig:
    """All numbers of the engine.

    Attributes:
        sampling: what is drawn.
        absent: structure to probability.
        situs_inversus: probability.
        displaced: structure to probability.
        displaced_mm: range of the shift along z.
        lesions: by organ; a lung stands for its lobes.
        hu: tissue to density by phase (native, arterial, portal venous).
        tubes: by name.
        ellipsoids: by name.
        paths: middle lines of bowel, pancreas and muscles.
    """

    sampling: Sampling
    absent: dict[str, float]
    situs_inversus: float
    displaced: dict[str, float]
    displaced_mm: Range
    lesions: dict[str, LesionRule]
    hu: dict[str, tuple[float, ...]]
    tubes: dict[str, Tube]
    ellipsoids: dict[str, Ellipsoid]
    paths: dict[str, Points]


_PATHS = ("pancreas", "duodenum", "stomach", "colon", "iliopsoas")


@lru_cache(maxsize=4)
def load_phantom_config(path: Path = PHANTOM_FILE) -> PhantomConfig:
    """Reads the configuration.

    Raises:
        ConfigError: the file is missing, a key is unknown or missing, or a value has another form.
    """
    try:
        return _config(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"The phantom configuration {path.name} cannot be used: {error!r}.") from error


def _config(content: Mapping[str, Any]) -> PhantomConfig:
    known = {field.name for field in fields(PhantomConfig)} - {"paths"} | set(_PATHS)
    if unknown := sorted(set(content) - known):
        raise ValueError(f"unknown keys {unknown}")
    return PhantomConfig(
        sampling=_sampling(content["sampling"]),
        absent=dict(content["absent"]),
        situs_inversus=float(content["situs_inversus"]),
        displaced=dict(content["displaced"]),
        displaced_mm=_range(content["displaced_mm"]),
        lesions={organ: _lesions(rule) for organ, rule in content["lesions"].items()},
        hu={tissue: tuple(float(value) for value in by_phase) for tissue, by_phase in content["hu"].items()},
        tubes={name: _tube(name, entry) for name, entry in content["tubes"].items()},
        ellipsoids={name: _ellipsoid(name, entry) for name, entry in content["ellipsoids"].items()},
        paths={name: _points(content[name]) for name in _PATHS},
    )


def _sampling(content: Mapping[str, Any]) -> Sampling:
    values: dict[str, Any] = {
        name: _range(value) if isinstance(value, list) else value for name, value in content.items()
    }
    values["region_z_mm"] = {name: _range(value) for name, value in content["region_z_mm"].items()}
    for name in ("region_jitter_mm", "oblique_degrees", "turn_degrees"):
        values[name] = float(values[name])
    return Sampling(**values)


def _lesions(rule: Mapping[str, Any]) -> LesionRule:
    kinds = {kind: tuple(float(value) for value in by_phase) for kind, by_phase in rule["kinds"].items()}
    return LesionRule(float(rule["probability"]), int(rule["most"]), _range(rule["diameter_mm"]), kinds)


def _tube(name: str, entry: Mapping[str, Any]) -> Tube:
    offset = entry.get("along_spine")
    return Tube(
        entry.get("label", name),
        entry["tissue"],
        _points(entry["points"]),
        None if offset is None else float(offset),
    )


def _ellipsoid(name: str, entry: Mapping[str, Any]) -> Ellipsoid:
    centre, radii, turn = (tuple(float(part) for part in entry[key]) for key in ("centre", "radii", "turn"))
    return Ellipsoid(entry.get("label", name), entry["tissue"], centre, radii, turn)


def _points(rows: Any) -> Points:
    return tuple(tuple(float(part) for part in row) for row in rows)


def _range(values: Any) -> Range:
    low, high = values
    return (float(low), float(high))
