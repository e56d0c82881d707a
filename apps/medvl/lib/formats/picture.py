"""PNG and JPEG pictures through Pillow: one slice, i to the right and j down.

A picture has no place in a patient. Like ITK, the pixels are taken as 1 mm wide, i running to the patient's
left and j to posterior, so that every viewer shows picture and mask the same way up.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lib.errors import VolumeError
from lib.formats.array import ScanArray, as_voxels, guess_modality, readable
from lib.geometry import LPS_FROM_RAS
from lib.mask import Mask
from lib.shapes import AnyArray
from lib.volume import Modality, Volume

MAX_PIXELS = 2**26
"""8192 x 8192; less than Pillow's own limit on decompression bombs."""
_GRAY = {"1": "L", "L": "L", "LA": "L", "La": "L", "I": "I", "I;16": "I", "I;16B": "I", "F": "F"}
"""Pillow's modes of one value a pixel, and how each is read; all others become RGB."""


def read_picture(path: Path) -> Volume:
    """Read a PNG or JPEG as a volume of one slice, upright as its EXIF tag says, transparency dropped.

    8-bit pictures are display values; gray pictures of more bits keep their values.

    Raises:
        VolumeError: damaged, truncated or too large.
    """
    with readable("picture"):
        picture = _open(path)
        mode = _GRAY.get(picture.mode, "RGB")
        pixels = np.asarray(picture.convert(mode))
    if mode == "RGB":
        return Volume(_channels_first(pixels), LPS_FROM_RAS.copy(), Modality.DISPLAY)
    voxels = as_voxels(pixels.T[:, :, np.newaxis])
    modality = Modality.DISPLAY if mode == "L" else guess_modality(voxels)
    return Volume(voxels, LPS_FROM_RAS.copy(), modality)


def read_picture_labels(path: Path) -> ScanArray:
    """Read a PNG of labels: gray values, or the indices of a palette.

    Raises:
        VolumeError: damaged, truncated, too large, or in colour.
    """
    with readable("picture"):
        picture = _open(path)
        if picture.mode not in {"P", *_GRAY}:
            raise VolumeError(
                f"A picture of labels has one value a pixel; this one has mode {picture.mode}: save it as a "
                "gray or palette PNG."
            )
        pixels = np.asarray(picture if picture.mode == "P" else picture.convert(_GRAY[picture.mode]))
    if picture.mode == "1":
        pixels = pixels // 255
    return ScanArray(pixels.T[:, :, np.newaxis], LPS_FROM_RAS.copy())


def encode_picture(mask: Mask) -> bytes:
    """A mask of one slice as a gray PNG whose pixel values are the labels.

    Raises:
        VolumeError: the mask has several slices.
    """
    if mask.label_map.shape[2] != 1:
        raise VolumeError(
            f"A mask of {mask.label_map.shape[2]} slices does not fit into a PNG; ask for .nrrd or .nii.gz."
        )
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(mask.label_map[:, :, 0].T)).save(buffer, format="PNG")
    return buffer.getvalue()


def _open(path: Path) -> Image.Image:
    picture: Image.Image = Image.open(path, formats=("PNG", "JPEG"))
    if picture.width * picture.height > MAX_PIXELS:
        raise VolumeError(
            f"The picture is too large: {picture.width} x {picture.height} pixels; at most {MAX_PIXELS} are "
            "allowed: make it smaller."
        )
    return ImageOps.exif_transpose(picture)


def _channels_first(pixels_rows_columns: AnyArray) -> AnyArray:
    """(rows, columns, 3) to (3, I, J, 1)."""
    return np.ascontiguousarray(pixels_rows_columns.transpose(2, 1, 0)[..., np.newaxis])
