"""Uploaded images are bounded in number and time, and archives stay in their folder."""

import io
import tarfile
import time
import uuid
import zipfile
from pathlib import Path

import pytest

from lib.errors import CapacityError, InputError
from lib.server.sessions import ImageSessions


@pytest.fixture
def sessions(tmp_path):
    return ImageSessions(tmp_path / "sessions", expiry_s=3600, max_sessions=3)


@pytest.fixture
def upload(tmp_path):
    def make(name: str = "scan.nii.gz", content: bytes = b"scan") -> str:
        folder = tmp_path / "uploads" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content)
        return str(folder / name)

    return make


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(name: str, content: bytes = b"x", link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 0 if link else len(content)
        member.type, member.linkname = (tarfile.SYMTYPE, link) if link else (tarfile.REGTYPE, "")
        archive.addfile(member, None if link else io.BytesIO(content))
    return buffer.getvalue()


def test_a_session_holds_its_image_until_it_is_removed(sessions, upload):
    session_id, info = sessions.add_session(upload())
    assert Path(info.image).read_bytes() == b"scan"
    assert sessions.get_session(session_id).image == info.image
    sessions.remove_session(session_id)
    assert sessions.get_session(session_id) is None
    assert not Path(info.image).exists()


def test_an_expired_session_is_gone_with_its_image(sessions, upload):
    session_id, info = sessions.add_session(upload(), expiry=1)
    time.sleep(2.1)
    assert sessions.get_session(session_id) is None
    assert not Path(info.image).exists()


def test_a_session_lives_on_in_a_new_server(sessions, upload, tmp_path):
    session_id, _ = sessions.add_session(upload())
    again = ImageSessions(tmp_path / "sessions", 3600, 3)
    assert again.get_session(session_id) is not None


@pytest.mark.parametrize(
    "session_id", ["..", "../../etc", "", "not-an-id", "a\0b", "3A00F6E1-BA5C-47F8-B3C4-9AE59A18D730"]
)
def test_an_id_that_is_none_is_no_session_and_no_path(sessions, session_id):
    assert sessions.get_session(session_id) is None
    sessions.remove_session(session_id)


def test_what_a_crash_left_half_made_is_removed(sessions, upload):
    session_id, info = sessions.add_session(upload())
    (sessions.folder / session_id / "meta.info").write_text('{"name": "cut')
    sessions.clear()
    assert sessions.remove_expired() == 1
    assert not Path(info.image).exists()


def test_one_session_too_many_is_refused_with_the_time_to_wait(sessions, upload):
    for _ in range(3):
        sessions.add_session(upload())
    with pytest.raises(CapacityError, match="3") as refusal:
        sessions.add_session(upload())
    assert refusal.value.retry_after_s > 0


def test_an_archive_with_one_file_is_that_file(sessions, upload):
    packed = zipped(**{"folder/scan.nii.gz": b"inside"})
    _, info = sessions.add_session(upload("scan.zip", packed), uncompress=True)
    assert Path(info.image).name == "scan.nii.gz"
    assert Path(info.image).read_bytes() == b"inside"


def test_an_archive_with_a_series_is_its_folder(sessions, upload):
    packed = zipped(**{"series/1.dcm": b"1", "series/2.dcm": b"2"})
    _, info = sessions.add_session(upload("scan.zip", packed), uncompress=True)
    assert sorted(path.name for path in Path(info.image).iterdir()) == ["1.dcm", "2.dcm"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", zipped(**{"../outside.txt": b"x"})),
        ("a.zip", zipped(**{"/outside.txt": b"x"})),
        ("a.tar", tarred("../outside.txt")),
        ("a.tar", tarred("link", link="../../outside.txt")),
        ("a.zip", b"no archive"),
        ("a.tar.gz", b"\x1f\x8b broken"),
    ],
    ids=["zip up", "zip absolute", "tar up", "tar link", "no archive", "broken"],
)
def test_an_archive_that_leads_out_of_its_folder_or_is_none_is_refused(
    sessions, upload, tmp_path, name, content
):
    with pytest.raises(InputError, match="archive"):
        sessions.add_session(upload(name, content), uncompress=True)
    assert not list(tmp_path.rglob("outside.txt"))
