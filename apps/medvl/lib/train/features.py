"""Slice embeddings of labelled cases on disk, so that training a decoder never runs the frozen encoder again.

A view is a case seen along one axis in one window, perhaps mirrored. Its folder holds `embeddings.npy`
(N, C, h, w; half precision), `labels.npy` (N, side, side; label values on the network's canvas) and
`view.json`, which is written last: a folder without it is not finished.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lib.model.volume_segmenter import VolumeSegmenter
from lib.shapes import AnyArray, SliceMask
from lib.train.dataset import Case, LabelledScan, read_case
from lib.transforms.intensity import choose_window
from lib.transforms.spatial import Canvas, SlicePlane, fit_canvas, slice_plane

Progress = Callable[[str], None]
_RECORD = "view.json"


@dataclass(frozen=True)
class View:
    """Which slices of a case are seen, and how.

    Attributes:
        case: the case.
        axis: voxel axis across the slices; None for the best in-plane resolution.
        window: a CT window's name; None by modality.
        step: every so many-th slice.
        margin: so many slices beyond the first and last one with a label.
        mirrored: the picture's left and right exchanged.
        quarter_turns: by which the picture is turned, counter-clockwise, after mirroring.
        zoom: side of the picture relative to the canvas that it could fill, above 0 and at most 1.
    """

    case: Case
    axis: int | None = None
    window: str | None = None
    step: int = 1
    margin: int = 8
    mirrored: bool = False
    quarter_turns: int = 0
    zoom: float = 1.0

    @property
    def key(self) -> str:
        """A folder name that says what the view depends on."""
        said: list[object] = [self.case.name, self.axis, self.window, self.step, self.margin, self.mirrored]
        said += [self.quarter_turns, self.zoom]
        return f"{self.case.name}-{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class ViewRecord:
    """What `view.json` says.

    Attributes:
        case: the case's name.
        kind: who drew the reference, or a picture's modality.
        weights_sha256: of the encoder.
        slices: the slices' numbers, in the order of the arrays.
        inner: height and width of the picture on the canvas, in canvas pixels.
        is_picture: a single 2D picture.
        spacing_mm: from one slice of the view to the next.
    """

    case: str
    kind: str
    weights_sha256: str
    slices: list[int]
    inner: list[int]
    is_picture: bool
    spacing_mm: float


@dataclass(frozen=True, eq=False)
class StoredView:
    """A finished view; arrays are mapped, not read, so that many views fit."""

    folder: Path
    record: ViewRecord

    @cached_property
    def labels(self) -> AnyArray:
        """Label values, shape (N, side, side), uint8."""
        return np.load(self.folder / "labels.npy", mmap_mode="r", allow_pickle=False)

    @cached_property
    def _embeddings(self) -> AnyArray:
        return np.load(self.folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)

    def embedding(self, position: int) -> Tensor:
        """One slice's embedding, shape (C, h, w), float32."""
        return torch.from_numpy(np.array(self._embeddings[position])).float()

    def mask(self, position: int, value: int) -> SliceMask:
        """One object on one slice."""
        return np.asarray(self.labels[position] == value)

    @cached_property
    def present(self) -> dict[int, list[int]]:
        """Label value to the positions of the slices that show it with at least a few pixels."""
        found: dict[int, list[int]] = {}
        for position in range(len(self.labels)):
            values, counts = np.unique(self.labels[position], return_counts=True)
            for value, count in zip(values, counts, strict=True):
                if value and count >= SMALLEST_OBJECT_PX:
                    found.setdefault(int(value), []).append(position)
        return found


SMALLEST_OBJECT_PX = 12
"""Canvas pixels below which an object on a slice is too small to be clicked on."""


def store_views(
    segmenter: VolumeSegmenter, views: Iterable[View], folder: Path, progress: Progress
) -> list[StoredView]:
    """Embed what is not there yet and open all views.

    Args:
        segmenter: its encoder is used; a view made with other weights is made again.
        views: what to embed.
        folder: where the views are kept, each in a folder of its own.
        progress: is told which view is being made.

    Raises:
        VolumeError: a case that cannot be read.
    """
    stored = []
    for view in views:
        target = folder / view.key
        record = _read_record(target)
        if record is None or record.weights_sha256 != segmenter.encoder_sha256:
            progress(f"embedding {view.case.name}")
            record = _embed(segmenter, view, target)
        stored.append(StoredView(target, record))
    return stored


def _read_record(folder: Path) -> ViewRecord | None:
    path = folder / _RECORD
    if not path.is_file():
        return None
    said = json.loads(path.read_text())
    names = {field.name for field in dataclasses.fields(ViewRecord)}
    return ViewRecord(**said) if set(said) == names else None  # else it was made by another version


def _embed(segmenter: VolumeSegmenter, view: View, folder: Path) -> ViewRecord:
    scan = read_case(view.case)
    volume = scan.volume
    plane = slice_plane(volume.affine, volume.shape, view.axis)
    canvas = _canvas(plane, view, segmenter.config.image_size)
    window = choose_window(volume, view.window)
    frames = plane.frames(scan.label_map)
    slices = _chosen(frames, view)
    embeddings, labels = [], []
    for index in slices:
        picture, label = window.apply(plane.slice_of(volume.voxels, index)), frames[index]
        picture, label = _turned(picture, view), _turned(label, view)
        with torch.inference_mode():
            (embedding,) = segmenter.encode(canvas.paint(picture)[None])
        embeddings.append(embedding.levels[-1][0].half().cpu().numpy())
        labels.append(_on_canvas(label, canvas))
    record = ViewRecord(
        view.case.name,
        view.case.kind,
        segmenter.encoder_sha256,
        slices,
        list(canvas.inner),
        _is_flat(scan),
        plane.spacing_mm[plane.axis] * view.step,
    )
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "embeddings.npy", np.stack(embeddings))
    np.save(folder / "labels.npy", np.stack(labels))
    (folder / _RECORD).write_text(json.dumps(dataclasses.asdict(record)))
    return record


def _canvas(plane: SlicePlane, view: View, side: int) -> Canvas:
    """Where the picture of a view lies on the network's canvas."""
    fitted = fit_canvas(plane, max(1, round(side * view.zoom)))
    is_on_its_side = view.quarter_turns % 2 == 1
    size, inner = ((pair[::-1] if is_on_its_side else pair) for pair in (fitted.size, fitted.inner))
    return Canvas(size, inner, side)


def _turned(picture: AnyArray, view: View) -> AnyArray:
    mirrored = picture[..., ::-1] if view.mirrored else picture
    return np.rot90(mirrored, view.quarter_turns, axes=(-2, -1))


def _is_flat(scan: LabelledScan) -> bool:
    return scan.volume.shape[2] == 1


def _chosen(frames: AnyArray, view: View) -> list[int]:
    shown = np.flatnonzero(frames.any(axis=(1, 2)))
    first, last = max(0, int(shown[0]) - view.margin), min(len(frames) - 1, int(shown[-1]) + view.margin)
    return list(range(first, last + 1, view.step))


def _on_canvas(label: AnyArray, canvas: Canvas) -> AnyArray:
    """Label values at the canvas' resolution; 0 beyond the picture."""
    tensor = torch.from_numpy(np.ascontiguousarray(label, dtype=np.float32))[None, None]
    scaled = interpolate(tensor, size=canvas.inner, mode="nearest-exact")[0, 0].numpy().astype(np.uint8)
    painted = np.zeros((canvas.side, canvas.side), dtype=np.uint8)
    painted[: scaled.shape[0], : scaled.shape[1]] = scaled
    return painted
