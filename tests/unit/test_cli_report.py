"""`medvl report`: which files it writes, and what they say of each other."""

import json

import highdicom
import numpy as np
import pydicom
import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from typer.testing import CliRunner

from lib.cli import report as command
from lib.errors import InputError, VolumeError
from lib.formats import write_volume
from phantoms import dicom_slices, marker_volume, write_dicom
from scripted.regions import ScriptedByName

PHANTOM = marker_volume("LPS")
EMPTY = ("StudyInstanceUID", "SeriesInstanceUID")


@pytest.fixture
def run(monkeypatch):
    """The command with a finder of structures that needs no weights."""
    by_name = ScriptedByName({"kidney_right": PHANTOM.marker_mask, "body": PHANTOM.volume.voxels[0] > -500})
    monkeypatch.setattr(command, "load_predictor", lambda *_: None)
    monkeypatch.setattr(command, "load_by_name", lambda *_: by_name)
    monkeypatch.setattr(command, "for_words", lambda given: given)
    monkeypatch.setattr(command, "serving_sha256", lambda *_: "ab" * 32)
    monkeypatch.setattr(command, "LazyWriter", lambda *_: None)

    def invoke(*words):
        result = CliRunner().invoke(command.app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def series(tmp_path):
    slices = dicom_slices(PHANTOM.volume)
    for dataset in slices:
        dataset.SliceThickness = "3"
    return write_dicom(slices, tmp_path / "series")


def _study_of(document):
    (study,) = document["imagingStudy"]
    return study["identifier"]["value"].removeprefix("urn:oid:")


def test_the_structured_report_refers_to_the_seg_beside_it_and_fhir_to_their_study(run, series, tmp_path):
    sr, fhir = tmp_path / "report.dcm", tmp_path / "report.json"
    result = run(series, "--sr", sr, "--fhir", fhir)
    assert "right kidney" in result.stdout
    assert "has no" not in result.stdout
    document = highdicom.sr.srread(str(sr))
    seg = pydicom.dcmread(tmp_path / "report-seg.dcm")
    (group,) = document.content.get_volumetric_roi_measurement_groups()
    assert group.referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID
    (study,) = {str(pydicom.dcmread(path).StudyInstanceUID) for path in series.iterdir()}
    assert str(document.StudyInstanceUID) == str(seg.StudyInstanceUID) == study
    written = json.loads(fhir.read_text())
    assert _study_of(written) == study
    DiagnosticReport.model_validate(written)


def test_a_series_whose_identifiers_were_emptied_gets_the_same_ones_each_time_and_it_is_said(
    run, series, tmp_path
):
    for path in series.iterdir():
        dataset = pydicom.dcmread(path)
        for name in EMPTY:
            setattr(dataset, name, "")
        dataset.save_as(path)
    studies = []
    for name in ("first", "second"):
        result = run(series, "--sr", tmp_path / f"{name}.dcm", "--fhir", tmp_path / f"{name}.json")
        assert "has no StudyInstanceUID, SeriesInstanceUID" in result.stdout
        seg = pydicom.dcmread(tmp_path / f"{name}-seg.dcm")
        assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID
        assert pydicom.dcmread(tmp_path / f"{name}.dcm").StudyInstanceUID == seg.StudyInstanceUID
        assert _study_of(json.loads((tmp_path / f"{name}.json").read_text())) == seg.StudyInstanceUID
        studies.append(seg.StudyInstanceUID)
    assert studies[0] == studies[1]


def test_a_scan_that_is_no_series_has_no_structured_report_and_that_is_said_at_once(run, tmp_path):
    scan = tmp_path / "ct.nii.gz"
    write_volume(PHANTOM.volume, scan)
    with pytest.raises(VolumeError, match="DICOM series"):
        run(scan, "--sr", tmp_path / "report.dcm")


def test_the_name_of_the_file_says_in_what_form_the_report_is_written(run, tmp_path):
    scan = tmp_path / "ct.nii.gz"
    write_volume(PHANTOM.volume, scan)
    for name in ("report.json", "report.txt", "report.fhir.json"):
        run(scan, "-o", tmp_path / name)
    assert json.loads((tmp_path / "report.json").read_text())["task"] == "report"
    assert (tmp_path / "report.txt").read_text().startswith("CT")
    written = json.loads((tmp_path / "report.fhir.json").read_text())
    assert written["resourceType"] == "DiagnosticReport"
    assert "imagingStudy" not in written


def test_a_blank_series_gets_a_report_that_says_so_and_no_structured_one(run, tmp_path):
    blank = PHANTOM.volume.voxels * np.float32(0)
    slices = dicom_slices(type(PHANTOM.volume)(blank, PHANTOM.volume.affine, PHANTOM.volume.modality))
    sr, fhir = tmp_path / "report.dcm", tmp_path / "report.json"
    with pytest.raises(InputError, match="needs a finding"):
        run(write_dicom(slices, tmp_path / "blank"), "--sr", sr, "--fhir", fhir)
    assert not sr.exists()
    assert "not assessable" in json.loads(fhir.read_text())["conclusion"]
