"""Pictures of a mask on its scan: three planes through the object, as a radiologist reads them.

The patient's right is on the left of the axial and coronal planes, anterior is on the left of the sagittal
one, superior (axial: anterior) is up. Pixels are square in millimetres, however the scan is stored.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from lib.shapes import Affine, BinaryMask
from lib.volume import Volume

Colour = tuple[int, int, int]

RESULT_RGB: Colour = (255, 149, 0)
REFERENCE_RGB: Colour = (0, 208, 255)
BOX_RGB: Colour = (255, 255, 255)
FOREGROUND_RGB: Colour = (60, 220, 60)
BACKGROUND_RGB: Colour = (255, 60, 60)
CLICK_RADIUS_PX = 5
_LETTER_RGB: Colour = (255, 255, 0)
_DARK_EDGE: dict[str, Any] = {"stroke_width": 2, "stroke_fill": (0, 0, 0)}
"""Keeps letters readable on bone."""
PIXELS_PER_MM = 1.5
MARGIN_PX = 34
WINDOW_HU = (-160.0, 240.0)
"""Level 40, width 400: soft tissue."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """One picture: a scan, what the model drew, what it is compared with, and the box that was given.

    Attributes:
        volume: the scan; its first channel is shown.
        result: what the model drew, shape (I, J, K), bool.
        reference: what it is compared with, shape (I, J, K), bool.
        title: a line above the picture.
        box_ijk: lowest and highest voxel of the box, both inclusive, shape (2, 3); None if none was given.
        foreground_ijk: clicks on the object, shape (N, 3).
        background_ijk: clicks off the object, shape (N, 3).
    """

    volume: Volume
    result: BinaryMask
    reference: BinaryMask
    title: str
    box_ijk: np.ndarray | None = None
    foreground_ijk: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    background_ijk: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))


@dataclass(frozen=True)
class _Plane:
    """How a plane is cut from arrays in RAS order.

    Attributes:
        name: shown in the picture's corner.
        across: the axis that the plane cuts; of the other two, the first runs along its rows.
        edges: letters at the left, right, top and bottom edge.
    """

    name: str
    across: int
    edges: tuple[str, str, str, str]


_PLANES = (
    _Plane("axial", 2, ("R", "L", "A", "P")),
    _Plane("coronal", 1, ("R", "L", "S", "I")),
    _Plane("sagittal", 0, ("A", "P", "S", "I")),
)
_NOTICE: tuple[str, Colour] = ("Research use only.", (160, 160, 160))


def draw_overlay(overlay: Overlay) -> Image.Image:
    """Draw the three planes beside each other, cut through the centre of the reference.

    Raises:
        ValueError: the reference is empty, so that there is no centre.
    """
    affine = overlay.volume.affine
    grey = _to_ras(_windowed(overlay.volume.voxels[0]), affine)
    result, reference = _to_ras(overlay.result, affine), _to_ras(overlay.reference, affine)
    box = _to_ras(_filled_box(overlay.box_ijk, overlay.volume.shape), affine)
    spacing = np.array(overlay.volume.spacing_mm)[io_orientation(affine)[:, 0].argsort()]
    centre = _centre_voxel(reference)
    panels = []
    for plane in _PLANES:
        size_px = _panel_size(np.delete(grey.shape * spacing, plane.across))
        cuts = [_cut(array, plane, int(centre[plane.across])) for array in (grey, result, reference, box)]
        panel = _draw_panel(*cuts, size_px=size_px, plane=plane)
        for clicks_ijk, colour in _clicks(overlay):
            _draw_clicks(panel, _click_cells(clicks_ijk, overlay, plane), colour)
        panels.append(panel)
    return _side_by_side(panels, overlay)


def save_overlay(overlay: Overlay, path: Path) -> None:
    """Write the picture as PNG."""
    draw_overlay(overlay).save(path, format="PNG", optimize=True)


def _windowed(values: np.ndarray) -> np.ndarray:
    low, high = WINDOW_HU
    return (np.clip((values - low) / (high - low), 0.0, 1.0) * 255).astype(np.uint8)


def _to_ras(array: np.ndarray, affine: Affine) -> np.ndarray:
    """Axes reordered and flipped so that they point to the right, anterior and superior (nearest axes)."""
    return apply_orientation(array, ornt_transform(io_orientation(affine), axcodes2ornt(("R", "A", "S"))))


def _clicks(overlay: Overlay) -> tuple[tuple[np.ndarray, Colour], ...]:
    return (overlay.foreground_ijk, FOREGROUND_RGB), (overlay.background_ijk, BACKGROUND_RGB)


def _click_cells(clicks_ijk: np.ndarray, overlay: Overlay, plane: _Plane) -> np.ndarray:
    """Where clicks lie on a plane, seen from before it: (right, down) as shares of its size, shape (N, 2)."""
    affine = overlay.volume.affine
    order = io_orientation(affine)
    shares = np.zeros((len(clicks_ijk), 3))
    for axis, (target, sign) in enumerate(order):
        share = (clicks_ijk[:, axis] + 0.5) / overlay.volume.shape[axis]
        shares[:, int(target)] = share if sign > 0 else 1 - share
    # a cut runs against both remaining RAS axes: left to right of the picture and top to bottom
    return 1 - np.delete(shares, plane.across, axis=1)


def _draw_clicks(panel: Image.Image, shares: np.ndarray, colour: Colour) -> None:
    draw = ImageDraw.Draw(panel)
    for right, down in shares * np.array(panel.size):
        corners = (
            right - CLICK_RADIUS_PX,
            down - CLICK_RADIUS_PX,
            right + CLICK_RADIUS_PX,
            down + CLICK_RADIUS_PX,
        )
        draw.ellipse(corners, fill=colour, outline=(0, 0, 0))


def _filled_box(box_ijk: np.ndarray | None, shape: tuple[int, int, int]) -> np.ndarray:
    filled = np.zeros(shape, dtype=bool)
    if box_ijk is None:
        return filled
    low, high = box_ijk
    filled[low[0] : high[0] + 1, low[1] : high[1] + 1, low[2] : high[2] + 1] = True
    return filled


def _centre_voxel(mask: np.ndarray) -> np.ndarray:
    points = np.argwhere(mask)
    if len(points) == 0:
        raise ValueError("an empty reference has no centre to cut through")
    return np.rint(points.mean(axis=0)).astype(int)


def _panel_size(extent_mm: np.ndarray) -> tuple[int, int]:
    width, height = np.rint(extent_mm * PIXELS_PER_MM).astype(int)
    return (max(1, int(width)), max(1, int(height)))


def _cut(array: np.ndarray, plane: _Plane, position: int) -> np.ndarray:
    """One slice with its rows from top to bottom and its columns from left to right of the picture."""
    return np.ascontiguousarray(np.take(array, position, axis=plane.across).T[::-1, ::-1])


def _draw_panel(
    grey: np.ndarray,
    result: np.ndarray,
    reference: np.ndarray,
    box: np.ndarray,
    *,
    size_px: tuple[int, int],
    plane: _Plane,
) -> Image.Image:
    resized = Image.fromarray(grey).resize(size_px, Image.Resampling.BICUBIC)
    pixels = np.stack([np.asarray(resized)] * 3, axis=-1)
    result_px = _enlarged(result, size_px)
    pixels[result_px] = (0.75 * pixels[result_px] + 0.25 * np.array(RESULT_RGB)).astype(np.uint8)
    pixels[_outline(_enlarged(box, size_px), width_px=1)] = BOX_RGB
    pixels[_outline(_enlarged(reference, size_px), width_px=2)] = REFERENCE_RGB
    pixels[_outline(result_px, width_px=2)] = RESULT_RGB
    panel = Image.fromarray(pixels)
    _letter_edges(panel, plane)
    return panel


def _enlarged(mask: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize(size_px, Image.Resampling.NEAREST)).astype(bool)


def _outline(mask: np.ndarray, width_px: int) -> np.ndarray:
    return mask & ~binary_erosion(mask, iterations=width_px, border_value=1)


def _letter_edges(panel: Image.Image, plane: _Plane) -> None:
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(size=15)
    width, height = panel.size
    left, right, top, bottom = plane.edges
    places = {(4, height // 2): (left, "lm"), (width - 4, height // 2): (right, "rm")}
    places |= {(width // 2, 4): (top, "mt"), (width // 2, height - 4): (bottom, "mb")}
    for position, (letter, anchor) in places.items():
        draw.text(position, letter, fill=_LETTER_RGB, font=font, anchor=anchor, **_DARK_EDGE)
    draw.text((4, 4), plane.name, fill=_LETTER_RGB, font=font, **_DARK_EDGE)


def _legend(overlay: Overlay) -> tuple[tuple[str, Colour], ...]:
    said: list[tuple[str, Colour]] = [("model", RESULT_RGB), ("reference", REFERENCE_RGB)]
    if overlay.box_ijk is not None:
        said.append(("box given", BOX_RGB))
    if len(overlay.foreground_ijk):
        said.append(("clicks on it", FOREGROUND_RGB))
    if len(overlay.background_ijk):
        said.append(("clicks off it", BACKGROUND_RGB))
    return (*said, _NOTICE)


def _side_by_side(panels: list[Image.Image], overlay: Overlay) -> Image.Image:
    gap = 6
    width = sum(panel.width for panel in panels) + gap * (len(panels) - 1)
    height = max(panel.height for panel in panels)
    canvas = Image.new("RGB", (width, height + 2 * MARGIN_PX))
    left = 0
    for panel in panels:
        canvas.paste(panel, (left, MARGIN_PX + (height - panel.height) // 2))
        left += panel.width + gap
    _write_texts(canvas, MARGIN_PX // 2, ((overlay.title, (255, 255, 255)),))
    _write_texts(canvas, canvas.height - MARGIN_PX // 2, _legend(overlay))
    return canvas


def _write_texts(canvas: Image.Image, centre_px: int, texts: tuple[tuple[str, Colour], ...]) -> None:
    """Texts beside each other, from the left edge, at one height."""
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=17)
    left = 8.0
    for text, colour in texts:
        draw.text((left, centre_px), text, fill=colour, font=font, anchor="lm")
        left += draw.textlength(text, font=font) + 24
