"""The list of sample files is complete, pinned and strictly read."""

import hashlib
import re
import zipfile
from pathlib import Path

import pytest
import yaml

from lib.cli.sample_data import (
    CONFIG,
    SampleData,
    SampleFile,
    SamplePicture,
    fetch_sample_data,
    load_sample_data,
)
from lib.errors import ConfigError, WeightsError
from lib.model import sources
from lib.model.picture_weights import load_picture_config
from lib.train.label_names import totalsegmentator_names


def test_every_sample_file_is_pinned_and_has_its_own_place():
    data = load_sample_data()
    assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256) for file in data.files)
    assert (
        len({file.to for file in data.files}) == len(data.files) == len({file.member for file in data.files})
    )
    assert not any(file.to.is_absolute() or ".." in file.to.parts for file in data.files)


def test_every_picture_is_of_a_modality_that_is_diagnosed_and_is_pinned_to_a_version():
    data = load_sample_data()
    modalities = {kind.modality for kind in load_picture_config("medvl-pictures").kinds}
    assert {picture.name for picture in data.pictures} <= modalities
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", picture.archive) for picture in data.pictures)
    assert all(re.fullmatch(r"[0-9a-f]{64}", picture.file.sha256) for picture in data.pictures)


def test_pictures_come_out_of_their_own_packages(tmp_path, monkeypatch):
    content = b"a picture"
    picture = SamplePicture(
        "fundus", "some-package==1.0", SampleFile("p/x.jpg", Path("x.jpg"), _hash(content))
    )
    asked = []

    def wheel(archive, folder, *, from_sdist):
        asked.append((archive, from_sdist))
        path = folder / "some.whl"
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("p/x.jpg", content)
        return path

    monkeypatch.setattr(sources, "_pip_download", wheel)
    data = SampleData("none==1", (), Path("a"), Path("b"), (), (picture,))
    for _ in range(2):  # the second time it is there
        fetch_sample_data(data, tmp_path)
    assert (tmp_path / "x.jpg").read_bytes() == content
    assert asked == [("some-package==1.0", False)]


def _hash(content):
    return hashlib.sha256(content).hexdigest()


def test_the_demo_names_files_that_are_fetched_and_organs_that_have_a_label():
    data = load_sample_data()
    assert {data.image, data.labels} <= {file.to for file in data.files}
    assert len(data.organs) == 5
    assert set(data.organs) <= set(totalsegmentator_names().values())


@pytest.mark.parametrize("place", ["top", "demo", "files", "pictures"])
def test_a_misspelt_key_in_the_list_is_refused(tmp_path, place):
    content = yaml.safe_load(CONFIG.read_text())
    entries = {"files": content["files"][0], "pictures": content["pictures"][0]}
    entry = {"top": content, "demo": content["demo"], **entries}[place]
    entry["sha265"] = "x"
    changed = tmp_path / "sample-data.yaml"
    changed.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="sha265"):
        load_sample_data(changed)


def test_another_file_than_the_one_meant_is_not_kept(tmp_path, monkeypatch):
    """The registry is replaced by an archive with the right names and wrong content."""
    data = load_sample_data()

    def wrong_archive(_archive, folder, *, from_sdist):
        import tarfile

        assert from_sdist
        path = folder / "wrong.tar"
        with tarfile.open(path, "w") as tar:
            for file in data.files:
                tar.addfile(tarfile.TarInfo(file.member))
        return path

    monkeypatch.setattr(sources, "_pip_download", wrong_archive)
    with pytest.raises(WeightsError, match="not the file that was meant"):
        fetch_sample_data(data, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
