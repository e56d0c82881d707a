"""A body of ellipsoids with masks of its organs, of which every number is known."""

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from lib.predict.cropped import CroppedMask
from lib.predict.evidence import Seen
from lib.predict.report import report_of
from lib.volume import Modality, Volume

SHAPE, SPACING_MM = (90, 64, 80), (4.0, 4.0, 4.0)
CENTRES = {
    "liver": (70.0, 0.0, 0.0),
    "spleen": (-90.0, -20.0, 10.0),
    "kidney_right": (55.0, -50.0, -40.0),
    "kidney_left": (-55.0, -50.0, -40.0),
    "aorta": (-8.0, -40.0, -20.0),
}
RADII = {
    "liver": (65.0, 50.0, 82.0),
    "spleen": (25.0, 40.0, 48.0),
    "kidney_right": (26.0, 24.0, 53.0),
    "kidney_left": (26.0, 24.0, 53.0),
    "aorta": (11.0, 11.0, 90.0),
}


class Patient:
    """A body of ellipsoids in any voxel order."""

    def __init__(self, orientation="RAS", changes=None, hu=60):
        affine = np.diag([*SPACING_MM, 1.0])
        affine[:3, 3] = -(np.array(SHAPE) - 1) / 2 * np.array(SPACING_MM)
        self._turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
        points = np.moveaxis(np.indices(SHAPE), 0, -1) * np.array(SPACING_MM) + affine[:3, 3]
        self._points = points
        body = (np.abs(points[..., :2] / (165.0, 115.0)) ** 2).sum(axis=-1) <= 1
        noise = np.random.default_rng(1).normal(0, 8, SHAPE)
        values = np.where(body, hu + noise, -1000)
        self.seen = {}
        for name, usual in CENTRES.items():
            centre, radii = (changes or {}).get(name, (usual, RADII[name]))
            if radii is None:
                continue
            mask = self.ball(centre, radii)
            values[mask] += {"aorta": 100, "liver": 40}.get(name, 60)
            self.add(name, mask)
        turned = np.ascontiguousarray(apply_orientation(values.astype(np.int16), self._turn))
        self.volume = Volume(turned[np.newaxis], affine @ inv_ornt_aff(self._turn, SHAPE), Modality.CT)

    def ball(self, centre, radii):
        return (((self._points - centre) / radii) ** 2).sum(axis=-1) <= 1

    def add(self, name, mask, confidence=0.9):
        self.seen[name] = Seen(
            CroppedMask.of(np.ascontiguousarray(apply_orientation(mask, self._turn))), confidence
        )

    def report(self, *, lesions_sought=False):
        return report_of(self.seen, self.volume, lesions_sought=lesions_sought)[0]

    def sentence(self, label, **options):
        return next((one.text for one in self.report(**options).findings if one.label == label), None)
