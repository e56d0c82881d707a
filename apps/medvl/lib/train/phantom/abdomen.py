"""Solid organs of the abdomen, and the organs of the pelvis."""

import numpy as np

from lib.train.phantom.config import Ellipsoid, Points
from lib.train.phantom.scene import Scene
from lib.train.phantom.shapes import Shape, ellipsoid, ellipsoid_at, smooth_max, smooth_min, tube
from lib.train.phantom.space import Pair, lines_mm, smooth_field

_HEPATIC_VEINS: tuple[Points, ...] = (
    ((26, 30, 192, 5.0), (52, 16, 178, 4.0), (84, 2, 148, 2.5)),
    ((24, 34, 192, 5.0), (44, 48, 172, 4.0), (62, 66, 132, 2.5)),
    ((20, 36, 192, 4.5), (2, 54, 178, 3.5), (-22, 74, 150, 2.2)),
    ((50, 44, 126, 5.5), (78, 26, 128, 4.0), (104, 10, 118, 2.5)),
    ((50, 44, 126, 5.0), (34, 66, 142, 4.0), (-4, 80, 146, 2.2)),
    ((78, 26, 128, 3.5), (94, 30, 100, 2.8), (104, 40, 74, 2.0)),
)


def paint_liver(scene: Scene) -> None:
    """Under the right dome; its lower surface rises to the left, its left lobe thins out."""
    up = scene.shift_of("liver")
    box = scene.space.box((-95, -85, 0), (150, 135, 215))
    if box is None:
        return
    x, y, z = scene.space.at(box)
    rng = scene.rng
    tip = 26 + rng.uniform(-22, 26) + up
    floor = np.interp(x, [-80, -30, 0, 30, 70, 110, 140], [152, 134, 116, 98, 62, 24, 20]).astype(np.float32)
    floor += np.float32(tip - 26) * np.interp(x, [0, 100], [0.2, 1]).astype(np.float32)
    floor += np.clip(28 - (y + 30) * 0.45, 0, 40) * np.clip(1 - np.abs(x - 70) / 60, 0, 1)
    left = -x - rng.uniform(50, 85)
    behind = (
        np.interp(x, [-85, -55, -20, 8, 26, 44, 70], [112, 80, 50, 28, -10, -48, -95]).astype(np.float32) - y
    )
    distance = smooth_max(scene.torso.cavity[box] + 2.2, (scene.torso.diaphragm[box] + 2.0) * 0.6, 8)
    distance = smooth_max(distance, (floor - z) * np.float32(0.75), 14)
    distance = smooth_max(smooth_max(distance, left.astype(np.float32), 14), behind * np.float32(0.8), 12)
    shape = Shape(box, distance.astype(np.float32))
    scene.paint(shape, "liver", "liver", gap_mm=_gap(scene))
    for points in _HEPATIC_VEINS:
        scene.paint_hu(tube(scene.space, points, smooth=4), "portal", only="liver")
    _texture(scene, shape, 3.0, (8, 30))


def _gap(scene: Scene) -> float:
    """Fat between neighbouring organs."""
    return 0.5 + 2.5 * scene.patient.visceral


def _texture(scene: Scene, shape: Shape, amplitude_hu: float, wavelengths_mm: Pair) -> None:
    """An uneven density inside a body."""
    lines = lines_mm(shape.distance.shape, scene.space.spacing_mm)
    field = smooth_field(lines, wavelengths_mm, scene.rng) * np.float32(amplitude_hu)
    inside = shape.distance < 0
    scene.hu[shape.box][inside] += field[inside]


