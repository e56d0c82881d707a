"""Identifiers of series that an anonymizer has emptied: the same each time, and never mixed."""

import pydicom
import pytest

from lib.errors import VolumeError
from lib.formats.dicom_identity import derived_identity, study_uid_of, with_identity
from lib.formats.dicom_series import read_series
from phantoms import dicom_slices, marker_volume, write_dicom

SHARED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


def _emptied(folder, *names):
    """A series without some identifiers; files say what they are called before their data set, as ever."""
    write_dicom(dicom_slices(marker_volume("LPS", shape=(18, 14, 9)).volume), folder)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        for name in names:
            setattr(dataset, name, "")
        dataset.save_as(path)
    return folder


def test_a_whole_series_is_left_as_it_is(tmp_path):
    series = read_series(_emptied(tmp_path / "whole"))
    assert with_identity(series) == (series, ())


def test_a_series_without_any_is_called_the_same_each_time(tmp_path):
    folder = _emptied(tmp_path / "bare", "SOPClassUID", "SOPInstanceUID", *SHARED)
    first, missing = with_identity(read_series(folder))
    folder.rename(tmp_path / "moved")
    second, _ = with_identity(read_series(tmp_path / "moved"))
    assert set(missing) == {"SOPClassUID", "SOPInstanceUID", *SHARED}
    for one, other in zip(first.headers, second.headers, strict=True):
        assert [one[name].value for name in missing] == [other[name].value for name in missing]
    names = [header.SOPInstanceUID for header in first.headers]
    assert len(set(names)) == 9
    assert {header.StudyInstanceUID for header in first.headers} == {
        derived_identity(names)["StudyInstanceUID"]
    }
    assert first.headers[0].PatientID == "PHANTOM"


def test_only_what_is_missing_is_made_up(tmp_path):
    series = read_series(_emptied(tmp_path / "series", "StudyInstanceUID"))
    whole, missing = with_identity(series)
    assert missing == ("StudyInstanceUID",)
    assert whole.uid == series.uid
    assert whole.headers[0].StudyInstanceUID
    assert not series.headers[0].StudyInstanceUID


def test_a_slice_that_lacks_it_is_of_the_others_study(tmp_path):
    folder = _emptied(tmp_path / "series")
    one = min(folder.iterdir())
    dataset = pydicom.dcmread(one)
    del dataset.StudyInstanceUID
    dataset.save_as(one)
    whole, _ = with_identity(read_series(folder))
    assert {header.StudyInstanceUID for header in whole.headers} == {study_uid_of_any(folder)}


def study_uid_of_any(folder):
    said = {pydicom.dcmread(path).get("StudyInstanceUID") for path in folder.iterdir()}
    (uid,) = said - {None}
    return uid


def test_slices_of_several_studies_are_refused(tmp_path):
    folder = _emptied(tmp_path / "series")
    one = min(folder.iterdir())
    dataset = pydicom.dcmread(one)
    dataset.StudyInstanceUID = "1.2.3"
    dataset.save_as(one)
    with pytest.raises(VolumeError, match="2 different StudyInstanceUID"):
        with_identity(read_series(folder))


def test_two_series_are_of_two_studies(tmp_path):
    uids = [derived_identity([name])["StudyInstanceUID"] for name in ("1.2.3", "1.2.4")]
    assert uids[0] != uids[1]


def test_slices_that_are_called_nothing_are_refused(tmp_path):
    series = read_series(_emptied(tmp_path / "series", "SOPInstanceUID"))
    for header in series.headers:
        del header.file_meta.MediaStorageSOPInstanceUID
    with pytest.raises(VolumeError, match="SOPInstanceUID"):
        with_identity(series)


def test_the_study_of_an_image_that_is_no_series_is_not_known(tmp_path):
    assert study_uid_of(_emptied(tmp_path / "series")) is not None
    assert study_uid_of(_emptied(tmp_path / "bare", "StudyInstanceUID")) is None
    (tmp_path / "ct.nii.gz").touch()
    assert study_uid_of(tmp_path / "ct.nii.gz") is None
