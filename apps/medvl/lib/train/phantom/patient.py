"""One procedural patient and how it is scanned: everything that is drawn by lot."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lib.train.phantom.config import PhantomConfig, Phase, Region, Sampling


@dataclass(frozen=True)
class Patient:
    """What was drawn.

    Attributes:
        phase: of the contrast medium.
        region: what is scanned.
        sex: female or male.
        scale: of right-left, back-front and foot-head.
        turns_degrees: about the three axes.
        fat_mm: thickness of the subcutaneous fat at the waist.
        visceral: 0 to 1, how much fat lies between organs.
        absent: structures that are not there.
        displaced: structure to shift along z, mm.
        situs_inversus: organs lie as in a mirror.
        oral_contrast: in stomach and bowel.
        arms_beside: the arms lie beside the trunk, else above the head.
        table: the scanner's table is seen.
        metal: a hip has an implant; 0 none, else the side's sign of x.
        bone_factor: density of bone.
    """

    phase: Phase
    region: Region
    sex: str
    scale: tuple[float, float, float]
    turns_degrees: tuple[float, float, float]
    fat_mm: float
    visceral: float
    absent: frozenset[str]
    displaced: dict[str, float]
    situs_inversus: bool
    oral_contrast: bool
    arms_beside: bool
    table: bool
    metal: int
    bone_factor: float


def draw_patient(config: PhantomConfig, rng: np.random.Generator) -> Patient:
    """Draws a patient."""
    sampling = config.sampling
    sex = "male" if rng.random() < 0.5 else "female"
    absent = {name for name, probability in config.absent.items() if rng.random() < probability}
    if {"kidney_left", "kidney_right"} <= absent:
        absent.remove("kidney_left")
    absent.add("uterus" if sex == "male" else "prostate")
    mirrored = rng.random() < config.situs_inversus
    patient = Patient(
        phase=Phase(pick(rng, sampling.phases)),
        region=Region(pick(rng, sampling.regions)),
        sex=sex,
        scale=_scale(sampling, rng),
        turns_degrees=_three(rng.uniform(-1, 1, 3) * sampling.turn_degrees),
        fat_mm=between(rng, sampling.fat_mm),
        visceral=float(rng.uniform()),
        absent=frozenset(absent),
        displaced=_displaced(config, absent, rng),
        situs_inversus=mirrored,
        oral_contrast=rng.random() < sampling.oral_contrast,
        arms_beside=rng.random() < sampling.arms_beside,
        table=rng.random() < sampling.table,
        metal=int(rng.choice((-1, 1))) if rng.random() < sampling.metal else 0,
        bone_factor=between(rng, sampling.bone_hu_factor),
    )
    return replace(patient, fat_mm=patient.fat_mm * 1.15) if sex == "female" else patient


def between(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """A uniform draw."""
    return float(rng.uniform(*limits))


def pick(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """One of the names, by weight."""
    names = list(weights)
    total = np.array([weights[name] for name in names], dtype=float)
    return names[int(rng.choice(len(names), p=total / total.sum()))]


def _scale(sampling: Sampling, rng: np.random.Generator) -> tuple[float, float, float]:
    size = between(rng, sampling.size)
    return (size * between(rng, sampling.width), size * between(rng, sampling.width), size)


def _displaced(config: PhantomConfig, absent: set[str], rng: np.random.Generator) -> dict[str, float]:
    return {
        name: round(between(rng, config.displaced_mm), 1)
        for name, probability in config.displaced.items()
        if rng.random() < probability and name not in absent
    }


def _three(values: np.ndarray) -> tuple[float, float, float]:
    return (float(values[0]), float(values[1]), float(values[2]))
