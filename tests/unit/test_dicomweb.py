"""Studies of a DICOMweb server: copied once, labelled as SEG, and sound when the server is not."""

import shutil
import threading
import time
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from monailabel.interfaces.exception import ImageNotFoundException

from lib.errors import CapacityError, InputError, VolumeError
from lib.formats import read_volume, write_mask
from lib.formats.dicom_seg import SegHeader, write_dicom_seg
from lib.formats.dicom_seg_codes import load_structure_codes
from lib.formats.dicom_seg_read import open_dicom_seg, read_dicom_seg
from lib.formats.dicom_series import read_series
from lib.mask import Mask
from lib.server.archive import Archive, ArchivedSeg, ArchivedSeries
from lib.server.dicomweb import DicomWebStudies
from phantoms import dicom_slices, marker_volume, tilted, write_dicom

LABEL_INFO = {"label_info": [{"name": "liver", "idx": 1}, {"name": "spleen", "idx": 2, "color": [1, 2, 3]}]}


class FolderArchive(Archive):
    """An archive whose series are folders; counts what it is asked for, and can be silent."""

    def __init__(self, folder: Path) -> None:
        self.url = "http://archive/dicom-web"
        self.folder = folder
        self.segs: list[ArchivedSeg] = []
        self.downloads: list[str] = []
        self.is_silent = False

    def series(self, filters):
        self._check()
        folders = [path for path in self.folder.iterdir() if path.is_dir()]
        wanted = filters.get("SeriesInstanceUID")
        return [archived(path.name) for path in folders if wanted in (None, path.name)]

    def segmentations(self):
        self._check()
        return self.segs

    def download_series(self, series, folder):
        self._check()
        time.sleep(0.05)
        self.downloads.append(series.uid)
        for path in (self.folder / series.uid).iterdir():
            shutil.copy(path, folder)

    def download_seg(self, seg, path):
        self._check()
        shutil.copy(self.folder / f"{seg.instance_uid}.dcm", path)

    def store(self, path):
        self._check()
        dataset = pydicom.dcmread(path)
        shutil.copy(path, self.folder / f"{dataset.SOPInstanceUID}.dcm")
        image_uid = dataset.ReferencedSeriesSequence[0].SeriesInstanceUID
        written = f"{len(self.segs):04d}"
        seg = ArchivedSeg(archived(dataset.SeriesInstanceUID), dataset.SOPInstanceUID, image_uid, written)
        self.segs.append(seg)
        return str(dataset.SeriesInstanceUID)

    def _check(self):
        if self.is_silent:
            raise CapacityError("The DICOMweb server does not answer; try again later.", 30)


def archived(uid: str) -> ArchivedSeries:
    info = {"SeriesInstanceUID": str(uid), "StudyInstanceUID": "1.2", "Modality": "CT"}
    return ArchivedSeries(str(uid), "1.2", info)


def add_series(folder: Path, slices: list[pydicom.Dataset]) -> str:
    uid = slices[0].SeriesInstanceUID
    write_dicom(slices, folder / uid)
    return str(uid)


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    return FolderArchive(folder)


@pytest.fixture
def uid(archive):
    volume = marker_volume("LPS", oblique_degrees=20.0, shape=(18, 14, 9)).volume
    return add_series(archive.folder, dicom_slices(tilted(volume, 0.8)))


@pytest.fixture
def store(archive, uid, tmp_path):
    return DicomWebStudies(archive, tmp_path / "copies", {"Modality": "CT"}, "0.1.0")


@pytest.fixture
def series(archive, uid):
    return read_series(archive.folder / uid)


def label_file(tmp_path, series, rng, top=2):
    values = rng.integers(0, top + 1, size=series.shape).astype(np.uint8)
    path = tmp_path / "label.nii.gz"
    write_mask(Mask(values, series.affine, {f"l{value}": value for value in range(1, top + 1)}), path)
    return str(path), values


def voxels(path: str) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def test_an_image_is_a_series_under_its_uid_with_the_geometry_of_its_slices(store, archive, uid):
    assert store.list_images() == [uid]
    volume, slices = read_volume(Path(store.get_image_uri(uid))), read_volume(archive.folder / uid)
    np.testing.assert_array_equal(volume.voxels, slices.voxels)
    np.testing.assert_allclose(volume.affine, slices.affine, atol=1e-4)
    assert store.get_image_info(uid)["Modality"] == "CT"


