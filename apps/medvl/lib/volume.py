"""A scan in memory: voxels, where they are, and what their values mean."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from lib.errors import VolumeError
from lib.geometry import checked_affine, spacing_mm
from lib.shapes import Affine, Voxels


class Modality(StrEnum):
    """What the voxel values mean, which decides the intensity window."""

    CT = "ct"
    """Hounsfield units."""
    MR = "mr"
    """Arbitrary units; also PET and whatever else has no fixed scale."""
    DISPLAY = "display"
    """0 to 255 as shown on a screen: photographs, radiographs as PNG, volumes windowed to 8 bits."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan or a picture (one slice) with its place in the patient.

    Attributes:
        voxels: shape (C, I, J, K) in file order; C is 1, or 3 for colour pictures.
        affine: voxel centres to millimetres in RAS+.
        modality: what the values mean.

    Raises:
        VolumeError: no voxels, other than 1 or 3 channels, values that are not finite, unusable affine.
    """

    voxels: Voxels
    affine: Affine
    modality: Modality

    def __post_init__(self) -> None:
        if self.voxels.ndim != 4 or self.voxels.shape[0] not in (1, 3) or 0 in self.voxels.shape:
            raise VolumeError(
                f"A scan needs 1 or 3 channels and at least one voxel along each axis; "
                f"got shape {tuple(self.voxels.shape)} (channels, i, j, k)."
            )
        if not np.isfinite(self.voxels).all():
            raise VolumeError("The scan holds values that are not finite (NaN or infinity); clean it first.")
        object.__setattr__(self, "affine", checked_affine(self.affine, "The scan"))
        self.voxels.setflags(write=False)
        self.affine.setflags(write=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along i, j and k."""
        _, i, j, k = self.voxels.shape
        return (i, j, k)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along i, j and k."""
        return spacing_mm(self.affine)

    @cached_property
    def digest(self) -> str:
        """Hash of values and geometry: the scan's identity for caches, whatever its file is called."""
        hasher = hashlib.blake2b(digest_size=16)
        for part in (self.voxels, self.affine):
            hasher.update(f"{part.dtype}{part.shape}".encode())
            hasher.update(np.ascontiguousarray(part).data)
        hasher.update(self.modality.encode())
        return hasher.hexdigest()
