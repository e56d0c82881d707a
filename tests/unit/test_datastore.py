"""The studies folder: every image has an id, and labels are there whole or not at all, whatever happens."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException

from lib.errors import ConfigError, InputError, NotFoundError
from lib.formats import read_volume, write_volume
from lib.server.catalog import CATALOG_NAME, split_name
from lib.server.datastore import StudiesDatastore
from phantoms import dicom_slices, marker_volume, write_dicom

PHANTOM = marker_volume("LPS")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content of " + name.encode())


def label_file(folder: Path, content: bytes = b"label", name: str = "upload.nii.gz") -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return str(folder / name)


@pytest.fixture
def folder(tmp_path):
    studies = tmp_path / "studies"
    touch(studies, "ct.nii.gz", "mr.nrrd", "x.1.2.nii", "photo.JPG", "readme.txt", ".hidden.nii.gz")
    return studies


@pytest.fixture
def store(folder):
    return StudiesDatastore(folder)


def test_ids_are_file_names_without_the_extension(store):
    assert sorted(store.list_images()) == ["ct", "mr", "photo", "x.1.2"]
    assert Path(store.get_image_uri("x.1.2")).name == "x.1.2.nii"


def test_an_extension_inside_a_name_stays(folder):
    touch(folder, "a.nii_copy.nii", "b.nii.gz.nii.gz")
    assert {"a.nii_copy", "b.nii.gz"} <= set(StudiesDatastore(folder).list_images())


def test_two_files_that_share_a_stem_are_two_images(folder):
    touch(folder, "ct.nrrd", "ct.nii")
    store = StudiesDatastore(folder)
    assert [Path(store.get_image_uri(i)).name for i in ("ct", "ct.nii", "ct.nrrd")] == [
        "ct.nii.gz",
        "ct.nii",
        "ct.nrrd",
    ]


def test_an_id_stays_when_a_file_that_would_have_come_first_is_added(folder):
    store = StudiesDatastore(folder)
    touch(folder, "mr.nii.gz")
    assert Path(store.get_image_uri("mr")).name == "mr.nrrd"
    assert Path(store.get_image_uri("mr.nii.gz")).name == "mr.nii.gz"


def test_files_that_come_and_go_while_the_server_runs_are_noticed(folder, store):
    touch(folder, "new.nii.gz")
    assert "new" in store.list_images()
    (folder / "new.nii.gz").unlink()
    assert "new" not in store.list_images()


def test_a_dicom_folder_is_an_image_and_comes_as_one_file_with_the_same_geometry(folder):
    write_dicom(dicom_slices(PHANTOM.volume), folder / "series")
    touch(folder, "not_dicom/notes.txt")
    store = StudiesDatastore(folder)
    assert "series" in store.list_images()
    assert "not_dicom" not in store.list_images()
    converted = read_volume(Path(store.get_image_uri("series")))
    original = read_volume(folder / "series")
    assert np.array_equal(converted.voxels, original.voxels)
    np.testing.assert_allclose(converted.affine, original.affine, atol=1e-4)


def test_a_dicom_folder_is_converted_once_and_again_when_it_changes(folder):
    series = write_dicom(dicom_slices(PHANTOM.volume), folder / "series")
    store = StudiesDatastore(folder)
    first = Path(store.get_image_uri("series"))
    written_ns = first.stat().st_mtime_ns
    assert Path(store.get_image_uri("series")) == first
    assert first.stat().st_mtime_ns == written_ns
    for path in series.iterdir():
        path.unlink()
    write_dicom(dicom_slices(marker_volume("LPS", shape=(20, 20, 20)).volume), series)
    second = Path(store.get_image_uri("series"))
    assert read_volume(second).shape == (20, 20, 20)
    assert not first.exists()


def test_a_saved_label_is_found_again_by_a_new_server(folder, store, tmp_path):
    store.save_label("ct", label_file(tmp_path / "up"), "final", {"client_id": "ann"})
    again = StudiesDatastore(folder)
    assert Path(again.get_label_uri("ct", "final")).read_bytes() == b"label"
    assert again.get_label_info("ct", "final")["client_id"] == "ann"
    assert again.get_labeled_images() == ["ct"]
    assert again.status()["completed"] == 1


def test_a_label_in_another_format_replaces_the_earlier_one(folder, store, tmp_path):
    store.save_label("ct", label_file(tmp_path / "up"), "final", {})
    store.save_label("ct", label_file(tmp_path / "up", b"newer", "upload.nrrd"), "final", {})
    assert [path.name for path in (folder / "labels" / "final").iterdir()] == ["ct.nrrd"]
    assert Path(store.get_label_uri("ct", "final")).read_bytes() == b"newer"


def test_labels_that_lie_there_without_a_catalogue_are_found(folder):
    touch(folder, "labels/final/ct.nrrd", "labels/draft/mr.nii.gz", "labels/final/nobody.nii.gz")
    store = StudiesDatastore(folder)
    assert store.get_labels_by_image_id("ct") == {"final": "ct"}
    assert store.status()["label_tags"] == {"draft": 1, "final": 1}


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"objects": {"ct": ', b"[]", b'{"objects": {"ct": {}}}', b"\x00\xff"]
)
def test_a_catalogue_damaged_by_a_crash_is_put_aside_and_made_again(folder, tmp_path, content):
    StudiesDatastore(folder).save_label("ct", label_file(tmp_path / "up"), "final", {})
    (folder / CATALOG_NAME).write_bytes(content)
    store = StudiesDatastore(folder)
    assert store.get_labeled_images() == ["ct"]
    assert len(list(folder.glob(f"{CATALOG_NAME}.corrupt-*"))) == 1
    json.loads((folder / CATALOG_NAME).read_text())


def test_a_catalogue_of_monai_label_itself_is_read(folder):
    entry = {"image": {"ext": ".nii.gz", "info": {"ts": 1, "note": "mine"}}, "labels": {}}
    document = {
        "name": "n",
        "description": "d",
        "images_dir": ".",
        "labels_dir": "labels",
        "objects": {"ct": entry},
    }
    (folder / CATALOG_NAME).write_text(json.dumps(document))
    assert StudiesDatastore(folder).get_image_info("ct")["note"] == "mine"


def test_ids_in_a_catalogue_that_lead_elsewhere_are_left_out(folder):
    entry = {"image": {"ext": ".gz", "info": {}}, "labels": {}}
    (folder / CATALOG_NAME).write_text(json.dumps({"objects": {"../../secret": entry}}))
    assert "../../secret" not in StudiesDatastore(folder).list_images()


@pytest.mark.parametrize("image_id", ["../evil", "/etc/cron", "a/b", "a\\b", "..", ".x", "a\0b", "x" * 300])
def test_an_image_cannot_be_stored_outside_the_folder(store, tmp_path, image_id):
    with pytest.raises(InputError):
        store.add_image(image_id, label_file(tmp_path / "up"), {})


@pytest.mark.parametrize("tag", ["..", "../..", "/tmp", "a/b", ""])
def test_a_label_cannot_be_stored_outside_the_folder(store, tmp_path, tag):
    with pytest.raises(InputError):
        store.save_label("ct", label_file(tmp_path / "up"), tag, {})


def test_files_that_are_neither_image_nor_label_are_refused(store, tmp_path):
    with pytest.raises(InputError, match=r"\.nii\.gz"):
        store.add_image("new", label_file(tmp_path / "up", name="script.py"), {})
    with pytest.raises(InputError, match=r"\.nii\.gz"):
        store.save_label("ct", label_file(tmp_path / "up", name="label.bin"), "final", {})


def test_what_is_not_there_is_said_so(store, tmp_path):
    with pytest.raises(ImageNotFoundException):
        store.save_label("nobody", label_file(tmp_path / "up"), "final", {})
    with pytest.raises(LabelNotFoundException):
        store.remove_label("ct", "final")
    with pytest.raises(NotFoundError):
        store.get_dataset_archive(None)
    assert store.get_image_uri("nobody") == ""


def test_an_added_image_replaces_the_one_of_the_same_id(folder, store, tmp_path):
    store.add_image("mr", label_file(tmp_path / "up", b"newer"), {"from": "slicer"})
    assert Path(store.get_image_uri("mr")).read_bytes() == b"newer"
    assert not (folder / "mr.nrrd").exists()
    assert store.get_image_info("mr")["from"] == "slicer"


def test_a_removed_image_takes_its_labels_along_and_a_dicom_folder_stays(folder, store, tmp_path):
    store.save_label("ct", label_file(tmp_path / "up"), "final", {})
    store.remove_image("ct")
    assert "ct" not in store.list_images()
    assert list((folder / "labels" / "final").iterdir()) == []
    write_dicom(dicom_slices(PHANTOM.volume), folder / "series")
    with pytest.raises(InputError, match="DICOM"):
        store.remove_image("series")


def test_training_gets_pairs_of_image_and_final_label(store, tmp_path):
    store.save_label("ct", label_file(tmp_path / "up"), "final", {})
    store.save_label("mr", label_file(tmp_path / "up"), "original", {})
    (pair,) = store.datalist(full_path=False)
    assert pair == {"image": "ct.nii.gz", "label": "labels/final/ct.nii.gz"}


def test_the_archive_holds_the_pairs(store, tmp_path):
    store.save_label("ct", label_file(tmp_path / "up"), "final", {})
    archive = Path(store.get_dataset_archive(None))
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", archive], capture_output=True, text=True, check=True
    )
    assert {"image/ct.nii.gz", "label/ct.nii.gz", "metadata.json"} <= set(listing.stdout.split())
    archive.unlink()


def test_many_threads_save_at_once_and_nothing_is_lost(folder, store, tmp_path):
    def save(tag: str) -> None:
        store.save_label("ct", label_file(tmp_path / tag, tag.encode()), tag, {"tag": tag})
        store.update_image_info("ct", {tag: True})

    threads = [threading.Thread(target=save, args=(f"tag{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = StudiesDatastore(folder)
    for n in range(8):
        assert Path(again.get_label_uri("ct", f"tag{n}")).read_bytes() == f"tag{n}".encode()
        assert again.get_image_info("ct")[f"tag{n}"] is True


def test_another_process_of_the_app_loses_no_change_of_this_one(folder, store):
    other = StudiesDatastore(folder)
    store.update_image_info("ct", {"one": 1})
    other.update_image_info("ct", {"two": 2})
    store.update_image_info("mr", {"three": 3})
    assert {"one": 1, "two": 2}.items() <= store.get_image_info("ct").items()


def test_a_folder_that_cannot_be_written_is_shown_and_left_as_it_is(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    before = sorted(folder.rglob("*"))
    store = StudiesDatastore(folder)
    assert "ct" in store.list_images()
    with pytest.raises(ConfigError, match="cannot be written"):
        store.save_label("ct", label_file(tmp_path / "up"), "final", {})
    assert sorted(folder.rglob("*")) == before


SAVE_FOREVER = """
import sys
from pathlib import Path
from lib.server.datastore import StudiesDatastore
store = StudiesDatastore(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    for upload in sys.argv[2:]:
        store.save_label("scan", upload, "final", {"upload": upload})
"""


@pytest.mark.slow
def test_labels_are_whole_after_kill_9_at_any_moment_while_saving(tmp_path, rng):
    kill_while_saving(tmp_path, rng, rounds=25)


def test_labels_are_whole_after_kill_9_while_saving(tmp_path, rng):
    kill_while_saving(tmp_path, rng, rounds=2)


def kill_while_saving(tmp_path: Path, rng: np.random.Generator, rounds: int) -> None:
    folder = tmp_path / "studies"
    folder.mkdir()
    write_volume(PHANTOM.volume, folder / "scan.nii.gz")
    uploads = {}
    for value, name in ((1, "one.nii.gz"), (2, "two.nii.gz"), (3, "three.nii")):
        label_map = np.full((120, 120, 60), value, dtype=np.uint8) * rng.integers(
            0, 2, (120, 120, 60), np.uint8
        )
        nibabel.save(nibabel.Nifti1Image(label_map, np.eye(4)), tmp_path / name)
        uploads[str(tmp_path / name)] = (tmp_path / name).read_bytes()
    for _ in range(rounds):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, folder, *uploads], stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"ready\n"
        time.sleep(float(rng.uniform(0.05, 0.6)))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        store = StudiesDatastore(folder)
        label = Path(store.get_label_uri("scan", "final"))
        assert label.read_bytes() in uploads.values()
        assert split_name(label.name)[0] == "scan"
        assert store.list_images() == ["scan"]
        assert not list(folder.rglob("*.tmp"))
        assert not list(folder.glob("*.corrupt-*"))
