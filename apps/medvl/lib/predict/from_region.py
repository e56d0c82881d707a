"""From region maps to masks on the scan's grid, all structures together, each slice embedded once.

A map says where a structure is to a few millimetres. On every slice it becomes a box and a mask prompt
(signed logits, aligned with the letter-boxed canvas), the decoder draws, and draws once more from what it
drew. What lies far from the map is cut off. Thin slices are drawn a few millimetres apart and interpolated
between.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import max_pool2d

from lib.model.config import Backbone, TrainedPrompt
from lib.model.decoder import PIXELS_PER_CELL
from lib.model.part_decoder import Part, PartPrompts
from lib.predict.cropped import CroppedMask
from lib.predict.necks import COMPACT, without_necks
from lib.predict.propagate import MASK_LOGIT
from lib.predict.region_frames import FAR_OUTSIDE, RegionFrames
from lib.predict.regions import RegionMap
from lib.predict.scan import EmbeddedScan
from lib.shapes import LabelMap
from lib.transforms.spatial import SlicePlane


class Drawing(StrEnum):
    """What of a region map the decoder is given."""

    MAP = "map"
    """Nothing: the map itself is the mask."""
    POINT = "point"
    """A click in its thick; READ (Qian et al., CVPR 2025) so gives similarities as points."""
    BOX = "box"
    """The box around it."""
    MASK = "mask"
    """The box, and the map as a mask prompt."""


@dataclass(frozen=True)
class DrawOptions:
    """How masks are drawn from maps.

    Attributes:
        how: what the decoder is given.
        step_mm: slices are drawn about so far apart.
        rounds: how often the decoder draws, each time from the box and mask that it drew before.
        reach_mm: so far from the map what was drawn counts.
        least_share: parts of an object smaller than this share of its largest part are dropped.
        ends: the first and last slice of every structure are drawn too; without, only those of structures
            that few slices show, and any other ends half a step beyond the last slice that was drawn.
    """

    how: Drawing = Drawing.MASK
    step_mm: float = 3.0
    rounds: int = 2
    reach_mm: float = 16.0
    least_share: float = 0.05
    ends: bool = True


@dataclass(frozen=True, eq=False)
class DrawnRegion:
    """One structure.

    Attributes:
        mask: on the scan's grid.
        predicted_iou: overlap with the truth that the network expects, 0 to 1; mean over slices by area.
        agreement: overlap (IoU) of what was drawn with the map.
        key_slice: where the map is largest, along the slice axis.
    """

    mask: CroppedMask
    predicted_iou: float
    agreement: float
    key_slice: int


@dataclass
class _Tally:
    """Sums over the slices of one structure."""

    area: float = 0.0
    iou_times_area: float = 0.0
    common: float = 0.0
    either: float = 0.0
    largest: float = -1.0
    key_slice: int = 0

    def add(self, index: int, drawn: Tensor, region: Tensor, iou: float) -> None:
        inside, expected = drawn > 0, region > 0
        area, expected_area = float(inside.sum()), float(expected.sum())
        self.area += area
        self.iou_times_area += area * min(max(iou, 0.0), 1.0)
        self.common += float((inside & expected).sum())
        self.either += float((inside | expected).sum())
        if expected_area > self.largest:
            self.largest, self.key_slice = expected_area, index


@dataclass
class _Canvas:
    """The label map of all structures as slices (D, H, W), 0 for none."""

    labels: np.ndarray
    names: tuple[str, ...]
    tallies: dict[str, _Tally] = field(default_factory=dict)


_FEW_SLICES = 3
"""A structure that fewer slices would show is short, and its ends matter."""
SMALLEST_PX = 4
"""Mask pixels below which a map on a slice is too small to be drawn from."""
_PART_PAD_CELLS = 4
_PART_SIDES = (16, 24, 32, 48)
"""Sides of the parts of an embedding that objects are drawn on, in cells."""
_BLEND_LIMIT = 6.0
"""Logits are limited to this before slices are interpolated, so that they blend as shapes."""


def draw_regions(
    scan: EmbeddedScan, maps: Mapping[str, RegionMap], options: DrawOptions | None = None
) -> dict[str, DrawnRegion]:
    """Draw structures from their maps; a voxel belongs to the structure that is surest of it.

    Args:
        scan: the scan; its slices are embedded where a map is above 0.
        maps: structure to map; at most 255.
        options: how; None for the defaults.
    """
    options = options or DrawOptions()
    frames = RegionFrames(maps, scan.volume.affine, scan.plane, scan.canvas)
    names = tuple(maps)
    canvas = _Canvas(
        np.zeros((scan.plane.count, *scan.plane.size), dtype=np.uint8), names, {n: _Tally() for n in names}
    )
    step = max(1, int(options.step_mm / scan.plane.spacing_mm[scan.plane.axis] + 1e-6))
    before: tuple[int, dict[str, np.ndarray]] = (-step, {})
    for index in _drawn_slices(frames, step, ends=options.ends):
        here = (index, _slice_logits(scan, frames, index, canvas, options))
        if index - before[0] <= step:
            _paint_between(canvas, before, here)
        _paint(canvas, *here)
        before = here
    _cut_necks(canvas, scan.plane)
    return _finished(canvas, scan.plane, options.least_share)


def _drawn_slices(frames: RegionFrames, step: int, *, ends: bool) -> list[int]:
    """Every n-th slice that shows anything, and the first and last of each structure, or of short ones."""
    chosen: set[int] = set()
    for shown in frames.shown_on.values():
        among = [index for index in shown if index % step == 0]
        chosen.update(among)
        if ends or len(among) < _FEW_SLICES:
            chosen.update(shown[:1] + shown[-1:])
    return sorted(chosen)


def _slice_logits(
    scan: EmbeddedScan, frames: RegionFrames, index: int, canvas: _Canvas, options: DrawOptions
) -> dict[str, np.ndarray]:
    """For each structure on a slice its logits at the slice's resolution (H, W)."""
    names = [name for name in canvas.names if index in frames.shown_on[name]]
    if not names:
        return {}
    regions = frames.on_slice(index, names, PIXELS_PER_CELL * scan.segmenter.config.embedding_size)
    found = {}
    for name, region in zip(names, regions, strict=True):
        if int((region > 0).sum()) < SMALLEST_PX:
            continue
        drawn, iou = draw_on_slice(scan, index, region, options)
        canvas.tallies[name].add(index, drawn, region, iou)
        found[name] = scan.canvas.read(drawn)
    return found


