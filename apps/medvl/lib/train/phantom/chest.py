"""Lungs with lobes and vessels, mediastinum, heart, airways."""

import numpy as np

from lib.train.phantom.scene import Scene
from lib.train.phantom.shapes import Shape, ellipsoid, ellipsoid_at, smooth_max, tube
from lib.train.phantom.space import Box, lines_mm, smooth_field

_LUNG_BOX = ((-160, -120, 95), (160, 120, 432))
_HEART = ((-24, 42, 240), (72, 49, 54), (0, 24, -28))
_BRANCHES = 220
_PULMONARY_ARTERIES = ("pulmonary_trunk", "pulmonary_artery_right", "pulmonary_artery_left")
_PAINTED_APART = (*_PULMONARY_ARTERIES, "spinal_cord")
_CHAMBERS = (
    ("left_blood", (-46, 42, 226), (36, 19, 19), (0, 24, -30)),
    ("right_blood", (-20, 66, 222), (38, 14, 24), (0, 20, -25)),
    ("right_blood", (28, 36, 236), (20, 24, 28), (0, 0, 0)),
    ("left_blood", (-4, 8, 258), (30, 19, 22), (0, 0, 0)),
)


def paint_chest(scene: Scene) -> None:
    """Everything above the diaphragm but bones and great vessels."""
    box = scene.space.box(*_LUNG_BOX)
    if box is None:
        return
    lungs = _lungs(scene, box)
    _paint_mediastinum(scene, box)
    _paint_lungs(scene, box, lungs)
    _paint_heart(scene)
    for name in _PULMONARY_ARTERIES:
        spec = scene.config.tubes[name]
        scene.paint(tube(scene.space, spec.points), "", spec.tissue)


def _lungs(scene: Scene, box: Box) -> np.ndarray:
    """Distance to both lungs: inside the chest wall, above the diaphragm, beside the mediastinum."""
    lungs = smooth_max(scene.torso.cavity[box] + 2.0, -(scene.torso.diaphragm[box] - 3.0) * 0.6, 4.0)
    return smooth_max(lungs, -_mediastinum(scene, box), 5.0)


def _mediastinum(scene: Scene, box: Box) -> np.ndarray:
    x, y, z = scene.space.at(box)
    heart = ellipsoid_at((x, y, z), *_HEART) - 5
    middle = np.interp(z, [150, 200, 280, 330, 380, 415], [14, 16, 24, 26, 30, 46]).astype(np.float32)
    taper = np.interp(y, [-70, -20, 40, 85], [0.55, 1.0, 0.95, 0.12]).astype(np.float32)
    band = np.abs(x + 2) - middle * taper
    arch = ellipsoid_at((x, y, z), (-14, -2, 328), (26, 44, 18)) - 2
    spine = np.hypot(x, scene.torso.behind_spine[box]) - np.float32(24)
    down = np.hypot(x + 24, y + 24) - 16
    return np.minimum(
        np.minimum(np.minimum(heart, band), np.minimum(arch, spine)), np.maximum(down, np.abs(z - 230) - 100)
    )


def _paint_mediastinum(scene: Scene, box: Box) -> None:
    """Fat between the lungs; other structures are put into it."""
    inside = (scene.torso.cavity[box] < 0) & (scene.torso.diaphragm[box] > 0) & (scene.labels[box] == 0)
    scene.hu[box][inside] = scene.densities["visceral"] + 20


def _paint_lungs(scene: Scene, box: Box, lungs: np.ndarray) -> None:
    x, y, z = scene.space.at(box)
    lobes = {
        "lung_lower_lobe_left": (x < 0) & (z - 262 + 1.25 * y < 0),
        "lung_upper_lobe_left": (x < 0) & (z - 262 + 1.25 * y >= 0),
        "lung_lower_lobe_right": (x >= 0) & (z - 250 + 1.2 * y < 0),
        "lung_middle_lobe_right": (x >= 0) & (z - 250 + 1.2 * y >= 0) & (z < 272 - 0.1 * y),
        "lung_upper_lobe_right": (x >= 0) & (z - 250 + 1.2 * y >= 0) & (z >= 272 - 0.1 * y),
    }
    inside = (lungs < 0) & (scene.labels[box] == 0)
    base = scene.densities["lung"] + _lung_texture(scene, box)
    scene.hu[box][inside] = base[inside]
    for name, where in lobes.items():
        scene.labels[box][inside & where] = scene.ids[name]
    # what hangs down is denser, and the fissures are thin walls
    for edge, side in ((z - 262 + 1.25 * y, x < 0), (z - 250 + 1.2 * y, x >= 0)):
        scene.hu[box][inside & side & (np.abs(edge) < 1.4)] += 90
    for sign in (1.0, -1.0):
        _paint_lung_vessels(scene, sign)


