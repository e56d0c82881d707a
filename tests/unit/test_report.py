"""Reports from masks: what is said, what is hedged, and what is never said."""

import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from scipy.ndimage import gaussian_filter

from lib.predict.consistency import problems_of
from lib.predict.cropped import CroppedMask
from lib.predict.evidence import Seen
from lib.predict.report import report_of
from lib.text import Size
from lib.volume import Modality, Volume

NOISE = np.random.default_rng(0).normal(0, 300, (1, 30, 30, 20))
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


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "SAL"])
def test_sides_numbers_and_sizes_are_those_of_the_masks_in_any_voxel_order(orientation):
    report = Patient(orientation).report()
    said = {one.label: one for one in report.findings}
    assert list(said) == list(CENTRES)
    assert said["kidney_right"].text.startswith("The right kidney is of normal size (length 10")
    assert said["spleen"].size is Size.NORMAL
    assert said["liver"].mean_hu == pytest.approx(100, abs=2)
    assert all(problems_of(one) == () for one in report.findings)
    assert [one.index for one in report.findings] == [1, 2, 3, 4, 5]
    assert report.technique == "CT of the abdomen with contrast medium."
    assert report.impression[0].startswith("Normal size of the liver, spleen")


def test_a_large_spleen_and_a_short_kidney_are_in_the_impression():
    patient = Patient(
        changes={
            "spleen": (CENTRES["spleen"], (40.0, 50.0, 70.0)),
            "kidney_left": (CENTRES["kidney_left"], (18.0, 18.0, 38.0)),
        }
    )
    assert patient.sentence("spleen").startswith("The spleen is enlarged (5")
    assert "small and clearly shorter" in patient.sentence("kidney_left")
    assert patient.report().impression[:3] == (
        "Enlarged spleen.",
        "Small left kidney.",
        "The left kidney is clearly shorter than the other kidney.",
    )


def test_what_is_cut_off_by_the_field_of_view_is_said_to_be_and_its_size_is_not_judged():
    patient = Patient(changes={"liver": ((70.0, 0.0, 120.0), RADII["liver"])})
    assert patient.sentence("liver").startswith("The liver is partly in the scan (")
    finding = next(one for one in patient.report().findings if one.label == "liver")
    assert finding.size is None
    assert finding.is_partial


def test_absent_structures_are_never_spoken_of():
    patient = Patient(changes={"kidney_left": ((0, 0, 0), None), "spleen": ((0, 0, 0), None)})
    patient.seen["gallbladder"] = Seen(CroppedMask.empty(patient.volume.shape), 0.0)
    text = patient.report().text
    assert "spleen" not in text
    assert "left kidney" not in text
    assert "gallbladder" not in text


def test_what_is_uncertain_is_hedged_and_its_size_is_not_judged():
    patient = Patient()
    patient.seen["spleen"] = Seen(patient.seen["spleen"].mask, 0.3)
    patient.seen["liver"] = Seen(patient.seen["liver"].mask, 0.6)
    assert patient.sentence("spleen").startswith("What may be the spleen measures")
    assert patient.sentence("spleen").endswith("this is uncertain.")
    assert patient.sentence("liver").startswith("The liver is probably of normal size")
    assert "spleen" not in patient.report().impression[0]


def test_a_kidney_drawn_on_the_wrong_side_is_not_spoken_of():
    patient = Patient()
    patient.seen["kidney_left"] = patient.seen["kidney_right"]
    assert patient.sentence("kidney_left") is None


def test_lesions_are_reported_one_by_one_with_their_axes_and_organ():
    patient = Patient("LPS")
    first = patient.ball((75.0, -25.0, 35.0), (16.0, 12.0, 12.0))
    second = patient.ball((52.0, -52.0, -50.0), (10.0, 10.0, 10.0))
    patient.add("lesion", first | second)
    said = {one.label: one for one in patient.report(lesions_sought=True).findings}
    assert said["lesion_1"].text.startswith("A lesion of 3")
    assert "lies in the upper posterior part of the liver" in said["lesion_1"].text
    assert "right kidney" in said["lesion_2"].text
    assert said["lesion_1"].long_axis_mm == pytest.approx(32, abs=4)
    assert said["lesion_1"].short_axis_mm == pytest.approx(24, abs=4)
    assert patient.report(lesions_sought=True).impression[0].startswith("2 lesions, the largest of 3")


def test_lesions_that_nobody_looked_for_are_not_denied():
    patient = Patient()
    assert patient.report().impression[-1] == "Lesions were not looked for."
    assert patient.report(lesions_sought=True).impression[-1] == "No lesion was found."


@pytest.mark.parametrize(
    ("voxels", "modality", "reason"),
    [
        (np.zeros((1, 30, 30, 20), np.int16), Modality.CT, "it is blank"),
        (NOISE, Modality.CT, "it is noise"),
        (gaussian_filter(NOISE, (0, 1, 1, 1)), Modality.CT, "it is noise"),
        (gaussian_filter(NOISE, (0, 4, 4, 4)) * 30, Modality.CT, "it is noise"),
        (NOISE, Modality.MR, "it is not a CT"),
        (np.zeros((3, 30, 30, 1), np.uint8), Modality.DISPLAY, "it is not a CT"),
    ],
)
def test_blank_noise_and_other_images_are_not_assessable_whatever_was_drawn(voxels, modality, reason):
    volume = Volume(voxels, np.eye(4), modality)
    mask = np.zeros(volume.shape, dtype=bool)
    mask[5:10, 5:10] = True
    report, evidence = report_of({"liver": Seen(CroppedMask.of(mask), 0.9)}, volume, lesions_sought=False)
    assert reason in report.text
    assert not report.findings
    assert not evidence
    assert not report.is_assessable


def test_a_scan_in_which_nothing_was_found_is_not_assessable():
    patient = Patient()
    report, _ = report_of({}, patient.volume, lesions_sought=True)
    assert report.text.startswith("This image is not assessable: no structure was found")


def test_the_json_has_what_clients_read():
    document = Patient().report().as_json()
    assert set(document) == {"text", "findings", "impression", "assessable"}
    assert set(document["findings"][0]) >= {
        "text",
        "label",
        "index",
        "volume_ml",
        "mean_hu",
        "extent_mm",
        "centre_ras_mm",
        "confidence",
    }
    assert len(document["findings"][0]["centre_ras_mm"]) == 3
