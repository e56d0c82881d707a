"""A picture seen a little differently: mirrored, cut out, brighter or tinted; and the way back for a mask."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lib.transforms.intensity import choose_window
from lib.volume import Volume

PictureLogits = Float[np.ndarray, "_size_i _size_j"]
"""Of a picture on its own grid: columns, rows."""
Part = tuple[float, float, float, float]


@dataclass(frozen=True)
class Perturbation:
    """How a picture is changed.

    Attributes:
        mirrored: along its first axis, left and right as shown.
        part: what is cut out, as shares of the first and second axis: begin, begin, end, end.
        gamma: exponent of the shown intensities.
        tint: factors of red, green and blue; the first one of a gray picture.
    """

    mirrored: bool = False
    part: Part = (0.0, 0.0, 1.0, 1.0)
    gamma: float = 1.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def is_none(self) -> bool:
        """Whether the picture stays as it is."""
        return self == Perturbation()


def perturbed(picture: Volume, change: Perturbation) -> Volume:
    """The picture changed; one of one slice.

    Args:
        picture: shape (C, I, J, 1).
        change: how.
    """
    if change.is_none:
        return picture
    rows, cols = _slices(picture.shape[:2], change.part)
    voxels = picture.voxels[:, rows, cols]
    if change.mirrored:
        voxels = voxels[:, ::-1]
    if change.gamma != 1 or change.tint != (1.0, 1.0, 1.0):
        window = choose_window(picture, None)
        tint = np.array(change.tint[: len(voxels)], dtype=np.float32).reshape(-1, 1, 1, 1)
        shown = np.clip(window.apply(voxels[..., 0])[..., None] ** change.gamma * tint, 0, 1)
        voxels = (window.low + shown * (window.high - window.low)).astype(np.float32)
    return Volume(np.ascontiguousarray(voxels), picture.affine.copy(), picture.modality)


def restored(
    logits: PictureLogits, change: Perturbation, shape: tuple[int, int], outside: float
) -> PictureLogits:
    """Logits on the changed picture, on the picture itself.

    Args:
        logits: on the changed picture.
        change: how it was changed.
        shape: of the picture.
        outside: logit beyond what was cut out.
    """
    back = logits[::-1] if change.mirrored else logits
    whole = np.full(shape, outside, dtype=np.float32)
    whole[_slices(shape, change.part)] = back
    return whole


def _slices(shape: tuple[int, ...], part: Part) -> tuple[slice, slice]:
    """At least one pixel along each axis."""
    begin_i, begin_j, end_i, end_j = part
    first, second = (
        slice(low := min(int(begin * size), size - 1), max(low + 1, round(end * size)))
        for begin, end, size in ((begin_i, end_i, shape[0]), (begin_j, end_j, shape[1]))
    )
    return first, second