def _lung_texture(scene: Scene, box: Box) -> np.ndarray:
    """Patchy, and denser behind, where the blood sinks to."""
    lines = lines_mm(scene.space.x[box].shape, scene.space.spacing_mm)
    return smooth_field(lines, (40, 160), scene.rng) * 14 - 0.35 * scene.space.y[box]


def _paint_lung_vessels(scene: Scene, sign: float) -> None:
    """Branches from the hilum outward that divide and thin out."""
    rng = scene.rng
    hilum = np.array([sign * 44.0, -4.0, 296.0])
    ways = (
        (1, 0.1, 0.9),
        (1, -0.7, 0.4),
        (1, 0.8, 0.1),
        (0.8, -0.6, -0.8),
        (0.8, 0.5, -0.7),
        (0.5, -0.1, -1.2),
    )
    tips = [
        (hilum, _unit(np.array([sign * x, y, z]) + rng.normal(size=3) * 0.15), 4.6, 0) for x, y, z in ways
    ]
    # thinner ones do not show on a coarse grid
    thinnest = max(1.1, 0.45 * max(scene.space.spacing_mm))
    count = 0
    while tips and count < _BRANCHES:
        start, direction, radius, depth = tips.pop(0)
        end = start + direction * rng.uniform(16, 30) * (1 if depth else 1.3)
        _paint_branch(scene, start, end, radius)
        count += 1
        if radius > thinnest:
            for _ in range(3 if depth < 2 else 2):
                turn = rng.normal(size=3) * 0.55
                tips.append((end, _unit(direction + turn), radius * rng.uniform(0.66, 0.82), depth + 1))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _paint_branch(scene: Scene, start: np.ndarray, end: np.ndarray, radius: float) -> None:
    shape = tube(scene.space, ((*start, radius), (*end, radius * 0.85)), smooth=1)
    if shape is None:
        return
    labels = scene.labels[shape.box]
    lung = (labels >= scene.ids["lung_upper_lobe_left"]) & (labels <= scene.ids["lung_lower_lobe_right"])
    # a vessel thinner than a voxel still darkens it in part
    share = np.clip(0.5 - shape.distance / np.float32(max(scene.space.spacing_mm)), 0, 1) * lung
    hu = scene.hu[shape.box]
    hu += share * (scene.densities["lung_vessel"] - hu)


def _paint_heart(scene: Scene) -> None:
    scene.paint(
        ellipsoid(scene.space, _HEART[0], [part + 2.5 for part in _HEART[1]], _HEART[2]), "", "visceral"
    )
    scene.paint(ellipsoid(scene.space, *_HEART), "heart", "myocardium")
    for tissue, centre, radii, turn in _CHAMBERS:
        scene.paint(ellipsoid(scene.space, centre, radii, turn), "heart", tissue)
    appendage = ellipsoid(scene.space, (-42, 38, 266), (14, 9, 10), (0, 0, -30))
    scene.paint(appendage, "atrial_appendage_left", "left_blood")


def paint_tubes(scene: Scene) -> None:
    """Vessels, gullet, windpipe and cord: everything that is a plain tube."""
    for name, spec in scene.config.tubes.items():
        if name in _PAINTED_APART:
            continue
        shape = tube(scene.space, spec.points)
        gap = 1.5 if spec.label and spec.tissue != "caval" else 0.0
        if spec.tissue == "airway" and shape is not None:
            scene.paint(Shape(shape.box, shape.distance - 1.6), "", "muscle")
        scene.paint(shape, spec.label, spec.tissue, gap)
        if name == "esophagus" and shape is not None and scene.rng.random() < 0.4:
            scene.paint_hu(Shape(shape.box, shape.distance + 4.5), "gas")


def paint_cord(scene: Scene) -> None:
    """The spinal cord, which follows the canal."""
    spec = scene.config.tubes["spinal_cord"]
    low, high = spec.points[0], spec.points[-1]
    box = scene.space.box((-14, -120, low[2]), (14, 20, high[2]))
    if box is None or spec.along_spine is None:
        return
    x, _, z = scene.space.at(box)
    radius = np.interp(z, [point[2] for point in spec.points], [point[3] for point in spec.points])
    # the canal lies behind the body, whose depth changes with height
    behind = scene.torso.behind_spine[box] + np.interp(z, [-30, 100, 250, 400, 450], [27, 26, 24, 19, 18])
    distance = np.hypot(x / 1.2, behind) - radius
    inside = (z > low[2]) & (z < high[2])
    scene.paint(Shape(box, np.where(inside, distance, 50).astype(np.float32)), spec.label, spec.tissue)
