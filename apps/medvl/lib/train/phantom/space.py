"""Where each voxel of the scan lies in the standard patient: a smooth deformation makes patients differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lib.train.phantom.config import Sampling
from lib.train.phantom.patient import Patient, between

Box = tuple[slice, slice, slice]
"""A block of voxels."""
Number = int | float
Pair = tuple[Number, Number]
Vector = Sequence[Number] | np.ndarray
"""Three numbers, mostly."""
Lines = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Coordinates along the three axes of a grid, mm."""


@dataclass(frozen=True, eq=False)
class BodySpace:
    """Coordinates of all voxels in the standard patient, float32, shape (I, J, K) each; axes are RAS.

    Attributes:
        x: mm to the right.
        y: mm to the front.
        z: mm up.
        spacing_mm: of the voxels.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    spacing_mm: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j and k."""
        i, j, k = self.x.shape
        return (i, j, k)

    def box(self, low: Vector, high: Vector) -> Box | None:
        """The smallest block that holds all voxels between two corners; None if there is none."""
        slices = []
        for axis, (lowest, highest) in enumerate(self._reach):
            there = np.flatnonzero((highest >= low[axis]) & (lowest <= high[axis]))
            if there.size == 0:
                return None
            slices.append(slice(int(there[0]), int(there[-1]) + 1))
        return (slices[0], slices[1], slices[2])

    @cached_property
    def _reach(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Lowest and highest coordinate along its own axis, for each slice of that axis."""
        across = ((1, 2), (0, 2), (0, 1))
        values = zip((self.x, self.y, self.z), across, strict=True)
        return tuple((array.min(axis=others), array.max(axis=others)) for array, others in values)

    def at(self, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates in a block."""
        return self.x[box], self.y[box], self.z[box]


def body_space(
    points_mm: Lines,
    spacing_mm: tuple[float, float, float],
    patient: Patient,
    sampling: Sampling,
    rng: np.random.Generator,
) -> BodySpace:
    """Takes voxels to the standard patient: turn, scale, then two smooth deformations.

    Args:
        points_mm: coordinates along each of the scan's axes (RAS order), each of one dimension.
        spacing_mm: distance of the voxels.
        patient: whose size and turn it is.
        sampling: amplitudes.
        rng: draws the deformation.
    """
    turned = _turned(points_mm, patient)
    amplitudes = ((between(rng, sampling.warp_mm), (180, 450)), (between(rng, sampling.ripple_mm), (40, 90)))
    coordinates = []
    for axis in range(3):
        values = turned[axis] / np.float32(patient.scale[axis])
        for amplitude_mm, wavelengths_mm in amplitudes:
            values += np.float32(amplitude_mm) * smooth_field(points_mm, wavelengths_mm, rng)
        coordinates.append(values)
    if patient.situs_inversus:
        coordinates[0] *= -1
    return BodySpace(coordinates[0], coordinates[1], coordinates[2], spacing_mm)


def lines_mm(shape: Sequence[int], spacing_mm: Vector) -> Lines:
    """Coordinates along each axis of a block, from 0."""
    i, j, k = (np.arange(size) * step for size, step in zip(shape, spacing_mm, strict=True))
    return (i, j, k)


def smooth_field(
    points_mm: Lines,
    wavelengths_mm: Pair,
    rng: np.random.Generator,
    waves: int = 10,
) -> np.ndarray:
    """A random smooth function on a grid, of mean 0 and about variance 1: a sum of products of sines.

    Products along the axes make it one matrix product, whatever the wavelengths.
    """
    along = []
    for values in points_mm:
        lengths = rng.uniform(*wavelengths_mm, size=waves)
        phases = rng.uniform(0, 2 * np.pi, size=waves)
        along.append(np.sin(2 * np.pi * values[:, None] / lengths + phases).astype(np.float32))
    i, j, k = (len(values) for values in points_mm)
    planes = (along[1].T[:, :, None] * along[2].T[:, None, :]).reshape(waves, j * k)
    return (along[0] @ planes).reshape(i, j, k) * np.float32(np.sqrt(8 / waves))


def _turned(points_mm: Lines, patient: Patient) -> list[np.ndarray]:
    matrix = rotation(patient.turns_degrees).T.astype(np.float32)
    x, y, z = (values.astype(np.float32) for values in points_mm)
    return [
        row[0] * x[:, None, None] + row[1] * y[None, :, None] + row[2] * z[None, None, :] for row in matrix
    ]


def rotation(degrees: Vector) -> np.ndarray:
    """About x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        one, other = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(3)
        turn[one, one] = turn[other, other] = np.cos(angle)
        turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix
