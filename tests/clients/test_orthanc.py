"""A real Orthanc and our real server on it: from a mask to the archive and back, voxel by voxel."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import requests
from requests_toolbelt.multipart.decoder import MultipartDecoder

from lib.cli.pacs import find_orthanc, running_orthanc, upload_series
from lib.cli.sample_data import CACHE
from lib.cli.server_process import free_port
from lib.errors import ConfigError
from lib.formats import read_mask, read_volume, write_mask
from lib.formats.dicom_seg import Algorithm, SegHeader, write_dicom_seg
from lib.formats.dicom_seg_codes import load_structure_codes
from lib.formats.dicom_seg_read import open_dicom_seg, read_dicom_seg
from lib.formats.dicom_series import read_series
from lib.mask import Mask
from lib.server.archive import Archive
from lib.server.dicomweb import DicomWebStudies
from phantoms import dicom_slices, marker_volume, tilted, write_dicom
from scripted.client import infer, mask_of
from scripted.process import ServerProcess

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

KINDS = ("straight", "oblique", "tilted", "unequal")
REGULAR = ("straight", "oblique", "tilted")
SHAPE = (20, 18, 14)
NAMES = {"liver": 1, "kidney_left": 2, "tumour": 3}
LABEL_INFO = [{"name": name, "idx": value} for name, value in NAMES.items()]


def slices_of(kind):
    volume = marker_volume("LPS", oblique_degrees=25.0 if kind == "oblique" else 0.0, shape=SHAPE).volume
    slices = dicom_slices(tilted(volume, 1.1) if kind == "tilted" else volume)
    for k, dataset in enumerate(slices):
        dataset.PatientID = f"PHANTOM-{kind}"
        dataset.StudyDescription = f"Phantom, {kind}"
        if kind == "unequal":
            dataset.ImagePositionPatient[2] = f"{float(dataset.ImagePositionPatient[2]) + 0.3 * k**2:.6f}"
    return slices


@pytest.fixture(scope="module")
def series_folders(tmp_path_factory):
    """One series of each kind."""
    home = tmp_path_factory.mktemp("series")
    return {kind: write_dicom(slices_of(kind), home / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory, series_folders):
    """Orthanc, started from nothing, with the series; gone at the end."""
    try:
        programs = find_orthanc()
    except ConfigError as error:
        pytest.skip(str(error))
    with running_orthanc(programs, tmp_path_factory.mktemp("orthanc"), free_port()) as running:
        for folder in series_folders.values():
            assert upload_series(running.address, folder) == SHAPE[2]
        yield running


@pytest.fixture(scope="module")
def server(orthanc, tmp_path_factory):
    """Our server on Orthanc's address, with the scripted segmenter."""
    home = tmp_path_factory.mktemp("server")
    environment = {
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(home / "copies"),
        "MONAI_LABEL_SESSION_PATH": str(home / "sessions"),
        "TMPDIR": str(home),
        "PATH": "/nowhere",
        "https_proxy": "http://127.0.0.1:9",
    }
    process = ServerProcess(orthanc.dicomweb, home / "server.log", environment)
    process.start()
    yield process.address
    process.stop()
    assert process.process.poll() is not None


@pytest.fixture
def fresh(orthanc, tmp_path):
    """The same studies for somebody who has no copy of anything."""
    return DicomWebStudies(Archive(orthanc.dicomweb), tmp_path / "fresh", {"Modality": "CT"}, "0.1.0")


def uid_of(folder):
    return read_series(folder).uid


def put_label(server, uid, path, info=LABEL_INFO):
    with path.open("rb") as stream:
        return requests.put(
            f"{server}/datastore/label",
            params={"image": uid, "tag": "final"},
            data={"params": json.dumps({"label_info": info})},
            files={"label": (path.name, stream)},
            timeout=60,
        )


def random_mask(series, rng):
    values = rng.integers(0, len(NAMES) + 1, size=series.shape).astype(np.uint8)
    values[:, :, 5] = 0
    return Mask(values, series.affine, NAMES)


