"""The trunk's hull: skin, fat, muscle, the cavity with its diaphragm, and the curve of the spine."""

from dataclasses import dataclass

import numpy as np

from lib.train.phantom.space import BodySpace

# z, half width, half depth and centre's y of the muscles' outside, in mm, from below
_MUSCLE = np.array(
    [
        [-230, 158, 82, -12],
        [-170, 166, 92, -10],
        [-140, 166, 94, -8],
        [-100, 160, 97, -4],
        [-60, 154, 98, 6],
        [-20, 147, 101, 17],
        [20, 146, 106, 20],
        [80, 151, 111, 19],
        [150, 157, 113, 11],
        [200, 158, 112, 5],
        [250, 160, 110, 0],
        [300, 164, 107, -7],
        [340, 172, 101, -17],
        [375, 177, 92, -24],
        [402, 164, 78, -26],
        [425, 108, 62, -14],
        [445, 66, 56, -6],
        [500, 58, 56, 4],
    ]
)
_CAVITY = np.array(
    [
        [-230, 20, 30, -5],
        [-185, 40, 48, 0],
        [-150, 54, 64, 5],
        [-110, 66, 72, 8],
        [-80, 84, 78, 14],
        [-50, 104, 82, 20],
        [-20, 120, 85, 26],
        [20, 131, 89, 31],
        [80, 138, 92, 31],
        [150, 142, 95, 22],
        [200, 142, 95, 12],
        [250, 137, 92, 4],
        [300, 128, 84, -4],
        [340, 114, 71, -13],
        [375, 90, 55, -20],
        [400, 62, 40, -22],
        [415, 40, 28, -22],
        [426, 8, 8, -22],
        [500, 1, 1, -22],
    ]
)
_SPINE = np.array(
    [
        [-160, -72],
        [-125, -84],
        [-90, -70],
        [-57, -36],
        [-33, -8],
        [0, 1],
        [36, 0],
        [72, -8],
        [104, -17],
        [135, -26],
        [194, -38],
        [248, -44],
        [298, -43],
        [345, -35],
        [391, -20],
        [433, -6],
        [500, 4],
    ]
)
_WAIST_Z, _HIP_Z = 10.0, -120.0


@dataclass(frozen=True, eq=False)
class Torso:
    """Distances on the whole scan, float32, mm, negative inside.

    Attributes:
        body: to the skin.
        muscle: to the outside of the muscles.
        cavity: to the wall of chest and abdomen from within.
        diaphragm: above it positive.
        angle: about the cavity's axis, 0 behind, pi in front, the same on both sides.
        behind_spine: y counted from the vertebral bodies' centre.
    """

    body: np.ndarray
    muscle: np.ndarray
    cavity: np.ndarray
    diaphragm: np.ndarray
    angle: np.ndarray
    behind_spine: np.ndarray


def make_torso(space: BodySpace, fat_mm: float, domes_mm: tuple[float, float]) -> Torso:
    """The hull of a patient.

    Args:
        space: the scan in the standard patient.
        fat_mm: of the fat under the skin at the waist.
        domes_mm: height of the right and left dome of the diaphragm.
    """
    muscle, _ = _ring(space, _MUSCLE, 2.4)
    # the groove over the spine
    muscle += 7 * np.exp(-((space.x / 15) ** 2)) * (space.y < 0)
    cavity, angle = _ring(space, _CAVITY, 2.3)
    return Torso(
        body=muscle - _fat(space, angle, fat_mm),
        muscle=muscle,
        cavity=cavity,
        diaphragm=space.z - _diaphragm_z(space, domes_mm),
        angle=angle,
        behind_spine=space.y - spine_y(space.z),
    )


def spine_y(z: np.ndarray) -> np.ndarray:
    """The y of the vertebral bodies' centre."""
    return np.asarray(np.interp(z, _SPINE[:, 0], _SPINE[:, 1]), dtype=np.float32)


def cavity_front_y(z: float) -> float:
    """The y of the cavity's front wall in the midline."""
    return float(np.interp(z, _CAVITY[:, 0], _CAVITY[:, 2]) + np.interp(z, _CAVITY[:, 0], _CAVITY[:, 3]))


def _ring(space: BodySpace, profile: np.ndarray, power: float) -> tuple[np.ndarray, np.ndarray]:
    """Radial distance to a superellipse that changes with z, and the angle about its centre."""
    a, b, centre = (
        np.interp(space.z, profile[:, 0], column).astype(np.float32) for column in profile[:, 1:].T
    )
    y = space.y - centre
    norm = (np.abs(space.x / a) ** power + np.abs(y / b) ** power) ** np.float32(1 / power)
    radius = np.hypot(space.x, y)
    return radius - radius / np.maximum(norm, np.float32(1e-3)), np.arctan2(np.abs(space.x), -y)


def _fat(space: BodySpace, angle: np.ndarray, fat_mm: float) -> np.ndarray:
    """Thicker at the waist, the hips and behind; thin over the chest and at the neck."""
    along = np.interp(
        space.z,
        [-200, _HIP_Z, -60, _WAIST_Z, 120, 250, 400, 450],
        [1.1, 1.25, 1.1, 1.0, 0.75, 0.5, 0.45, 0.4],
    ).astype(np.float32)
    around = 0.8 + 0.35 * np.cos(angle) ** 2 + 0.1 * np.cos(angle)
    return np.float32(fat_mm) * along * around + np.float32(2.5)


def _diaphragm_z(space: BodySpace, domes_mm: tuple[float, float]) -> np.ndarray:
    """Two domes; the rim lies low behind and at the sides, higher in front."""
    right, left = domes_mm
    x, y = space.x, space.y - 14
    rim = 128 + 0.38 * np.clip(space.y + 60, 0, 170)
    share = np.clip(1 - (x / 143) ** 2 - (y / 96) ** 2, 0, 1) ** np.float32(0.6)
    side = np.clip(0.5 + x / 90, 0, 1)
    top = left + (right - left) * side - 9 * np.exp(-((x + 5) ** 2) / 900)
    return (rim + (top - rim) * share).astype(np.float32)
