"""What a scanner adds: table, arms, blur and grain; and the grid that it scans on."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from lib.train.phantom.config import Sampling
from lib.train.phantom.patient import Patient, between, pick
from lib.train.phantom.scene import AIR_HU, Scene
from lib.train.phantom.shapes import tube
from lib.train.phantom.space import Lines, smooth_field

_HALF_WIDTH_MM, _BACK_MM, _FRONT_MM = 166.0, -122.0, 136.0


@dataclass(frozen=True)
class ScanGrid:
    """The voxels before they are put into file order: RAS, in the patient's own millimetres.

    Attributes:
        spacing_mm: right-left, back-front, foot-head.
        origin_mm: of the first voxel.
        shape: voxels.
        orientation: how they are stored, such as "LPS".
        tilt_degrees: turn of the whole grid in the affine; 0 for most.
    """

    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    orientation: str
    tilt_degrees: float

    @property
    def lines(self) -> Lines:
        """Coordinates along each axis, mm."""
        starts = zip(self.origin_mm, self.spacing_mm, self.shape, strict=True)
        x, y, z = (start + step * np.arange(size) for start, step, size in starts)
        return (x, y, z)


def draw_grid(sampling: Sampling, patient: Patient, rng: np.random.Generator) -> ScanGrid:
    """Draws what is scanned and how finely."""
    low_z, high_z = sampling.region_z_mm[patient.region]
    jitter = rng.uniform(-1, 1, size=2) * sampling.region_jitter_mm
    low_z, high_z = (low_z + jitter[0]) * patient.scale[2], (high_z + jitter[1] * 0.4) * patient.scale[2]
    margins = rng.uniform(*sampling.margin_mm, size=4) + patient.fat_mm
    arms = 80.0 if patient.arms_beside else 0.0
    low = (-_HALF_WIDTH_MM * patient.scale[0] - margins[0] - arms, _BACK_MM * patient.scale[1] - margins[1])
    high = (_HALF_WIDTH_MM * patient.scale[0] + margins[2] + arms, _FRONT_MM * patient.scale[1] + margins[3])
    in_plane, thick = between(rng, sampling.in_plane_mm), between(rng, sampling.slice_mm)
    extent = np.array([high[0] - low[0], high[1] - low[1], high_z - low_z])
    coarser = max(1.0, float(np.prod(extent / (in_plane, in_plane, thick)) / sampling.max_voxels) ** (1 / 3))
    spacing = np.array([in_plane, in_plane, thick]) * coarser
    shape = np.maximum(np.round(extent / spacing).astype(int), 4)
    tilt = sampling.oblique_degrees * float(rng.uniform(-1, 1)) if rng.random() < 0.1 else 0.0
    return ScanGrid(
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        origin_mm=(float(low[0]), float(low[1]), float(low_z)),
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        orientation=pick(rng, sampling.orientations),
        tilt_degrees=tilt,
    )


def paint_body(scene: Scene, lines_mm: Lines) -> None:
    """Skin, fat and muscle, before anything is put into them."""
    torso, hu = scene.torso, scene.hu
    _paint_arms(scene)
    for distance, tissue in ((torso.body, "skin"), (torso.body + 2.0, "fat"), (torso.muscle, "muscle")):
        hu[distance < 0] = scene.densities[tissue]
    hu[torso.cavity < 0] = scene.densities["visceral"]
    _paint_fascia(scene, lines_mm)


def _paint_fascia(scene: Scene, lines_mm: Lines) -> None:
    """Muscles of the pelvis and shoulders have fat between them."""
    torso = scene.torso
    fascia = np.minimum(
        np.abs(smooth_field(lines_mm, (110, 260), scene.rng)),
        np.abs(smooth_field(lines_mm, (130, 300), scene.rng)),
    )
    deep = (torso.cavity > 10) & (torso.muscle < -4) & (fascia < 0.06)
    scene.hu[deep & (np.abs(scene.space.z - 130) > 140)] = scene.densities["fat"]


def _paint_arms(scene: Scene) -> None:
    """Upper arms and forearms beside the trunk, or the upper arms beside the head."""
    down = scene.patient.arms_beside
    for sign in (1.0, -1.0):
        line = (
            ((sign * 172, -34, 384), (sign * 212, -30, 180), (sign * 218, 6, -120))
            if down
            else (
                (sign * 168, -30, 384),
                (sign * 180, -6, 560),
            )
        )
        for radius, tissue in ((44.0, "fat"), (35.0, "muscle")):
            shape = tube(
                scene.space, tuple((*point, radius * (1 - 0.12 * step)) for step, point in enumerate(line))
            )
            if shape is not None:
                scene.hu[shape.box][shape.distance < 0] = scene.densities[tissue]
        forearm = (
            tube(scene.space, ((sign * 212, -26, 140, 8.0), (sign * 218, 4, -120, 7.0))) if down else None
        )
        scene.paint(forearm, "", "cortical_bone")


def add_table(scene: Scene, lines_mm: Lines) -> None:
    """A curved shell under the patient, straight in the scanner whatever the patient's turn."""
    if not scene.patient.table:
        return
    outside = scene.torso.body > 6
    inside = np.flatnonzero((~outside).any(axis=(0, 2)))
    back = lines_mm[1][inside[0]] if inside.size else lines_mm[1][0]
    bow = 0.0009 * (lines_mm[0] ** 2)
    height = lines_mm[1][None, :] - (back - 8 + bow[:, None])
    shell = (np.abs(height + 3) < 1.6 * max(1.0, scene.space.spacing_mm[1] / 2)) & (
        np.abs(lines_mm[0]) < 235
    )[:, None]
    core = (height < -3) & (height > -40) & (np.abs(lines_mm[0]) < 230)[:, None]
    for where, hu in ((core, -910.0), (shell, -150.0)):
        block = where[:, :, None] & outside
        scene.hu[block] = np.maximum(scene.hu[block], np.float32(hu))


def degrade(
    hu: np.ndarray, spacing_mm: tuple[float, float, float], sampling: Sampling, rng: np.random.Generator
) -> np.ndarray:
    """Blurs as a scanner does, then adds grain; grain is coarser where the kernel is soft.

    Returns:
        int16, -1024 to 3071.
    """
    blur_mm = between(rng, sampling.blur_mm)
    blurred = gaussian_filter(hu, [blur_mm / step for step in spacing_mm], mode="nearest")
    grain_mm = between(rng, sampling.noise_grain_mm)
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    noise = gaussian_filter(noise, [0.5 * grain_mm / step for step in spacing_mm], mode="wrap")
    noise *= np.float32(between(rng, sampling.noise_hu)) / max(float(noise.std()), 1e-6)
    # few photons come through the hips and shoulders, many through the lungs
    noise *= np.where(blurred < -500, np.float32(0.55), np.float32(1.0))
    return np.clip(blurred + noise, AIR_HU - 24, 3071).round().astype(np.int16)
