"""Bones, cartilage, the spinal canal and the muscles at the bones."""

import numpy as np

from lib.train.phantom.scene import Scene
from lib.train.phantom.shapes import Shape, ellipsoid, ellipsoid_at, mirrored, smooth_max, tube
from lib.train.phantom.space import Box, Number
from lib.train.phantom.torso import cavity_front_y, spine_y

SIDES = (("right", 1.0), ("left", -1.0))
_LUMBAR_MM = (34.0, 34.5, 35.0, 35.5, 33.0)
_THORACIC_MM = (21.0, 22.0, 23.0, 23.5, 24.0, 24.5, 25.0, 26.0, 27.5, 28.5, 29.5, 31.0)
_RIB_SPAN = (2.55, 2.5, 2.45, 2.42, 2.4, 2.4, 2.38, 2.3, 2.15, 1.95, 1.35, 0.95)
_RIB_DROP_MM = (40, 62, 78, 88, 94, 98, 100, 102, 100, 92, 70, 48)
_RIB_OUT_MM, _RIB_THICK_MM, _RIB_HIGH_MM = 5.0, 3.6, 6.4


def vertebra_levels() -> list[tuple[str, float, float]]:
    """Name, z of the centre and height with disc of every vertebra, from S1 up."""
    levels = [("S1", -57.0, 34.0)]
    for name, height in _heights():
        _, z, below = levels[-1]
        levels.append((name, z + (below + height) / 2, height))
    return levels


def _heights() -> list[tuple[str, float]]:
    """From L5 up."""
    lumbar = [(f"L{5 - step}", height) for step, height in enumerate(reversed(_LUMBAR_MM))]
    thoracic = [(f"T{12 - step}", height) for step, height in enumerate(reversed(_THORACIC_MM))]
    return [*lumbar, *thoracic, *((f"C{number}", 17.0) for number in range(7, 2, -1))]


def paint_spine(scene: Scene) -> None:
    """Vertebrae, discs, sacrum, canal and cord."""
    _paint_sacrum(scene)
    for name, z, height in vertebra_levels():
        if name != "S1":
            _paint_vertebra(scene, f"vertebrae_{name}", z, height)
    _paint_s1(scene)


def _paint_vertebra(scene: Scene, label: str, z: float, height: float) -> None:
    wide = float(np.interp(z, [-30, 100, 250, 400, 450], [26, 23, 17, 15, 12]))
    deep = float(np.interp(z, [-30, 100, 250, 400, 450], [18, 17, 15, 10, 9]))
    y = float(spine_y(np.array(z)))
    box = scene.space.box((-52, y - 78, z - height), (52, y + 24, z + height))
    if box is None:
        return
    x, _, height_at = scene.space.at(box)
    back = scene.torso.behind_spine[box]
    up = height_at - np.float32(z)
    waist = 1.5 * (1 - np.minimum(np.abs(up) / (height / 2), 1)) ** 2
    column = (np.sqrt((x / wide) ** 2 + (back / deep) ** 2) - 1) * deep + waist
    body = smooth_max(column, np.abs(up) - height * 0.42, 3.0)
    disc = np.maximum(column, np.abs(up) - height * 0.5)
    scene.paint(Shape(box, disc + 1.0), "", "disc")
    canal = -np.float32(deep + 9)
    arch = _arch(x, back - canal, up, height)
    _paint_bone(scene, Shape(box, np.minimum(body, arch)), label, shell_mm=1.8)
    hole = np.hypot(x / 1.25, back - canal) - np.float32(7.2)
    scene.paint(Shape(box, np.maximum(hole, np.abs(up) - height * 0.52)), "", "canal")


def _arch(x: np.ndarray, behind: np.ndarray, up: np.ndarray, height: float) -> np.ndarray:
    """Ring about the canal, spinous and transverse processes; `behind` is counted from the canal's centre."""
    ring = np.maximum(np.abs(np.hypot(x / 1.25, behind) - 10.5) - 3.2, np.abs(up + 2) - height * 0.3)
    spine = np.maximum(
        np.maximum(np.abs(x) - 3.2, np.abs(behind + 29) - 20),
        np.abs(up + 6 + (behind + 10) * -0.25) - height * 0.25,
    )
    beside = np.maximum(np.abs(np.abs(x) - 25) - 15, np.hypot(behind + 2 + np.abs(x) * 0.12, up - 1) - 4.5)
    facets = np.hypot(np.hypot(np.abs(x) - 16, behind + 7), up * 0.45) - 7
    return np.minimum(np.minimum(ring, spine), np.minimum(beside, facets))


