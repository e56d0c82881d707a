"""Where a structure probably is: the contract between what finds regions and what draws masks from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from lib.errors import InputError
from lib.geometry import checked_affine
from lib.shapes import Affine
from lib.volume import Volume

CoarseLogits = Float[np.ndarray, "coarse_i coarse_j coarse_k"]
Look = Float[np.ndarray, " _channel"]
"""What a structure looks like to the network that finds it."""


@dataclass(frozen=True, eq=False)
class RegionMap:
    """Where one structure probably is, on a coarse grid in the patient (cells of about 4 to 6 mm).

    Attributes:
        logits: above 0 where the structure probably is, float32, shape (I, J, K) of the coarse grid.
        affine: centres of the grid's cells to RAS millimetres; the grid may lie in any orientation.
        confidence: that the structure is in the scan at all, 0 to 1.

    Raises:
        InputError: a confidence outside of 0 to 1, or logits that are not finite.
        VolumeError: an unusable affine.
    """

    logits: CoarseLogits
    affine: Affine
    confidence: float

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise InputError(f"A region's confidence must be 0 to 1; got {self.confidence}.")
        if self.logits.dtype != np.float32 or not np.isfinite(self.logits).all():
            raise InputError("A region's logits must be finite numbers of type float32.")
        object.__setattr__(self, "affine", checked_affine(self.affine, "The region"))


@runtime_checkable
class LocatesRegions(Protocol):
    """Anything that finds structures by name.

    Attributes:
        names: structures it knows, as `lib.vocabulary` names them.
        identity: changes with its answers, such as a hash of weights; for caches and answers.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Structures it knows."""
        ...

    @property
    def identity(self) -> str:
        """Changes with its answers."""
        ...

    def locate(self, volume: Volume, names: Sequence[str]) -> dict[str, RegionMap]:
        """One map for each of the names that it knows; other names are left out."""
        ...


@runtime_checkable
class ShowsLooks(Protocol):
    """Anything that says what structures look like, for a language model to see."""

    def looks(self, volume: Volume) -> dict[str, Look]:
        """The look of each structure that is seen, by name."""
        ...
