"""Reports from masks: what is said, what is hedged, and what is never said."""

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lib.predict.consistency import problems_of
from lib.predict.cropped import CroppedMask
from lib.predict.evidence import Seen
from lib.predict.report import report_of
from lib.text import Size
from lib.volume import Modality, Volume
from patients import CENTRES, RADII, Patient

NOISE = np.random.default_rng(0).normal(0, 300, (1, 30, 30, 20))


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
    assert patient.sentence("spleen").startswith("What may be the spleen is seen")
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
    assert set(document) == {"text", "findings", "impression", "assessable", "sentences"}
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


def test_scraps_and_what_is_hardly_believed_are_left_out():
    patient = Patient()
    patient.add("hip_right", patient.ball((80.0, -20.0, -150.0), (12.0, 12.0, 12.0)))
    patient.seen["aorta"] = Seen(patient.seen["aorta"].mask, 0.2)
    assert "hip" not in patient.report().text
    assert "aorta" not in patient.report().text


def test_what_runs_through_has_no_volume_and_what_holds_gas_no_density():
    patient = Patient()
    patient.add("stomach", patient.ball((-60.0, 40.0, 40.0), (35.0, 25.0, 35.0)))
    assert patient.sentence("aorta").startswith("The aorta is seen (mean 1")
    assert re.fullmatch(r"The stomach is seen \(12\d ml\)\.", patient.sentence("stomach"))
    patient.add("colon", patient.ball((-60.0, 60.0, -40.0), (30.0, 20.0, 30.0)))
    assert patient.sentence("colon") == "The colon is seen."


def test_hedged_parts_read_as_sentences():
    patient = Patient(changes={"liver": ((70.0, 0.0, 120.0), RADII["liver"])})
    whole = patient.seen["liver"].mask
    patient.seen["liver"] = Seen(whole, 0.6)
    assert patient.sentence("liver").startswith("What is probably the liver is partly in the scan (")
    patient.seen["liver"] = Seen(whole, 0.4)
    assert patient.sentence("liver").startswith("What may be the liver is partly in the scan (")
    assert patient.sentence("liver").endswith("; this is uncertain.")
    assert all(problems_of(one) == () for one in patient.report().findings)
