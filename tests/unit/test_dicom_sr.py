"""Reports as DICOM SR: what is written is valid, refers to the SEG's segments, and reads back as it was."""

import shutil
import subprocess

import highdicom
import numpy as np
import pydicom
import pytest

from lib.errors import InputError
from lib.formats.dicom_seg import Algorithm, Drawn, SegHeader, write_dicom_seg
from lib.formats.dicom_seg_codes import load_structure_codes
from lib.formats.dicom_series import read_series
from lib.formats.dicom_sr import write_dicom_sr
from lib.mask import Mask
from lib.text import Finding, Report
from lib.vocabulary import Side
from phantoms import dicom_slices, marker_volume, write_dicom

HEADER = SegHeader(Algorithm("medvl-lite", "0.1.0", "ab" * 32, Drawn.AUTOMATICALLY), "0.1.0")
LABELS = {"kidney_right": 1, "lesion": 2, "gallbladder": 3}


def _finding(label, text, **changes):
    return Finding(
        text=text,
        label=label,
        index=LABELS[label],
        confidence=0.9,
        volume_ml=161.6234,
        mean_hu=-3.217,
        sd_hu=21.7,
        extent_mm=(61.0, 58.4, 104.0),
        centre_ras_mm=(60.0, -20.0, 40.0),
        **changes,
    )


REPORT = Report(
    "CT of the abdomen.",
    (
        _finding("kidney_right", "The right kidney is of normal size.", side=Side.RIGHT, length_mm=108.3),
        _finding("lesion", "A lesion of 23 x 17 mm.", long_axis_mm=23.1, short_axis_mm=16.9),
        _finding("gallbladder", "Nothing was drawn of it."),
    ),
    ("One lesion.", "No measured size is abnormal."),
)


@pytest.fixture
def written(tmp_path):
    """Path of the SR, of the SEG, and the series."""
    volume = marker_volume("LPS", oblique_degrees=20.0, shape=(18, 14, 9)).volume
    slices = dicom_slices(volume)
    for dataset in slices:
        dataset.SliceThickness = "3"
    series = read_series(write_dicom(slices, tmp_path / "series"))
    label_map = np.zeros(series.shape, dtype=np.uint8)
    label_map[3:8, 3:8, 2:6], label_map[5:7, 5:7, 3:5] = 1, 2
    seg, path = tmp_path / "seg.dcm", tmp_path / "sr.dcm"
    segments = write_dicom_seg(
        Mask(label_map, series.affine, LABELS), series, seg, load_structure_codes(), HEADER
    )
    write_dicom_sr(REPORT, segments, seg, series, path, HEADER)
    return path, seg, series, segments


def test_each_finding_refers_to_its_segment_and_carries_its_measurements(written):
    path, seg, series, _ = written
    document = highdicom.sr.srread(str(path))
    groups = document.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["kidney_right", "lesion"]
    drawn = pydicom.dcmread(seg)
    for number, group in enumerate(groups, start=1):
        segment = group.referenced_segment
        assert segment.referenced_sop_instance_uid == drawn.SOPInstanceUID
        assert segment.referenced_segment_numbers == [number]
        assert group.tracking_uid == drawn.SegmentSequence[number - 1].TrackingUID
    kidney, lesion = groups
    said = {one.name.meaning: one.value for one in kidney.get_measurements()}
    assert said["Volume"] == pytest.approx(161.623)
    assert said["Length"] == pytest.approx(108.3)
    assert kidney.finding_type.meaning == "Kidney"
    assert kidney.finding_sites[0].laterality.meaning == "Right"
    axes = {one.name.meaning: one.value for one in lesion.get_measurements()}
    assert (axes["Long Axis"], axes["Short Axis"]) == (pytest.approx(23.1), pytest.approx(16.9))
    assert document.StudyInstanceUID == series.headers[0].StudyInstanceUID


def test_sentences_and_impression_stand_in_it_as_text(written):
    values = []

    def collect(dataset, element):
        if element.keyword == "TextValue":
            values.append(element.value)

    pydicom.dcmread(written[0]).walk(collect)
    for sentence in ("The right kidney is of normal size.", "One lesion.", "Research use only."):
        assert sentence in values
    assert "Nothing was drawn of it." not in values
    assert values[-1].splitlines() == [*REPORT.text.splitlines(), "Research use only."]


def test_dciodvfy_finds_no_error_in_the_structured_report(written):
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian: apt-get install dicom3tools)")
    report = subprocess.run([program, str(written[0])], capture_output=True, text=True, check=False).stderr
    assert "Comprehensive3DSR" in report
    assert [line for line in report.splitlines() if line.startswith("Error")] == []


def test_a_report_without_findings_is_refused(written, tmp_path):
    _, seg, series, segments = written
    blank = Report("This image is not assessable: it is blank.", (), (), is_assessable=False)
    with pytest.raises(InputError, match="needs a finding"):
        write_dicom_sr(blank, segments, seg, series, tmp_path / "none.dcm", HEADER)
    assert not (tmp_path / "none.dcm").exists()