def test_each_series_is_an_image_under_its_uid_and_nothing_was_downloaded_to_start(server, series_folders):
    listed = requests.get(f"{server}/datastore/?output=all", timeout=60).json()["objects"]
    assert {uid_of(folder) for folder in series_folders.values()} <= set(listed)
    assert requests.get(f"{server}/datastore/", timeout=60).json()["total"] >= len(KINDS)


def test_the_next_sample_is_a_series_that_can_be_opened_or_said_to_be_uneven(server, series_folders):
    answers = [requests.post(f"{server}/activelearning/random", json={}, timeout=60) for _ in range(12)]
    given = [answer.json() for answer in answers if answer.status_code == 200]
    assert given  # chance chooses among the series; one of them is uneven
    assert {sample["id"] for sample in given} <= {uid_of(folder) for folder in series_folders.values()}
    assert all(sample["StudyInstanceUID"] for sample in given)
    assert all("unevenly spaced" in answer.text for answer in answers if answer.status_code != 200)


@pytest.mark.parametrize("kind", REGULAR)
def test_a_segmentation_as_seg_is_the_mask_on_the_slices_it_was_drawn_on(
    kind, server, series_folders, tmp_path
):
    folder = series_folders[kind]
    box = [[0, 0, 0], [size - 1 for size in SHAPE]]
    options = {"box": box, "label": "kidney_left"}
    reply = infer(server, uid_of(folder), "dicom_seg", **options)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/dicom"
    path = tmp_path / "reply.dcm"
    path.write_bytes(reply.content)
    series = read_series(folder)
    seg = open_dicom_seg(path, series)
    (segment,) = seg.segments
    assert (segment.name, segment.code.type.meaning, segment.code.modifier.meaning) == (
        "kidney_left",
        "Kidney",
        "Left",
    )
    image = infer(server, uid_of(folder), "image", result_extension=".nii.gz", **options)
    mask = mask_of(image, tmp_path) > 0
    assert mask.any()
    np.testing.assert_array_equal(seg.mask_of(segment), mask)
    bright = read_volume(folder).voxels[0] > 150
    np.testing.assert_array_equal(mask, bright)


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_goes_through_the_archive_and_comes_back_voxel_by_voxel(
    kind, server, series_folders, fresh, tmp_path, rng
):
    series = read_series(series_folders[kind])
    mask = random_mask(series, rng)
    path = tmp_path / "label.nii.gz"
    write_mask(mask, path)
    reply = put_label(server, series.uid, path)
    assert reply.status_code == 200, reply.text
    assert series.uid in fresh.get_labeled_images()
    back = np.asarray(nibabel.load(fresh.get_label_uri(series.uid, "final")).dataobj)
    np.testing.assert_array_equal(back, mask.label_map)
    assert fresh.get_label_info(series.uid, "final")["label_info"] == LABEL_INFO
    served = requests.get(
        f"{server}/datastore/label", params={"label": series.uid, "tag": "final"}, timeout=60
    )
    (tmp_path / "served.nii.gz").write_bytes(served.content)
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "served.nii.gz").dataobj), back)


def segs_of(server, study_uid):
    """SeriesInstanceUIDs of a study's SEGs, as OHIF searches for them."""
    search = f"{server}/proxy/dicom/qido/studies/{study_uid}/series"
    found = requests.get(search, params={"includefield": "0008103E"}, timeout=60).json()
    return {entry["0020000E"]["Value"][0] for entry in found if entry["00080060"]["Value"] == ["SEG"]}


def as_ohif_fetches(server, study_uid, series_uid):
    """A SEG as OHIF gets it: its header as JSON, then the whole instance, through the proxy."""
    series = f"{server}/proxy/dicom/wado/studies/{study_uid}/series/{series_uid}"
    (header,) = requests.get(f"{series}/metadata", timeout=60).json()
    reply = requests.get(
        f"{series}/instances/{header['00080018']['Value'][0]}",
        headers={"Accept": 'multipart/related; type="application/dicom"'},
        timeout=60,
    )
    (part,) = MultipartDecoder.from_response(reply).parts
    return pydicom.dcmread(BytesIO(part.content))


