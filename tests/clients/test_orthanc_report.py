"""A report's DICOM in a real Orthanc: stored beside its images, and read back through DICOMweb as it was."""

import shutil
import subprocess
from io import BytesIO

import highdicom
import numpy as np
import pydicom
import pytest
import requests
from requests_toolbelt.multipart.decoder import MultipartDecoder

from lib.cli.pacs import find_orthanc, running_orthanc, upload_series
from lib.cli.report_dicom import series_to_report_on, write_report_dicom
from lib.cli.sample_data import CACHE
from lib.cli.server_process import free_port
from lib.errors import ConfigError
from lib.formats import read_mask
from lib.formats.dicom_seg_read import open_dicom_seg
from lib.mask import Mask
from lib.response import ModelCard
from lib.server.archive import Archive
from lib.text import Finding, Report
from lib.train.label_names import totalsegmentator_names
from phantoms import dicom_slices, marker_volume, write_dicom

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]

CARD = ModelCard("scripted", "ab" * 32)
SHAPE = (20, 18, 14)
STRUCTURES = ("liver", "kidney_right", "kidney_left", "aorta")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """Orthanc, started from nothing; gone at the end."""
    try:
        programs = find_orthanc()
    except ConfigError as error:
        pytest.skip(str(error))
    with running_orthanc(programs, tmp_path_factory.mktemp("orthanc"), free_port()) as running:
        yield running


def phantom_series(folder):
    """An oblique series with two organs drawn on it."""
    slices = dicom_slices(marker_volume("LPS", oblique_degrees=25.0, shape=SHAPE).volume)
    series, _ = series_to_report_on(write_dicom(slices, folder / "oblique"))
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[3:8, 3:8, 2:6], values[10:14, 5:9, 3:9] = 1, 2
    return folder / "oblique", Mask(values, series.affine, {"kidney_right": 1, "kidney_left": 2})


def sample_series(_):
    """A real CT whose identifiers were emptied, and what another model drew on it."""
    folder, silver = CACHE / "dicom" / "example_ct_dicom", CACHE / "silver" / "example_ct_dicom.nii.gz"
    if not silver.is_file():
        pytest.skip("the sample series is not here; `make sample-data` fetches it")
    series, _ = series_to_report_on(folder)
    drawn = read_mask(silver, series)
    numbers = {name: number for number, name in totalsegmentator_names().items() if number in drawn}
    values, labels = np.zeros(drawn.shape, dtype=np.uint8), {}
    for name in (name for name in STRUCTURES if name in numbers):
        labels[name] = len(labels) + 1
        values[drawn == numbers[name]] = labels[name]
    assert len(labels) > 1
    return folder, Mask(values, series.affine, labels)


def report_on(mask):
    """A finding of each mask, with numbers that are easily known again."""
    findings = tuple(
        Finding(
            text=f"There is a {label}.",
            label=label,
            index=value,
            confidence=0.9,
            volume_ml=100.0 + value,
            mean_hu=40.0 + value,
            sd_hu=10.0,
            extent_mm=(50.0, 50.0, 50.0),
            centre_ras_mm=(0.0, 0.0, 0.0),
        )
        for label, value in mask.labels.items()
    )
    return Report("CT of the abdomen.", findings, ("Nothing abnormal was measured.",))


def fetched(dicomweb, study_uid):
    """The instances of a study by modality, each as DICOMweb gives it (QIDO-RS, then WADO-RS)."""
    listed = requests.get(f"{dicomweb}/studies/{study_uid}/series", timeout=60).json()
    found = {}
    for entry in listed:
        modality, uid = entry["00080060"]["Value"][0], entry["0020000E"]["Value"][0]
        reply = requests.get(
            f"{dicomweb}/studies/{study_uid}/series/{uid}",
            headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
            timeout=120,
        )
        assert reply.status_code == 200, reply.text
        found[modality] = [part.content for part in MultipartDecoder.from_response(reply).parts]
    return found


@pytest.mark.parametrize("make", [phantom_series, sample_series])
def test_a_report_and_its_masks_are_stored_beside_their_images_and_come_back(orthanc, make, tmp_path):
    folder, mask = make(tmp_path)
    report = report_on(mask)
    upload_series(orthanc.address, folder)
    series, _ = series_to_report_on(folder)
    seg_path = write_report_dicom(report, mask, series, tmp_path / "report.dcm", CARD)
    archive = Archive(orthanc.dicomweb)
    for path in (seg_path, tmp_path / "report.dcm"):
        archive.store(path)

    found = fetched(orthanc.dicomweb, series.headers[0].StudyInstanceUID)
    assert set(found) == {"CT", "SEG", "SR"}
    document = highdicom.sr.srread(BytesIO(found["SR"][0]))
    groups = document.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [one.label for one in report.findings]
    for group, finding in zip(groups, report.findings, strict=True):
        said = {one.name.meaning: one.value for one in group.get_measurements()}
        assert said["Volume"] == pytest.approx(finding.volume_ml)

    stored = tmp_path / "stored.dcm"
    stored.write_bytes(found["SEG"][0])
    seg = open_dicom_seg(stored, series)
    seg_uid = pydicom.dcmread(stored).SOPInstanceUID
    for group, segment in zip(groups, seg.segments, strict=True):
        assert group.referenced_segment.referenced_sop_instance_uid == seg_uid
        assert group.referenced_segment.referenced_segment_numbers == [segment.number]
        np.testing.assert_array_equal(
            seg.mask_of(segment), mask.label_map == mask.labels[group.tracking_identifier]
        )
    images = {str(pydicom.dcmread(BytesIO(one), force=True).SOPInstanceUID) for one in found["CT"]}
    assert evidence_of(document) == images | {str(seg_uid)}
    assert errors_of(seg_path) == errors_of(tmp_path / "report.dcm") == []


def evidence_of(document):
    """SOPInstanceUIDs that a structured report says it rests on, named in its content or not."""
    studies = (
        *document.CurrentRequestedProcedureEvidenceSequence,
        *document.get("PertinentOtherEvidenceSequence", ()),
    )
    return {
        str(instance.ReferencedSOPInstanceUID)
        for study in studies
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }


def errors_of(path):
    """What dciodvfy calls an error; nothing where it is not installed (Debian: dicom3tools)."""
    program = shutil.which("dciodvfy")
    if program is None:
        return []
    said = subprocess.run([program, str(path)], capture_output=True, text=True, check=False).stderr
    return [line for line in said.splitlines() if line.startswith("Error")]
