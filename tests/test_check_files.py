"""The gate that keeps large files and patients' images out of the repository."""

import subprocess
import sys

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from conftest import REPOSITORY

GATE = REPOSITORY / "tools" / "check_files.py"


@pytest.fixture
def gate(tmp_path):
    """Runs the gate in an empty folder on files of given names and content."""

    def run(name: str, content: bytes) -> subprocess.CompletedProcess:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        command = [sys.executable, str(GATE), name]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def dicom_bytes(tmp_path, patient_id: str) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file = FileDataset(str(tmp_path / "made"), {}, file_meta=meta, preamble=b"\0" * 128)
    file.is_little_endian, file.is_implicit_VR = True, False
    file.PatientID = patient_id
    file.save_as(tmp_path / "made")
    return (tmp_path / "made").read_bytes()


def test_an_ordinary_file_passes_in_silence(gate):
    result = gate("lib/module.py", b"x = 1\n")
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("name", "is_allowed"),
    [
        ("docs/large.bin", False),
        ("apps/medvl/configs/weights/adapter.safetensors", True),
        ("apps/medvl/configs/weights/adapter.pt", False),
        ("elsewhere/adapter.safetensors", False),
    ],
)
def test_only_safetensors_in_the_weights_folder_may_be_large(gate, name, is_allowed):
    result = gate(name, np.zeros(500_001, dtype=np.uint8).tobytes())
    assert (result.returncode == 0) == is_allowed
    assert is_allowed or "500001 bytes" in result.stdout


@pytest.mark.parametrize("name", ["scan.nii.gz", "SCAN.NII", "studies/scan.nrrd", "scan.mha", "a/b.dcm"])
def test_a_medical_image_outside_its_folders_is_refused(gate, name):
    assert gate(name, b"whatever").returncode == 1
    assert gate(f"tests/golden/{name}", b"whatever").returncode == 0


def test_a_dicom_file_without_a_suffix_is_still_recognised(gate, tmp_path):
    content = dicom_bytes(tmp_path, "PHANTOM-1")
    assert gate("docs/IM000001", content).returncode == 1
    assert gate("tests/golden/IM000001", content).returncode == 0


def test_a_dicom_file_of_a_real_patient_is_refused_even_among_the_samples(gate, tmp_path):
    result = gate("sample-data/IM000001.dcm", dicom_bytes(tmp_path, "12345"))
    assert result.returncode == 1
    assert "PatientID" in result.stdout
    assert "12345" not in result.stdout


@pytest.mark.parametrize(("name", "content"), [("a.yaml", b"a: [1"), ("b.toml", b"a = ")])
def test_yaml_and_toml_that_do_not_parse_are_refused(gate, name, content):
    assert "cannot be parsed" in gate(name, content).stdout
