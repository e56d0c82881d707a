"""What the model drew: a label map on the source grid, with names and confidence."""

from dataclasses import dataclass, field

import numpy as np

from lib.errors import InputError
from lib.shapes import Affine, BinaryMask, LabelMap

MAX_LABELS = 255
"""Label maps are uint8, as OHIF and Slicer read them."""


@dataclass(frozen=True, eq=False)
class Mask:
    """A label map on the grid of the scan it was drawn on.

    Attributes:
        label_map: shape (I, J, K), uint8; 0 is background.
        affine: the scan's own affine (RAS+).
        labels: name to value, values contiguous from 1.
        confidence: per label name, 0 to 1, the model's own estimate of the overlap (IoU).
    """

    label_map: LabelMap
    affine: Affine
    labels: dict[str, int]
    confidence: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if sorted(self.labels.values()) != list(range(1, len(self.labels) + 1)):
            raise InputError(f"Label values must be 1 to N without gaps; got {self.labels}.")
        self.label_map.setflags(write=False)

    def of(self, label: str) -> BinaryMask:
        """The voxels of one label."""
        return self.label_map == self.labels[label]


def merge_objects(masks: dict[str, BinaryMask], affine: Affine, confidence: dict[str, float]) -> Mask:
    """One label map from several objects; where they overlap, the later name wins.

    Raises:
        InputError: no object, or more than 255.
    """
    if not 1 <= len(masks) <= MAX_LABELS:
        raise InputError(f"A label map holds 1 to {MAX_LABELS} objects; got {len(masks)}.")
    label_map = np.zeros(next(iter(masks.values())).shape, dtype=np.uint8)
    for value, mask in enumerate(masks.values(), start=1):
        np.copyto(label_map, np.uint8(value), where=mask)
    return Mask(label_map, affine, {name: value for value, name in enumerate(masks, start=1)}, confidence)