def _paint_sacrum(scene: Scene) -> None:
    box = scene.space.box((-70, -120, -165), (70, 20, -30))
    if box is None:
        return
    x, _, z = scene.space.at(box)
    wide = np.interp(z, [-160, -130, -90, -55, -30], [8, 18, 40, 56, 50]).astype(np.float32)
    thick = np.interp(z, [-160, -130, -90, -55, -30], [6, 9, 15, 22, 20]).astype(np.float32)
    back = scene.torso.behind_spine[box] + np.abs(x) * 0.45
    distance = (np.sqrt((x / wide) ** 2 + (back / thick) ** 2) - 1) * thick
    distance = smooth_max(distance, np.abs(z + 96) - 62, 5)
    _paint_bone(scene, Shape(box, distance), "sacrum", shell_mm=1.8)
    holes = np.hypot(np.abs(x) - 20, (z + 30) % 27 - 13.5) - 5.5
    scene.paint(Shape(box, np.maximum(np.maximum(holes, distance), np.abs(z + 98) - 40)), "", "visceral")


def _paint_s1(scene: Scene) -> None:
    z = -57.0
    y = float(spine_y(np.array(z)))
    box = scene.space.box((-34, y - 30, z - 24), (34, y + 30, z + 20))
    if box is None:
        return
    x, _, height = scene.space.at(box)
    back = scene.torso.behind_spine[box]
    body = (np.sqrt((x / 27) ** 2 + (back / 18) ** 2) - 1) * 18
    body = smooth_max(body, np.abs(height - np.float32(z)) - 16, 4)
    _paint_bone(scene, Shape(box, body), "vertebrae_S1", shell_mm=1.8)


def _paint_bone(
    scene: Scene, shape: Shape | None, label: str, shell_mm: Number, core: str = "spongiosa"
) -> None:
    """A dense shell about a core, darker where the patient's bones are."""
    if shape is None:
        return
    scene.paint(shape, label, "cortical_bone")
    inner = shape.distance < -shell_mm
    inside = shape.distance < 0
    hu = scene.hu[shape.box]
    hu[inner] = scene.densities[core]
    hu[inside] *= np.float32(scene.patient.bone_factor)


def paint_ribs(scene: Scene) -> None:
    """Twelve pairs in the wall of the chest, their cartilages and the sternum."""
    box = scene.space.box((-185, -125, 20), (185, 135, 440))
    if box is None:
        return
    x, _, z = scene.space.at(box)
    angle, out = scene.torso.angle[box], scene.torso.cavity[box]
    shell = np.abs(out - _RIB_OUT_MM) - _RIB_THICK_MM
    near = np.flatnonzero((shell < 4).ravel())
    drop_shape = (1 - np.cos(angle.ravel()[near] * 0.88)) / 2
    levels = {name: height for name, height, _ in vertebra_levels()}
    for number in range(1, 13):
        distance = np.full(angle.size, 50, dtype=np.float32)
        drop = _RIB_DROP_MM[number - 1]
        along = z.ravel()[near] - np.float32(levels[f"T{number}"] + 8) + np.float32(drop) * drop_shape
        span = (angle.ravel()[near] - _RIB_SPAN[number - 1]) * 80
        distance[near] = np.maximum(_flat(shell.ravel()[near], along), span)
        for side, sign in SIDES:
            half = np.where(sign * x.ravel() > 9, distance, 50).reshape(angle.shape)
            _paint_bone(scene, Shape(box, half), f"rib_{side}_{number}", shell_mm=1.7)
        if number <= 10:
            _paint_cartilage(scene, box, number, (near, along, shell.ravel()[near]))
    _paint_sternum(scene)