def as_ohif_reads(seg, sop_uids):
    """Values on the slices that each frame refers to; bits unpacked and placed without our own reader."""
    frames = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = frames[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(-1, seg.Rows, seg.Columns)
    values = np.zeros((seg.Columns, seg.Rows, len(sop_uids)), dtype=np.uint8)
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        k = sop_uids.index(source.ReferencedSOPInstanceUID)
        values[:, :, k][frame.T > 0] = number
    return values


@pytest.mark.parametrize("kind", KINDS)
def test_the_frames_that_ohif_fetches_hold_the_same_voxels(kind, server, series_folders, tmp_path, rng):
    series = read_series(series_folders[kind])
    mask = random_mask(series, rng)
    path = tmp_path / "label.nii.gz"
    write_mask(mask, path)
    study_uid = series.headers[0].StudyInstanceUID
    before = segs_of(server, study_uid)
    assert put_label(server, series.uid, path).ok
    (stored,) = segs_of(server, study_uid) - before
    seg = as_ohif_fetches(server, study_uid, stored)
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == list(NAMES)
    values = as_ohif_reads(seg, [header.SOPInstanceUID for header in series.headers])
    np.testing.assert_array_equal(values, mask.label_map)
    for header, groups in zip_frames(seg, series.headers):
        at_mm = groups.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(
            np.array(at_mm, dtype=float), np.array(header.ImagePositionPatient, dtype=float), atol=1e-4
        )


def zip_frames(seg, headers):
    """Each frame's slice beside what the frame says."""
    by_uid = {header.SOPInstanceUID: header for header in headers}
    for groups in seg.PerFrameFunctionalGroupsSequence:
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        yield by_uid[source.ReferencedSOPInstanceUID], groups


def test_a_stored_label_says_what_it_is_and_not_that_all_is_spleen(
    server, orthanc, series_folders, tmp_path, rng
):
    series = read_series(series_folders["straight"])
    path = tmp_path / "label.nii.gz"
    write_mask(random_mask(series, rng), path)
    assert put_label(server, series.uid, path).ok
    archive = Archive(orthanc.dicomweb)
    newest = max(
        (seg for seg in archive.segmentations() if seg.image_uid == series.uid), key=lambda seg: seg.written
    )
    archive.download_seg(newest, tmp_path / "seg.dcm")
    segments = open_dicom_seg(tmp_path / "seg.dcm", series).segments
    assert [segment.code.type.meaning for segment in segments] == ["Liver", "Kidney", "Neoplasm"]
    assert pydicom.dcmread(tmp_path / "seg.dcm").StudyInstanceUID == series.headers[0].StudyInstanceUID


def test_a_seg_that_a_viewer_stores_through_the_proxy_becomes_the_label(
    server, series_folders, fresh, tmp_path, rng
):
    series = read_series(series_folders["oblique"])
    mask = random_mask(series, rng)
    seg = tmp_path / "viewer.dcm"
    write_dicom_seg(mask, series, seg, load_structure_codes(), SegHeader(Algorithm("viewer", "1"), "1"))
    Archive(f"{server}/proxy/dicom/stow").store(seg)
    served = requests.get(
        f"{server}/datastore/label", params={"label": series.uid, "tag": "final"}, timeout=60
    )
    (tmp_path / "served.nii.gz").write_bytes(served.content)
    back = np.asarray(nibabel.load(tmp_path / "served.nii.gz").dataobj)
    np.testing.assert_array_equal(back, mask.label_map)


def test_filters_of_a_study_list_reach_the_archive_through_the_proxy(server):
    studies = requests.get(
        f"{server}/proxy/dicom/qido/studies",
        params={"PatientID": "PHANTOM-tilted", "includefield": "00080060,00081030"},  # the comma is escaped
        timeout=60,
    )
    assert [study["00100020"]["Value"] for study in studies.json()] == [["PHANTOM-tilted"]]
    assert [study["00081030"]["Value"] for study in studies.json()] == [["Phantom, tilted"]]


def test_pixels_and_bulk_data_are_reached_through_the_proxy(server, orthanc, series_folders, tmp_path):
    header = read_series(series_folders["straight"]).headers[0]
    path = f"studies/{header.StudyInstanceUID}/series/{header.SeriesInstanceUID}"
    metadata = requests.get(f"{server}/proxy/dicom/wado/{path}/metadata", timeout=60)
    assert orthanc.address not in metadata.text
    frame = requests.get(
        f"{server}/proxy/dicom/wado/{path}/instances/{header.SOPInstanceUID}/frames/1",
        headers={"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"},
        timeout=60,
    )
    assert frame.status_code == 200
    assert len(frame.content) > header.Rows * header.Columns * 2


def test_an_unevenly_spaced_series_is_not_segmented_as_if_it_were_even(server, series_folders):
    reply = infer(server, uid_of(series_folders["unequal"]), "dicom_seg", box=[[0, 0, 0], [9, 9, 9]])
    assert reply.status_code == 422
    assert "unevenly spaced" in reply.json()["detail"]


def test_a_label_that_does_not_fit_or_is_empty_is_refused_and_a_series_that_is_not_there_too(
    server, series_folders, tmp_path, rng
):
    straight, tilt = (read_series(series_folders[kind]) for kind in ("straight", "tilted"))
    path = tmp_path / "label.nii.gz"
    write_mask(random_mask(tilt, rng), path)
    assert put_label(server, straight.uid, path).status_code == 422
    write_mask(Mask(np.zeros(SHAPE, dtype=np.uint8), straight.affine, {}), path)
    assert put_label(server, straight.uid, path).status_code == 422
    assert put_label(server, "1.2.3.4.5", path).status_code == 404
    assert infer(server, "1.2.3.4.5", "dicom_seg", foreground=[[1, 1, 1]]).status_code == 404


def test_a_compressed_series_that_archives_cannot_decode_is_read_and_labelled(orthanc, fresh, tmp_path):
    folder = CACHE / "dicom" / "example_ct_dicom"
    silver = CACHE / "silver" / "example_ct_dicom.nii.gz"
    if not silver.is_file():
        pytest.skip("the sample series is not here; `make sample-data` fetches it")
    upload_series(orthanc.address, folder)
    (uid,) = [series.uid for series in fresh._archive.series({"PatientID": "SAMPLE", "Modality": "CT"})]
    volume = read_volume(folder)
    np.testing.assert_array_equal(read_volume(Path(fresh.get_image_uri(uid))).voxels, volume.voxels)
    fresh.save_label(uid, str(silver), "final", {})
    series = read_series(fresh.series_folder(uid))
    (seg,) = [seg for seg in fresh._archive.segmentations() if seg.image_uid == uid]
    fresh._archive.download_seg(seg, tmp_path / "seg.dcm")
    labels = read_mask(silver, volume)
    back = read_dicom_seg(tmp_path / "seg.dcm", series)
    values = [int(name.removeprefix("label ")) for name in back.labels]
    np.testing.assert_array_equal(np.array([0, *values])[back.label_map], labels)


def test_the_sample_pacs_starts_with_its_series_and_leaves_no_process(orthanc, series_folders, tmp_path):
    home, port = tmp_path / "pacs", free_port()
    words = [sys.executable, "-m", "lib.cli.pacs"]
    options = ["--home", str(home)]
    series = str(series_folders["straight"].parent)
    started = subprocess.Popen(
        [*words, "start", "--port", str(port), "--series", series, *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = [started.stdout.readline() for _ in range(len(KINDS) + 1)]
        assert lines[-1].strip().endswith(f"http://127.0.0.1:{port}/dicom-web")
        found = requests.get(f"http://127.0.0.1:{port}/dicom-web/series", timeout=60).json()
        assert len(found) == len(KINDS)
        subprocess.run([*words, "stop", *options], check=True, capture_output=True)
        assert started.wait(timeout=60) == 0
    finally:
        if started.poll() is None:
            os.kill(started.pid, signal.SIGINT)
            started.wait(timeout=60)
    deadline = time.monotonic() + 10
    while _listens(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _listens(port)
    again = subprocess.run([*words, "stop", *options], check=True, capture_output=True, text=True)
    assert "No sample PACS" in again.stdout


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_port_that_another_archive_holds_is_refused(orthanc, tmp_path):
    port = int(orthanc.address.rsplit(":", 1)[1])
    with pytest.raises(ConfigError, match="taken"), running_orthanc(find_orthanc(), tmp_path, port):
        pytest.fail("it must not start")
