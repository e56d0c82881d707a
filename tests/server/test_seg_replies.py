"""output=dicom_seg: the mask on the slices of a DICOM series, and a clear answer where there is none."""

import io
import shutil
import zipfile

import numpy as np
import pydicom
import pytest
import requests

from lib.formats import read_volume
from lib.formats.dicom_seg_read import open_dicom_seg, referenced_series
from lib.formats.dicom_series import read_series
from scripted.client import infer, mask_of

pytestmark = pytest.mark.server

BOX = [[0, 0, 0], [39, 35, 27]]


def seg_of(reply, folder, tmp_path):
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/dicom"
    path = tmp_path / "reply.dcm"
    path.write_bytes(reply.content)
    return open_dicom_seg(path, read_series(folder))


def test_a_dicom_folder_is_answered_with_a_seg_of_its_slices(server, studies, tmp_path):
    seg = seg_of(infer(server, "series", "dicom_seg", box=BOX, label="liver"), studies / "series", tmp_path)
    image = infer(server, "series", "image", box=BOX, label="liver", result_extension=".nii.gz")
    mask = mask_of(image, tmp_path) > 0
    assert mask.any()
    np.testing.assert_array_equal(seg.mask_of(seg.segments[0]), mask)
    assert referenced_series(tmp_path / "reply.dcm") == read_series(studies / "series").uid


def test_several_objects_are_several_segments_in_the_order_of_the_request(server, studies, tmp_path):
    series = read_volume(studies / "series").voxels[0]
    middle = int(np.median(np.argwhere(series > 150)[:, 2]))
    objects = {"spleen": {"box": BOX}, "liver": {"box": [[0, 0, 0], [39, 35, middle]]}}
    reply = infer(server, "series", "dicom_seg", objects=objects, result_extension=".seg.nrrd")
    seg = seg_of(reply, studies / "series", tmp_path)
    assert [segment.name for segment in seg.segments] == ["spleen", "liver"]


def test_a_seg_names_the_model_that_drew_it_with_its_user(server, studies, tmp_path):
    reply = infer(server, "series", "dicom_seg", box=BOX)
    (item,) = seg_of(reply, studies / "series", tmp_path).dataset.SegmentSequence
    assert (item.SegmentAlgorithmType, item.SegmentAlgorithmName) == ("SEMIAUTOMATIC", "scripted")
    assert "0" * 64 in item.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters


def test_an_uploaded_series_of_a_session_is_answered_too(server, studies, tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        for path in (studies / "series").iterdir():
            content.write(path, path.name)
    created = requests.put(
        f"{server}/session/?uncompress=true",
        files={"files": ("series.zip", archive.getvalue())},
        timeout=60,
    ).json()
    reply = infer(server, "", "dicom_seg", session_id=created["session_id"], box=BOX)
    seg = seg_of(reply, studies / "series", tmp_path)
    assert seg.mask_of(seg.segments[0]).any()


@pytest.mark.parametrize("image", ["marker", "picture"])
def test_an_image_that_is_no_dicom_is_a_400_that_says_what_to_ask_for(image, server):
    reply = infer(server, image, "dicom_seg", box=BOX)
    assert reply.status_code == 400
    assert "needs a DICOM series" in reply.json()["detail"]
    assert "image, json or all" in reply.json()["detail"]


def test_an_upload_with_the_request_is_a_400_as_well(server, studies):
    files = {"file": ("scan.nii.gz", (studies / "marker.nii.gz").read_bytes())}
    assert infer(server, "", "dicom_seg", box=BOX, files=files).status_code == 400


def test_an_empty_mask_is_a_422_that_says_so(server):
    reply = infer(server, "series", "dicom_seg", foreground=[[1, 1, 1]])
    assert reply.status_code == 422
    assert "mask is empty" in reply.json()["detail"]


@pytest.fixture
def anonymized(studies):
    """A series without what says in which space it lies; gone afterwards."""
    folder = studies / "anonymized"
    folder.mkdir()
    for path in (studies / "series").iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.FrameOfReferenceUID
        dataset.save_as(folder / path.name)
    yield folder.name
    shutil.rmtree(folder)


def test_a_series_that_cannot_have_a_seg_is_a_422_that_names_what_it_lacks(server, anonymized):
    reply = infer(server, anonymized, "dicom_seg", box=BOX)
    assert reply.status_code == 422
    assert "FrameOfReferenceUID" in reply.json()["detail"]


def test_no_temporary_file_is_left(server, studies, tmp_path_factory):
    home = tmp_path_factory.getbasetemp()
    before = set(home.rglob("medvl-result-*"))  # what clients of other tests have kept
    infer(server, "series", "dicom_seg", box=BOX)
    infer(server, "series", "dicom_seg", foreground=[[1, 1, 1]])
    assert set(home.rglob("medvl-result-*")) == before