def _flat(shell: np.ndarray, along: np.ndarray) -> np.ndarray:
    """A flat oval: as thick as the shell, higher than thick."""
    return (np.hypot((shell + _RIB_THICK_MM) / _RIB_THICK_MM, along / _RIB_HIGH_MM) - 1) * _RIB_THICK_MM


def _paint_cartilage(
    scene: Scene, box: Box, number: int, rib: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """From the rib's end to the sternum, rising for the lower ones."""
    near, along, shell = rib
    angle = scene.torso.angle[box].ravel()[near]
    past = angle - _RIB_SPAN[number - 1]
    rise = float(np.interp(number, [1, 3, 6, 10], [-5, 20, 95, 130]))
    distance = np.full(scene.torso.angle[box].size, 50, dtype=np.float32)
    ahead = np.maximum(-past * 80, (angle - 2.98) * 80)
    distance[near] = np.maximum(_flat(shell, along - np.float32(rise) * past), ahead)
    scene.paint(Shape(box, distance.reshape(scene.torso.angle[box].shape)), "costal_cartilages", "cartilage")


def _paint_sternum(scene: Scene) -> None:
    box = scene.space.box((-40, 0, 205), (40, 130, 395))
    if box is None:
        return
    x, _, z = scene.space.at(box)
    wide = np.interp(z, [210, 235, 255, 330, 350, 385], [5, 14, 17, 14, 24, 29]).astype(np.float32)
    front = scene.torso.angle[box] > np.pi / 2
    plate = smooth_max(np.abs(x) - wide, np.abs(scene.torso.cavity[box] - 7) - 5.5, 3)
    distance = np.where(front, np.maximum(plate, np.abs(z - 298) - 86), np.float32(50))
    _paint_bone(scene, Shape(box, distance), "sternum", shell_mm=1.6)


def paint_shoulders(scene: Scene) -> None:
    """Scapulae, clavicles and humeri."""
    for side, sign in SIDES:
        y = cavity_front_y(385.0) + 2
        clavicle = ((20, y, 386, 6.5), (66, y + 4, 400, 5.5), (112, y - 22, 412, 5.5), (142, y - 38, 412, 6))
        points = clavicle if sign > 0 else mirrored(clavicle)
        _paint_bone(scene, tube(scene.space, points), f"clavicula_{side}", shell_mm=2)
        _paint_scapula(scene, side, sign)
        _paint_humerus(scene, side, sign)


def _paint_scapula(scene: Scene, side: str, sign: float) -> None:
    box = scene.space.box(
        (45, -150, 268) if sign > 0 else (-185, -150, 268), (185, 10, 420) if sign > 0 else (-45, 10, 420)
    )
    if box is None:
        return
    x, y, z = scene.space.at(box)
    x = x * np.float32(sign)
    plate = np.abs(y + 88 - (x - 80) * 0.55 - (z - 330) * 0.12) - 3.0
    medial = np.interp(z, [270, 300, 400], [98, 76, 72]).astype(np.float32) - x
    lateral = x - np.interp(z, [270, 340, 395], [108, 132, 142]).astype(np.float32)
    blade = np.maximum(np.maximum(plate, medial), np.maximum(lateral, np.abs(z - 335) - 62))
    ridge = np.maximum(
        np.hypot((y + 100 - (x - 80) * 0.62) / 2.2, z - 378 - (x - 80) * 0.25) - 5, np.abs(x - 112) - 40
    )
    socket = ellipsoid_at((x, y, z), (140, -48, 378), (10, 12, 18))
    _paint_bone(
        scene, Shape(box, np.minimum(np.minimum(blade, ridge), socket)), f"scapula_{side}", shell_mm=2
    )


def _paint_humerus(scene: Scene, side: str, sign: float) -> None:
    head = (sign * 163, -34, 386)
    shape = ellipsoid(scene.space, head, (23, 23, 23))
    _paint_bone(scene, shape, f"humerus_{side}", shell_mm=2)
    end = (sign * 196, -40, 150) if scene.patient.arms_beside else (sign * 178, -6, 560)
    shaft = ((head[0], head[1], head[2], 14.0), (*end, 10.5))
    _paint_bone(scene, tube(scene.space, shaft), f"humerus_{side}", shell_mm=5, core="marrow")


def paint_hips(scene: Scene) -> None:
    """Hip bones with their sockets, and the thighs' heads and necks."""
    for side, sign in SIDES:
        _paint_ilium(scene, side, sign)
        _paint_lower_hip(scene, side, sign)
        _paint_femur(scene, side, sign)


def _paint_ilium(scene: Scene, side: str, sign: float) -> None:
    """The wing: a sheet outside of the muscle that lines the pelvis."""
    box = scene.space.box(
        (10, -110, -140) if sign > 0 else (-165, -110, -140), (165, 80, 5) if sign > 0 else (-10, 80, 5)
    )
    if box is None:
        return
    x, y, z = scene.space.at(box)
    out = scene.torso.cavity[box]
    angle = scene.torso.angle[box]
    thick = np.interp(z, [-135, -100, -50, -10], [15, 10, 5.5, 7.5]).astype(np.float32)
    sheet = np.abs(out - np.interp(z, [-135, -60, -10], [10, 17, 19]).astype(np.float32)) - thick
    front = (angle - np.interp(z, [-130, -70, -20], [1.7, 1.95, 1.75]).astype(np.float32)) * 85
    crest = z + 6 + 0.0045 * (y + 5) ** 2
    behind = (np.interp(z, [-130, -95, -60, -20], [1.15, 0.95, 0.55, 0.62]).astype(np.float32) - angle) * 85
    distance = smooth_max(smooth_max(sheet, np.maximum(front, behind), 3), np.maximum(crest, -z - 132), 3)
    distance = np.where(sign * x > 12, distance, np.float32(50))
    _paint_bone(scene, Shape(box, distance), f"hip_{side}", shell_mm=2)
    lining = np.maximum(
        np.maximum(-out - 2, out - 14), np.maximum(front, np.maximum(behind, np.abs(z + 58) - 40))
    )
    lining = np.where(scene.labels[box] == 0, lining, np.float32(50))
    scene.paint(Shape(box, np.where(sign * x > 40, lining, np.float32(50))), f"iliopsoas_{side}", "muscle")


def _paint_lower_hip(scene: Scene, side: str, sign: float) -> None:
    socket = ellipsoid(scene.space, (sign * 78, -4, -140), (34, 35, 35))
    _paint_bone(scene, socket, f"hip_{side}", shell_mm=2.2)
    ramus = ((sign * 62, 14, -146, 13.0), (sign * 36, 36, -160, 9.0), (sign * 6, 34, -172, 10.0))
    ischium = ((sign * 68, -24, -150, 17.0), (sign * 58, -42, -180, 15.0), (sign * 50, -36, -200, 11.0))
    lower = ((sign * 48, -30, -200, 8.0), (sign * 24, 4, -196, 7.0), (sign * 8, 24, -184, 7.0))
    for points in (ramus, ischium, lower):
        _paint_bone(scene, tube(scene.space, points), f"hip_{side}", shell_mm=2)


def _paint_femur(scene: Scene, side: str, sign: float) -> None:
    joint = ellipsoid(scene.space, (sign * 92, -6, -146), (27, 27, 27))
    scene.paint(joint, "", "cartilage")
    head = ellipsoid(scene.space, (sign * 92, -6, -146), (24, 24, 24))
    neck = ((sign * 92, -6, -146, 16.0), (sign * 128, -14, -168, 17.0))
    shaft = ((sign * 134, -18, -160, 17.0), (sign * 136, -14, -195, 17.0), (sign * 132, -8, -330, 15.0))
    for shape in (head, tube(scene.space, neck), tube(scene.space, shaft)):
        _paint_bone(scene, shape, f"femur_{side}", shell_mm=2.2)
    if scene.patient.metal == int(sign):
        implant = ((sign * 92, -6, -146, 14.0), (sign * 126, -14, -166, 8.0), (sign * 135, -14, -250, 7.0))
        shape = tube(scene.space, implant)
        if shape is not None:
            scene.hu[shape.box][shape.distance < 0] = 3000.0
