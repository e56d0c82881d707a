"""Hollow organs: walls with gas, fluid, stool or contrast medium inside."""

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from lib.train.phantom.scene import Scene
from lib.train.phantom.shapes import Shape, curve, tube
from lib.train.phantom.space import Box, lines_mm, smooth_field

_LOOPS_LOW = (-88.0, -14.0, -98.0)
_LOOPS_HIGH = (92.0, 96.0, 84.0)
_LOOP_STEP_MM = 27.0


def paint_stomach(scene: Scene) -> None:
    """Gas in front, fluid or food behind it, as in a patient who lies on the back."""
    grow = scene.rng.uniform(0.85, 1.3)
    points = tuple((x, y, z, radius * grow) for x, y, z, radius in scene.config.paths["stomach"])
    shape = tube(scene.space, points)
    if shape is None:
        return
    shape = Shape(
        shape.box, np.maximum(shape.distance, (scene.torso.diaphragm[shape.box] + 4) * np.float32(0.6))
    )
    scene.paint(shape, "stomach", "bowel_wall", gap_mm=1.0)
    content = "oral_contrast" if scene.patient.oral_contrast else "bowel_fluid"
    lumen = shape.distance + np.float32(scene.rng.uniform(3.0, 5.5))
    scene.paint_hu(Shape(shape.box, lumen), content, only="stomach")
    gas_above = scene.rng.uniform(25, 95)
    scene.paint_hu(
        Shape(shape.box, np.maximum(lumen, gas_above - scene.space.y[shape.box])), "gas", only="stomach"
    )


def paint_duodenum(scene: Scene) -> None:
    """The loop around the pancreas's head."""
    shape = tube(scene.space, scene.config.paths["duodenum"])
    if shape is None:
        return
    scene.paint(shape, "duodenum", "bowel_wall", gap_mm=1.0)
    scene.paint_hu(Shape(shape.box, shape.distance + np.float32(4)), "bowel_fluid", only="duodenum")


def paint_colon(scene: Scene) -> None:
    """The frame around the small bowel, with pouches, stool and gas."""
    rng = scene.rng
    jitter = rng.normal(size=(len(scene.config.paths["colon"]), 3)) * (5, 6, 8)
    grow = rng.uniform(0.8, 1.15)
    points = tuple(
        (x + dx, y + dy, z + dz, radius * grow)
        for (x, y, z, radius), (dx, dy, dz) in zip(scene.config.paths["colon"], jitter, strict=True)
    )
    shape = tube(scene.space, points)
    if shape is None or shape.along is None:
        return
    length_mm = float(np.linalg.norm(np.diff(np.array(points)[:, :3], axis=0), axis=1).sum())
    pouches = 2.2 * np.sin(shape.along * np.float32(length_mm * 2 * np.pi / 34))
    distance = np.maximum(shape.distance + pouches, scene.torso.cavity[shape.box] + 3)
    shape = Shape(shape.box, _beside_muscles(scene, shape.box, distance), shape.along)
    scene.paint(shape, "colon", "bowel_wall", gap_mm=1.2)
    _fill_colon(scene, shape)


def _fill_colon(scene: Scene, shape: Shape) -> None:
    if shape.along is None:
        return
    lumen = shape.distance + np.float32(2.6)
    grain = scene.rng.standard_normal(lumen.shape, dtype=np.float32)
    grain = gaussian_filter(grain, [3.0 / step for step in scene.space.spacing_mm])
    grain /= max(float(grain.std()), 1e-6)
    pieces = scene.rng.uniform(size=24)[(shape.along * 23.99).astype(int)]
    inside = (lumen < 0) & (scene.labels[shape.box] == scene.ids["colon"])
    hu = scene.hu[shape.box]
    stool = scene.densities["stool"] + 130 * np.clip(grain, -3, 1.2)
    hu[inside] = np.where(pieces < 0.2, scene.densities["bowel_fluid"], stool)[inside]
    level = scene.space.y[shape.box] - scene.rng.uniform(35, 80)
    gas = inside & ((pieces > 0.72) | ((level > 0) & (pieces > 0.3)))
    hu[gas] = scene.densities["gas"]


def paint_small_bowel(scene: Scene) -> None:
    """Loops packed into the middle of the abdomen: a snaking line through a jittered lattice."""
    line = _loop_line(scene.rng)
    box = scene.space.box([part - 16 for part in _LOOPS_LOW], [part + 16 for part in _LOOPS_HIGH])
    if box is None:
        return
    x, y, z = scene.space.at(box)
    lines = lines_mm(x.shape, scene.space.spacing_mm)
    bent = [values + 13 * smooth_field(lines, (70, 170), scene.rng) for values in (x, y, z)]
    points = np.stack([values.ravel() for values in bent], axis=1)
    apart, nearest = cKDTree(line[:, :3]).query(points, distance_upper_bound=24.0)
    nearest = np.minimum(nearest, len(line) - 1)
    radius = line[nearest, 3].reshape(x.shape)
    distance = np.minimum(apart, 50).reshape(x.shape) - radius
    ring = np.hypot((x - 2) / 102, (y - 42) / 62) - 1
    distance = np.maximum(np.maximum(distance, scene.torso.cavity[box] + 5), ring * 60)
    shape = Shape(box, _beside_muscles(scene, box, distance.astype(np.float32)))
    scene.paint(shape, "small_bowel", "bowel_wall", gap_mm=1.0)
    _fill_loops(scene, shape, nearest.reshape(x.shape) / len(line))


def _beside_muscles(scene: Scene, box: Box, distance: np.ndarray) -> np.ndarray:
    """Bowel lies in front of the loin muscles, not in them."""
    labels = scene.labels[box]
    muscle = np.isin(labels, [scene.ids[f"iliopsoas_{side}"] for side in ("left", "right")])
    return np.where(muscle | (scene.torso.cavity[box] > -1), np.float32(50), distance)


def _fill_loops(scene: Scene, shape: Shape, along: np.ndarray) -> None:
    pieces = scene.rng.uniform(size=40)[np.minimum((along * 40).astype(int), 39)]
    lumen = shape.distance + 3.2
    fluid = "oral_contrast" if scene.patient.oral_contrast else "bowel_fluid"
    scene.paint_hu(Shape(shape.box, np.where(pieces < 0.45, lumen, 50)), fluid, only="small_bowel")
    scene.paint_hu(Shape(shape.box, np.where(pieces > 0.93, lumen, 50)), "gas", only="small_bowel")


def _loop_line(rng: np.random.Generator) -> np.ndarray:
    """Points every few millimetres of the snake, shape (N, 4): x, y, z, radius."""
    axes = [
        np.arange(low, high + 1, _LOOP_STEP_MM) for low, high in zip(_LOOPS_LOW, _LOOPS_HIGH, strict=True)
    ]
    nodes = []
    for level, z in enumerate(axes[2]):
        rows = axes[1] if level % 2 == 0 else axes[1][::-1]
        for number, y in enumerate(rows):
            columns = axes[0] if (number + level) % 2 == 0 else axes[0][::-1]
            nodes += [(x, y, z) for x in columns]
    jittered = np.array(nodes) + rng.normal(size=(len(nodes), 3)) * 7.0
    radius = np.clip(rng.normal(11.0, 1.8, size=(len(nodes), 1)), 7, 15)
    return curve(np.hstack([jittered, radius]), 6)