def paint_spleen(scene: Scene) -> None:
    """A crescent under the left dome, hollow towards the stomach; uneven in the arterial phase."""
    up = scene.shift_of("spleen")
    grow = scene.rng.uniform(0.9, 1.3)
    centre = scene.around((-112, -26, 128 + up))
    shape = ellipsoid(scene.space, centre, (34 * grow, 54 * grow, 50 * grow), (12, 18, 22))
    if shape is None:
        return
    points = scene.space.at(shape.box)
    hollow = ellipsoid_at(points, (-58, 14, 128 + up), (42, 48, 76), (0, 10, 10))
    distance = smooth_max(shape.distance, -hollow, 8)
    distance = smooth_max(distance, scene.torso.cavity[shape.box] + 2.5, 6)
    distance = smooth_max(distance, (scene.torso.diaphragm[shape.box] + 3) * 0.6, 6)
    shape = Shape(shape.box, distance)
    scene.paint(shape, "spleen", "spleen", gap_mm=_gap(scene))
    if "spleen" not in scene.patient.absent:
        _texture(scene, shape, 16.0 if scene.patient.phase == "arterial" else 3.0, (18, 45))


def paint_kidneys(scene: Scene) -> None:
    """Bean with cortex, pyramids and a sinus of fat, in a capsule of fat."""
    for side, sign, centre in (("right", 1.0, (72, -16, 66)), ("left", -1.0, (-76, -20, 80))):
        name = f"kidney_{side}"
        if name not in scene.patient.absent:
            lower = (centre[0], centre[1], centre[2] + scene.shift_of(name))
            _paint_kidney(scene, name, sign, scene.around(lower, 6.0))


def _paint_kidney(scene: Scene, name: str, sign: float, centre: tuple[float, float, float]) -> None:
    rng = scene.rng
    size = rng.uniform(0.94, 1.2)
    radii = (27 * size, 25 * size, 54 * size)
    turn = (-14.0, sign * -14.0, sign * 28.0)
    shape = ellipsoid(scene.space, centre, radii, turn)
    if shape is None:
        return
    points = scene.space.at(shape.box)
    hilum = (centre[0] - sign * 20 * size, centre[1] + 9, centre[2])
    sinus = ellipsoid_at(points, hilum, (19 * size, 11 * size, 27 * size), turn)
    lobes = _lobes(points, centre, rng)
    body = smooth_max(shape.distance + lobes * 0.8, -sinus, 5)
    scene.paint(Shape(shape.box, shape.distance - 2 - 6 * scene.patient.visceral), "", "visceral")
    scene.paint(Shape(shape.box, body), name, "cortex", gap_mm=1.0)
    deep = np.maximum(shape.distance + 6.5 * size, -lobes * 6 + 1)
    medulla = np.maximum(deep, body + 1.0)
    scene.paint_hu(Shape(shape.box, medulla), "medulla", only=name)
    pelvis = ellipsoid_at(points, hilum, (8, 6, 15), turn)
    scene.paint(Shape(shape.box, np.maximum(pelvis, sinus + 3)), "", "bladder")


def _lobes(
    points: tuple[np.ndarray, np.ndarray, np.ndarray], centre: tuple, rng: np.random.Generator
) -> np.ndarray:
    """-1 to 1, alternating around a kidney: pyramids and the columns between them."""
    x, y, z = (values - np.float32(part) for values, part in zip(points, centre, strict=True))
    around = np.arctan2(y, np.abs(x) + 1)
    return np.sin(z * np.float32(2 * np.pi / 21) + rng.uniform(0, 6)) * np.cos(around * 3 + rng.uniform(0, 6))


def paint_small_organs(scene: Scene) -> None:
    """Adrenals, pancreas, gallbladder, bladder, prostate or womb, thyroid."""
    scene.paint(tube(scene.space, scene.config.paths["pancreas"]), "pancreas", "pancreas", gap_mm=_gap(scene))
    _paint_adrenals(scene)
    for name, spec in scene.config.ellipsoids.items():
        if name not in scene.patient.absent:
            _paint_ellipsoid(scene, name, spec)


