"""From voxels as a client sent them to prompts in world millimetres, checked against the scan.

3D Slicer's boxes may reach beyond the scan, because its users draw them in space; they are cut to the scan.
All other coordinates must lie inside.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lib.errors import PromptError
from lib.formats import read_mask
from lib.geometry import world_axes
from lib.predict.segment import SegmentOptions
from lib.prompt import Box, Clicks, Prompt, box_from_voxels, clicks_from_voxels
from lib.request import AUTO, BoxRequest, ObjectRequest, Point, SegmentRequest
from lib.settings import Settings
from lib.volume import Modality, Volume

MAX_SCRIBBLE_POINTS = 500
"""Of each sign; a scribble's voxels are thinned evenly to so many."""
BARE_SUFFIX = ".bin"
"""Of uploaded voxels without any header."""
_FOREGROUND_NAMES = ("foreground_scribbles", "foreground", "positive")
_BACKGROUND_NAMES = ("background_scribbles", "background", "negative")
_WORLD_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


def prompts_from_request(request: SegmentRequest, volume: Volume) -> dict[str, Prompt]:
    """What the user gave for each object, in the order of the mask's values.

    Raises:
        PromptError: coordinates outside the scan, an inverted box, a point both on and off the object, or
            nothing at all that says where the object is.
    """
    prompts = {name: _prompt(given, request.slice_index, volume) for name, given in request.objects.items()}
    scribble = _scribble(request, volume)
    for name, prompt in prompts.items():
        prompts[name] = replace(prompt, scribble=scribble, text=request.text)
        if prompts[name].is_empty:
            raise PromptError(
                f"The request says nothing about where {name!r} is; send at least one foreground click, a "
                "box or a scribble."
            )
    return prompts


def options_from_request(request: SegmentRequest, volume: Volume, settings: Settings) -> SegmentOptions:
    """How to segment: what the request says, else what the operator set.

    The operator's window is for CT; other scans are shown by their own values.
    """
    default_window = settings.window if volume.modality is Modality.CT else ""
    return SegmentOptions(
        axis=slice_axis(request.axis, volume),
        propagation=request.propagation or settings.propagation,
        window=request.window or default_window or None,
    )


def slice_axis(name: str, volume: Volume) -> int | None:
    """The voxel axis across slices that a radiologist calls axial, coronal or sagittal; None for auto."""
    if name == AUTO:
        return None
    if name.isdigit():
        return int(name)
    nearest = [axis for axis, _ in world_axes(volume.affine)]
    return nearest.index(_WORLD_AXES[name])


def _prompt(given: ObjectRequest, slice_index: int | None, volume: Volume) -> Prompt:
    foreground = _lifted(given.foreground, slice_index, volume)
    background = _lifted(given.background, slice_index, volume)
    _refuse_contradiction(foreground, background)
    clicks = clicks_from_voxels(foreground, background, volume.shape, volume.affine)
    return Prompt(clicks=clicks, boxes=tuple(_box(box, slice_index, volume) for box in given.boxes))


def _lifted(points: tuple[Point, ...], slice_index: int | None, volume: Volume) -> np.ndarray:
    """Points as (N, 3) voxels; those of a picture get their third coordinate from the slice."""
    lifted = [
        point if len(point) == 3 else (*point, _slice_of_2d(point, slice_index, volume)) for point in points
    ]
    return np.array(lifted, dtype=np.float64).reshape(-1, 3)


def _slice_of_2d(point: Point, slice_index: int | None, volume: Volume) -> float:
    if slice_index is not None:
        return float(slice_index)
    if volume.shape[2] == 1:
        return 0.0
    raise PromptError(
        f"Point or corner {list(point)} has two coordinates, but the scan has {volume.shape[2]} slices; "
        "send [i, j, k], or say the slice."
    )


def _refuse_contradiction(foreground: np.ndarray, background: np.ndarray) -> None:
    """OHIF sends the same clicks as both kinds when its row 'background' is selected while running."""
    both = {tuple(point) for point in foreground} & {tuple(point) for point in background}
    if both:
        raise PromptError(
            f"Point {list(min(both))} is given as foreground and as background; keep one of them, and select "
            "a structure, not 'background', before running."
        )


def _box(box: BoxRequest, slice_index: int | None, volume: Volume) -> Box:
    low, high = _lifted((box.low, box.high), slice_index, volume)
    if not box.is_ordered:
        low, high = _cut_to_scan(np.minimum(low, high), np.maximum(low, high), volume)
    return box_from_voxels(low, high, volume.shape, volume.affine)


def _cut_to_scan(low: np.ndarray, high: np.ndarray, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    last = np.array(volume.shape) - 1
    if (high < 0).any() or (low > last).any():
        raise PromptError(
            f"The roi {low.tolist()} to {high.tolist()} (voxels i, j, k) lies outside the scan; "
            f"allowed are 0 to {last.tolist()}."
        )
    return np.clip(low, 0, last), np.clip(high, 0, last)


def _scribble(request: SegmentRequest, volume: Volume) -> Clicks:
    if request.scribbles is None:
        return Clicks()
    if len(request.objects) > 1:
        raise PromptError("A scribble belongs to one object; send one object at a time.")
    is_bare = request.scribbles.suffix == BARE_SUFFIX
    values = _bare_voxels(request.scribbles, volume) if is_bare else read_mask(request.scribbles, volume)
    positive, negative = _scribble_values(request, int(values.max()))
    return clicks_from_voxels(
        _thinned(values == positive), _thinned(values == negative), volume.shape, volume.affine
    )


def _bare_voxels(path: Path, volume: Volume) -> np.ndarray:
    """OHIF's strokes: one byte for each voxel, the first axis fastest, on the grid of the scan."""
    values = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    if values.size != np.prod(volume.shape):
        raise PromptError(
            f"The uploaded label has {values.size} bytes; a {BARE_SUFFIX} file needs one for each voxel of "
            f"{volume.shape}."
        )
    return values.reshape(volume.shape, order="F")


def _scribble_values(request: SegmentRequest, highest: int) -> tuple[int, int]:
    """Values of strokes on and off the object: as label_info says, or MONAI Label's 3 and 2, or 1 and 2."""
    named = dict(request.scribble_values)
    positive = next((named[name] for name in _FOREGROUND_NAMES if name in named), None)
    negative = next((named[name] for name in _BACKGROUND_NAMES if name in named), None)
    if positive is not None:
        return positive, -1 if negative is None else negative
    return (3, 2) if highest == 3 else (1, 2)


def _thinned(stroke: np.ndarray) -> np.ndarray:
    voxels = np.argwhere(stroke)
    step = max(1, -(-len(voxels) // MAX_SCRIBBLE_POINTS))
    return voxels[::step].astype(np.float64)