def test_a_series_is_copied_once_however_many_ask_for_it(store, archive, uid):
    threads = [threading.Thread(target=store.get_image_uri, args=(uid,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert archive.downloads == [uid]


def test_a_copy_that_was_cut_off_is_made_again(archive, uid, tmp_path):
    copies = tmp_path / "copies"
    (copies / ".incoming-dead").mkdir(parents=True)
    (copies / ".incoming-dead" / "00000.dcm").write_bytes(b"half")
    store = DicomWebStudies(archive, copies, {}, "0.1.0")
    assert store.get_image_uri(uid)
    assert not list(copies.glob(".incoming-*"))


def test_a_download_that_fails_leaves_nothing_behind(store, archive, uid, monkeypatch):
    def fail(series, folder):
        (folder / "00000.dcm").write_bytes(b"half")
        raise CapacityError("The DICOMweb server does not answer; try again later.")

    with monkeypatch.context() as patched:
        patched.setattr(archive, "download_series", fail)
        with pytest.raises(CapacityError):
            store.get_image_uri(uid)
    assert not list(store.folder.glob(".incoming-*"))
    assert store.get_image_uri(uid)


@pytest.mark.parametrize("name", ["../archive", "..", ".", "1.2.3.4", "1/../2", "liver", "9" * 65])
def test_what_is_no_series_of_the_archive_is_no_image(name, store):
    assert store.get_image_uri(name) == ""
    assert store.series_folder(name) is None
    with pytest.raises(ImageNotFoundException):
        store.save_label(name, "label.nii.gz", "final", {})


def test_a_final_label_becomes_a_seg_with_names_and_codes(store, archive, uid, series, tmp_path, rng):
    path, values = label_file(tmp_path, series, rng)
    store.save_label(uid, path, "final", LABEL_INFO)
    (seg,) = archive.segs
    stored = open_dicom_seg(archive.folder / f"{seg.instance_uid}.dcm", series)
    assert [(info.name, info.code.type.meaning) for info in stored.segments] == [
        ("liver", "Liver"),
        ("spleen", "Spleen"),
    ]
    for number, info in enumerate(stored.segments, start=1):
        np.testing.assert_array_equal(stored.mask_of(info), values == number)
    assert store.get_labeled_images() == [uid]
    assert store.get_unlabeled_images() == []
    assert store.status()["completed"] == 1


def test_a_final_label_comes_back_from_the_archive_where_no_copy_is_left(
    store, archive, uid, series, tmp_path, rng
):
    path, values = label_file(tmp_path, series, rng)
    store.save_label(uid, path, "final", LABEL_INFO)
    other = DicomWebStudies(archive, tmp_path / "other copies", {}, "0.1.0")
    assert other.get_label_by_image_id(uid, "final") == uid
    np.testing.assert_array_equal(voxels(other.get_label_uri(uid, "final")), values)
    assert other.get_label_info(uid, "final")["label_info"] == [
        {"name": "liver", "idx": 1},
        {"name": "spleen", "idx": 2},
    ]


def test_a_newer_seg_of_another_program_is_the_final_label(store, archive, uid, series, tmp_path, rng):
    path, _ = label_file(tmp_path, series, rng)
    store.save_label(uid, path, "final", LABEL_INFO)
    corrected = Mask(rng.integers(0, 2, size=series.shape).astype(np.uint8), series.affine, {"aorta": 1})
    seg = tmp_path / "corrected.dcm"
    write_dicom_seg(corrected, series, seg, load_structure_codes(), SegHeader(None, "1"))
    archive.store(seg)
    np.testing.assert_array_equal(voxels(store.get_label_uri(uid, "final")), corrected.label_map)
    assert store.get_label_info(uid, "final")["label_info"] == [{"name": "aorta", "idx": 1}]


def test_a_label_that_the_archive_did_not_take_is_kept_and_said(store, archive, uid, series, tmp_path, rng):
    path, values = label_file(tmp_path, series, rng)
    assert store.get_image_uri(uid)
    archive.store, taken = lambda _: archive._check() or 1 / 0, archive.store
    archive.is_silent = True
    with pytest.raises(CapacityError, match="kept here, but not in the archive"):
        store.save_label(uid, path, "final", LABEL_INFO)
    np.testing.assert_array_equal(voxels(store.get_label_uri(uid, "final")), values)
    archive.is_silent, archive.store = False, taken
    store.save_label(uid, path, "final", LABEL_INFO)
    assert len(archive.segs) == 1


def test_gaps_and_missing_names_of_values_are_filled(store, archive, uid, series, tmp_path):
    values = np.zeros(series.shape, dtype=np.uint8)
    values[1, 1, 1], values[2, 2, 2] = 7, 200
    path = tmp_path / "gaps.nii.gz"
    write_mask(Mask(values, series.affine, {}), path)
    store.save_label(uid, str(path), "final", {"label_info": [{"name": "aorta", "idx": 200}]})
    mask = read_dicom_seg(archive.folder / f"{archive.segs[0].instance_uid}.dcm", series)
    assert mask.labels == {"label 7": 1, "aorta": 2}
    assert mask.of("aorta")[2, 2, 2]


def test_labels_that_cannot_be_a_seg_are_refused_and_not_kept(store, archive, uid, series, tmp_path):
    empty = tmp_path / "empty.nii.gz"
    write_mask(Mask(np.zeros(series.shape, dtype=np.uint8), series.affine, {}), empty)
    with pytest.raises(InputError, match="empty"):
        store.save_label(uid, str(empty), "final", LABEL_INFO)
    elsewhere = tmp_path / "elsewhere.nii.gz"
    write_mask(Mask(np.ones((4, 4, 4), dtype=np.uint8), series.affine, {"l": 1}), elsewhere)
    with pytest.raises(VolumeError):
        store.save_label(uid, str(elsewhere), "final", LABEL_INFO)
    with pytest.raises(InputError, match="label_info"):
        store.save_label(uid, str(empty), "final", {"label_info": "liver"})
    assert not archive.segs
    assert store.get_label_uri(uid, "final") == ""


def test_other_tags_stay_in_the_folder(store, archive, uid, series, tmp_path, rng):
    path, values = label_file(tmp_path, series, rng)
    store.save_label(uid, path, "original", LABEL_INFO)
    assert not archive.segs
    np.testing.assert_array_equal(voxels(store.get_label_uri(uid, "original")), values)
    store.remove_label(uid, "original")
    assert store.get_labels_by_image_id(uid) == {}


def test_what_belongs_to_the_archive_is_changed_there(store, uid, tmp_path):
    with pytest.raises(InputError, match="STOW"):
        store.add_image("x", "x.nii.gz", {})
    with pytest.raises(InputError):
        store.remove_image(uid)
    with pytest.raises(InputError, match="archive"):
        store.remove_label(uid, "final")


def test_notes_about_an_image_are_kept_with_what_the_archive_says(store, uid):
    store.update_image_info(uid, {"strategy": {"random": 1}})
    info = store.get_image_info(uid)
    assert info["strategy"] == {"random": 1}
    assert info["StudyInstanceUID"] == "1.2"


def test_series_that_were_never_opened_are_in_the_catalogue(store, uid):
    assert store.json()["objects"][uid]["image"]["info"]["Modality"] == "CT"


def test_the_archive_is_not_asked_again_for_every_count(store, archive, uid, monkeypatch):
    assert store.status()["total"] == 1
    archive.is_silent = True
    assert store.status()["total"] == 1
    assert store.get_unlabeled_images() == [uid]


def test_a_silent_archive_is_said_and_what_was_copied_stays_readable(store, archive, uid, tmp_path):
    assert store.get_image_uri(uid)
    archive.is_silent = True
    silent = DicomWebStudies(archive, tmp_path / "empty", {}, "0.1.0")
    assert silent.status()["total"] == 0
    with pytest.raises(CapacityError, match="does not answer"):
        silent.list_images()
    with pytest.raises(CapacityError, match="does not answer"):
        silent.get_image_uri(uid)
    assert Path(store.get_image_uri(uid)).is_file()


def test_an_archive_that_refuses_connections_is_a_503_without_its_address():
    with pytest.raises(CapacityError) as error:
        Archive("http://127.0.0.1:9/dicom-web").series({"Modality": "CT"})
    assert error.value.status == 503
    assert "127.0.0.1" not in str(error.value)
