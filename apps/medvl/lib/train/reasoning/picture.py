"""One small picture of an outlined object, for a person to look at: the slice that shows most of it."""

import io

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from PIL import Image
from scipy.ndimage import binary_erosion

from lib.shapes import Affine, AnyArray, BinaryMask
from lib.volume import Modality, Volume

OUTLINE_RGB = (255, 149, 0)
LONGEST_PX = 320
_SOFT_TISSUE_HU, _LUNG_HU = (-160.0, 240.0), (-1350.0, 150.0)
_AIR_AROUND_HU = -300.0
_AROUND_VOXELS = 3
_OUTLINE_PX = 2
_QUALITY = 80


def draw_object(volume: Volume, mask: BinaryMask) -> bytes:
    """A JPEG with the object's outline.

    Volumes are shown as radiologists read them: an axial slice, the patient's right on the left, front up.

    Args:
        volume: scan or picture.
        mask: of the object, not empty, shape (I, J, K).
    """
    if volume.shape[2] == 1:
        pixels = _display(volume)[..., 0].transpose(2, 1, 0)
        shown, size = mask[..., 0].T, volume.shape[:2]
        steps = volume.spacing_mm[:2]
    else:
        pixels, shown, steps = _axial(volume, mask)
        size = (shown.shape[1], shown.shape[0])
    width, height = (length * step for length, step in zip(size, steps, strict=True))
    scale = LONGEST_PX / max(width, height)
    wanted = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = np.array(Image.fromarray(np.ascontiguousarray(pixels)).resize(wanted))
    outline = np.asarray(Image.fromarray(shown).resize(wanted, Image.Resampling.NEAREST)).astype(bool)
    # a mask that is thinner than its outline is shown whole
    picture[outline & ~binary_erosion(outline, iterations=_OUTLINE_PX, border_value=1)] = OUTLINE_RGB
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _display(volume: Volume) -> AnyArray:
    """Colours of 0 to 255, three channels first."""
    values = volume.voxels.astype(np.float32)
    if volume.modality is not Modality.DISPLAY:
        low, high = np.percentile(values, (1, 99))
        values = (values - low) / max(float(high - low), 1e-6) * 255
    colours = np.clip(values, 0, 255).astype(np.uint8)
    return np.broadcast_to(colours, (3, *colours.shape[1:]))


def _axial(volume: Volume, mask: BinaryMask) -> tuple[AnyArray, AnyArray, tuple[float, float]]:
    """The slice with most of the object: colours, mask, and millimetres along columns and rows."""
    turned = _to_ras(mask, volume.affine)
    place = int(turned.sum(axis=(0, 1)).argmax())
    gray = _to_ras(volume.voxels[0], volume.affine)[:, :, place].astype(np.float32)
    inside = turned[:, :, place]
    low, high = _window(volume, gray, inside)
    shades = (np.clip((gray - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    step = np.array(volume.spacing_mm)[io_orientation(volume.affine)[:, 0].argsort()]
    return np.stack([_upright(shades)] * 3, axis=-1), _upright(inside), (float(step[0]), float(step[1]))


def _window(volume: Volume, gray: AnyArray, inside: AnyArray) -> tuple[float, float]:
    if volume.modality is Modality.DISPLAY:
        return 0.0, 255.0
    if volume.modality is Modality.CT:
        i, j = (
            np.argwhere(inside).min(axis=0) - _AROUND_VOXELS,
            np.argwhere(inside).max(axis=0) + _AROUND_VOXELS + 1,
        )
        around = gray[max(0, i[0]) : j[0], max(0, i[1]) : j[1]]
        return _LUNG_HU if float(np.median(around)) < _AIR_AROUND_HU else _SOFT_TISSUE_HU
    low, high = np.percentile(gray, (1, 99))
    return float(low), float(high)


def _to_ras(array: AnyArray, affine: Affine) -> AnyArray:
    return apply_orientation(array, ornt_transform(io_orientation(affine), axcodes2ornt(("R", "A", "S"))))


def _upright(slice_RA: AnyArray) -> AnyArray:
    """Rows from front to back, columns from the patient's right to the left."""
    return np.ascontiguousarray(slice_RA.T[::-1, ::-1])