def draw_on_slice(
    scan: EmbeddedScan, index: int, region: Tensor, options: DrawOptions
) -> tuple[Tensor, float]:
    """What the network draws from a map on one slice, and the overlap (IoU) that it expects.

    Args:
        scan: the scan.
        index: the slice.
        region: the map on the network's canvas, four mask pixels a cell, (side, side); positive somewhere.
        options: how.
    """
    if options.how is Drawing.MAP:
        return region, 1.0
    how = options.how
    if how is Drawing.MASK and not scan.segmenter.config.knows(TrainedPrompt.MASK):
        how = Drawing.BOX
    drawn, iou = region, 0.0
    for _ in range(options.rounds if how is Drawing.MASK else 1):
        drawn, iou = _drawn_once(scan, index, drawn, how)
        if not (drawn > 0).any():
            break
    return torch.where(_near(scan, region > 0, options.reach_mm), drawn, FAR_OUTSIDE), iou


def _drawn_once(scan: EmbeddedScan, index: int, region: Tensor, how: Drawing) -> tuple[Tensor, float]:
    part, box_px = _part_and_box(scan, region)
    if how is Drawing.POINT:
        prompts = PartPrompts(part, None, None, _thickest_px(scan, region))
    else:
        hint = torch.where(region > 0, MASK_LOGIT, -MASK_LOGIT)[None, None, *part.window].contiguous()
        prompts = PartPrompts(part, box_px[None], hint if how is Drawing.MASK else None)
    embedding = scan.embedding(index)
    with scan.gate.turn():
        output = scan.segmenter.decode_part(embedding, prompts)
    drawn = torch.full_like(region, FAR_OUTSIDE)
    drawn[part.window] = output.mask_logits[0, 0].cpu()
    return drawn, float(output.iou[0])