def _paint_ellipsoid(scene: Scene, name: str, spec: Ellipsoid) -> None:
    low, high = (0.55, 1.3) if name in ("urinary_bladder", "gallbladder") else (0.85, 1.2)
    grow = scene.rng.uniform(low, high)
    radii = [part * grow for part in spec.radii]
    shape = ellipsoid(scene.space, scene.around(spec.centre, 4.0), radii, spec.turn)
    if name == "urinary_bladder" and shape is not None:
        scene.paint(Shape(shape.box, shape.distance - 2.5), "", "muscle")
    scene.paint(shape, spec.label, spec.tissue, gap_mm=0.8)


def _paint_adrenals(scene: Scene) -> None:
    """Two thin limbs that meet in front, above each kidney."""
    for side, centre, lean in (("right", (34, 2, 122), 20.0), ("left", (-46, 4, 122), -28.0)):
        one = ellipsoid(scene.space, centre, (3.2, 15, 15), (0, 8, lean))
        if one is None:
            continue
        points = scene.space.at(one.box)
        apart = 8 if side == "right" else -8
        other = ellipsoid_at(
            points, (centre[0] + apart, centre[1] - 3, centre[2] - 4), (3.0, 13, 13), (0, -6, -lean)
        )
        both = np.maximum(smooth_min(one.distance, other, 3), one.distance - 22)
        scene.paint(Shape(one.box, both), f"adrenal_gland_{side}", "adrenal", gap_mm=1.5)


def paint_muscles(scene: Scene) -> None:
    """Back, loin and buttock muscles, with fat between them."""
    _paint_back(scene)
    for side, sign in (("right", 1.0), ("left", -1.0)):
        points = tuple((sign * x, y, z, radius) for x, y, z, radius in scene.config.paths["iliopsoas"])
        scene.paint_muscle(tube(scene.space, points), f"iliopsoas_{side}")
        _paint_buttock(scene, side, sign)


def _paint_back(scene: Scene) -> None:
    box = scene.space.box((-80, -160, -80), (80, -20, 440))
    if box is None:
        return
    x, _, z = scene.space.at(box)
    behind = scene.torso.behind_spine[box]
    wide = np.interp(z, [-80, -40, 60, 200, 400], [22, 36, 42, 34, 26]).astype(np.float32)
    deep = np.interp(z, [-80, -40, 60, 200, 400], [14, 26, 31, 24, 22]).astype(np.float32)
    middle = np.interp(z, [-60, 60, 200, 400], [-48, -62, -46, -40]).astype(np.float32)
    for side, sign in (("right", 1.0), ("left", -1.0)):
        distance = (np.hypot((sign * x - wide - 2) / wide, (behind - middle) / deep) - 1) * deep
        distance = np.maximum(np.maximum(distance, 4 - sign * x), scene.torso.muscle[box] + 2)
        # in the chest it lies behind the ribs
        behind_ribs = np.interp(z, [90, 140], [-45, 7]).astype(np.float32) - scene.torso.cavity[box]
        distance = np.maximum(distance, behind_ribs)
        scene.paint_muscle(Shape(box, np.maximum(distance, np.abs(z - 170) - 245)), f"autochthon_{side}")


def _paint_buttock(scene: Scene, side: str, sign: float) -> None:
    parts = (
        ("minimus", (116, 6, -104), (19, 38, 40), (0, 0, 0)),
        ("medius", (128, -14, -84), (21, 48, 56), (0, 10, 20)),
        ("maximus", (90, -74, -138), (64, 27, 74), (10, -14, 26)),
    )
    for name, centre, radii, turn in parts:
        turned = (turn[0], sign * turn[1], sign * turn[2])
        shape = ellipsoid(scene.space, (sign * centre[0], *centre[1:]), radii, turned)
        if shape is None:
            continue
        outside = np.maximum(-scene.torso.cavity[shape.box] + 14, scene.torso.muscle[shape.box] + 1)
        scene.paint_muscle(Shape(shape.box, np.maximum(shape.distance, outside)), f"gluteus_{name}_{side}")