def _thickest_px(scan: EmbeddedScan, region: Tensor) -> Tensor:
    """The point of a map that is farthest from its edge, (1, 1, 2) as (x, y) in canvas pixels."""
    depth = ndimage.distance_transform_edt(np.pad((region > 0).numpy(), 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    px = scan.segmenter.config.image_size / region.shape[-1]
    return torch.tensor([[[(col + 0.5) * px, (row + 0.5) * px]]], dtype=torch.float32)


def _part_and_box(scan: EmbeddedScan, region: Tensor) -> tuple[Part, Tensor]:
    """The cells to draw on and the box around a map, loosened as in training, in canvas pixels."""
    config = scan.segmenter.config
    inside = (region > 0).numpy()
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    edges = np.array([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1], dtype=np.float64)
    px = config.image_size / region.shape[-1]
    box = np.clip(edges * px + config.box_margin_px * np.array([-1, -1, 1, 1]), 0, config.image_size)
    cells = config.embedding_size
    if config.backbone is Backbone.HIERA or scan.segmenter.device.type != "cpu":
        return Part(0, 0, cells, cells), torch.from_numpy(box).float()
    low, high = box.reshape(2, 2)[:, ::-1] / config.backbone_stride
    need = float((high - low).max()) + 2 * _PART_PAD_CELLS
    side = next((side for side in _PART_SIDES if need <= side < cells), cells)
    row, col = (int(np.clip(round(middle - side / 2), 0, cells - side)) for middle in (low + high) / 2)
    return Part(row, col, side, side), torch.from_numpy(box).float()


def _near(scan: EmbeddedScan, inside: Tensor, reach_mm: float) -> Tensor:
    """The mask pixels that are at most so far from a map, by squares."""
    height_mm = scan.plane.size[0] * scan.plane.pixel_mm[0]
    pixel_mm = height_mm / (scan.canvas.inner[0] * inside.shape[-1] / scan.canvas.side)
    reach = max(1, round(reach_mm / pixel_mm))
    near = torch.zeros_like(inside)
    window = tuple(
        slice(max(0, int(shown[0]) - reach), int(shown[-1]) + 1 + reach)
        for shown in (torch.nonzero(inside.any(dim=1))[:, 0], torch.nonzero(inside.any(dim=0))[:, 0])
    )
    grown = inside[window].float()[None, None]
    for kernel, padding in (((2 * reach + 1, 1), (reach, 0)), ((1, 2 * reach + 1), (0, reach))):
        grown = max_pool2d(grown, kernel, stride=1, padding=padding)  # a square is two lines
    near[window] = grown[0, 0] > 0
    return near


def _paint(canvas: _Canvas, index: int, logits: Mapping[str, np.ndarray]) -> None:
    best = np.zeros(canvas.labels.shape[1:], dtype=np.float32)
    for value, name in enumerate(canvas.names, start=1):
        if name in logits:
            wins = logits[name] > best
            canvas.labels[index][wins] = value
            best[wins] = logits[name][wins]


def _paint_between(
    canvas: _Canvas, before: tuple[int, dict[str, np.ndarray]], here: tuple[int, dict[str, np.ndarray]]
) -> None:
    (first, one), (last, other) = before, here
    shared = [name for name in canvas.names if name in one or name in other]
    for index in range(first + 1, last):
        share = (index - first) / (last - first)
        _paint(canvas, index, {name: _blend(one.get(name), other.get(name), share) for name in shared})


def _blend(one: np.ndarray | None, other: np.ndarray | None, share: float) -> np.ndarray:
    outside = np.float32(-_BLEND_LIMIT)
    first = outside if one is None else np.clip(one, -_BLEND_LIMIT, _BLEND_LIMIT)
    second = outside if other is None else np.clip(other, -_BLEND_LIMIT, _BLEND_LIMIT)
    return np.asarray((1 - share) * first + share * second, dtype=np.float32)


def _cut_necks(canvas: _Canvas, plane: SlicePlane) -> None:
    boxes = ndimage.find_objects(canvas.labels, max_label=len(canvas.names))
    for value, (name, box) in enumerate(zip(canvas.names, boxes, strict=True), start=1):
        if name in COMPACT and box is not None:
            inside = canvas.labels[box] == value
            kept = without_necks(inside, plane.pixel_mm)
            canvas.labels[box][inside & ~kept] = 0


def _finished(canvas: _Canvas, plane: SlicePlane, least_share: float) -> dict[str, DrawnRegion]:
    labels = plane.volume_of(canvas.labels)
    boxes = ndimage.find_objects(labels, max_label=len(canvas.names))
    finished = {}
    for value, (name, box) in enumerate(zip(canvas.names, boxes, strict=True), start=1):
        tally = canvas.tallies[name]
        finished[name] = DrawnRegion(
            mask=_without_crumbs(labels, value, box, least_share),
            predicted_iou=tally.iou_times_area / tally.area if tally.area else 0.0,
            agreement=tally.common / tally.either if tally.either else 0.0,
            key_slice=tally.key_slice,
        )
    return finished


def _without_crumbs(
    labels: LabelMap, value: int, box: tuple[slice, ...] | None, least_share: float
) -> CroppedMask:
    """The connected parts of one structure that are not small beside its largest."""
    i, j, k = labels.shape
    if box is None:
        return CroppedMask.empty((i, j, k))
    inside = labels[box] == value
    labelled, _ = ndimage.label(inside, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labelled.ravel())
    sizes[0] = 0
    kept = (sizes >= max(1.0, least_share * sizes.max()))[labelled]
    first, second, third = (part.start for part in box)
    return CroppedMask.of(kept, (first, second, third), (i, j, k))
