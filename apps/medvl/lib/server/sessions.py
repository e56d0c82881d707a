"""Images that one user has uploaded for a while, as MONAI Label's sessions, with bounds and without traps.

Ids are checked before they become part of a path, a session that has expired is gone at once, archives cannot
write outside their folder, and there is a bound on how many there are.
"""

import logging
import shutil
import tarfile
import tempfile
import threading
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any

from monailabel.utils.sessions import SessionInfo, Sessions

from lib.errors import CapacityError, InputError

logger = logging.getLogger(__name__)

MAX_UNPACKED_BYTES = 8 * 2**30
"""Of one uploaded archive."""


class ImageSessions(Sessions):  # type: ignore[misc] # MONAI Label is untyped
    """Sessions in one folder, each with an image.

    Args:
        folder: where the images are kept.
        expiry_s: idle seconds after which a session is gone.
        max_sessions: at the same time.
    """

    def __init__(self, folder: Path, expiry_s: int, max_sessions: int) -> None:
        super().__init__(str(folder), max(expiry_s, 61))  # MONAI Label takes less for a mistake
        self._max_sessions = max_sessions
        self._lock = threading.RLock()

    @property
    def folder(self) -> Path:
        """Where the images are kept."""
        return Path(self.store_path)

    def get_session(
        self, session_id: str, update_ts: bool = True, fetch_cache: bool = True
    ) -> SessionInfo | None:
        """The session of this id; None if there is none, or no more."""
        if not _is_uuid(session_id):
            return None
        try:
            session = super().get_session(session_id, update_ts=False, fetch_cache=fetch_cache)
        except (OSError, ValueError):  # its note was cut short by a crash
            session = None
        if session is None or session.last_access_ts + session.expiry < time.time():
            self.remove_session(session_id)
            return None
        return super().get_session(session_id, update_ts=True) if update_ts else session

    def remove_session(self, session_id: str) -> None:
        """Forget a session and delete its image."""
        if _is_uuid(session_id):
            super().remove_session(session_id)

    def remove_expired(self) -> int:
        """Delete the images of sessions that have expired; how many there were."""
        with self._lock:  # a session that is being made has no note yet
            names = [path.name for path in self._paths() if _is_uuid(path.name)]
            return sum(self.get_session(name, update_ts=False) is None for name in names)

    def add_session(
        self, data_file: str, expiry: int = 0, uncompress: bool = False, session_id: str | None = None
    ) -> tuple[str, SessionInfo]:
        """Begin a session with an uploaded file, or folder of files, which is moved away.

        Args:
            data_file: the upload.
            expiry: idle seconds wanted; 0: as the operator set it, which is also the most.
            uncompress: the upload is an archive.
            session_id: MONAI Label's own tests choose one; otherwise a new, unguessable id.

        Raises:
            CapacityError: there are too many sessions.
            InputError: an archive that cannot be unpacked, or with names that lead elsewhere.
        """
        if uncompress and not Path(data_file).is_dir():
            data_file = str(unpacked(Path(data_file)))
        with self._lock:
            self.remove_expired()
            if len(self._paths()) >= self._max_sessions:
                raise CapacityError(
                    f"The server holds {self._max_sessions} sessions, which is all; try again later.", 60
                )
            session_id = session_id or str(uuid.uuid4())
            added: tuple[str, SessionInfo] = super().add_session(data_file, expiry, False, session_id)
        return added

    def _paths(self) -> list[Path]:
        return list(self.folder.iterdir()) if self.folder.is_dir() else []


def unpacked(archive: Path) -> Path:
    """The content of an uploaded ZIP or TAR in a new temporary folder: its file, or the folder with them.

    Raises:
        InputError: neither, damaged, too large, or with names that lead elsewhere.
    """
    folder = Path(tempfile.mkdtemp())
    try:
        _unpack(archive, folder)
    except (
        OSError,
        ValueError,
        tarfile.TarError,
        zipfile.BadZipFile,
        NotImplementedError,
        EOFError,
    ) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise InputError(
            "The archive cannot be unpacked: it must be a sound ZIP or TAR of at most "
            f"{MAX_UNPACKED_BYTES // 2**30} GiB, without names that lead out of it."
        ) from error
    return _innermost(folder)


def _innermost(folder: Path) -> Path:
    entries = list(folder.iterdir())
    if len(entries) != 1:
        return folder
    return _innermost(entries[0]) if entries[0].is_dir() else entries[0]


def _unpack(archive: Path, folder: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as content:
            _check_size(sum(member.file_size for member in content.infolist()))
            for member in content.infolist():
                _check_member(member.filename)
            content.extractall(folder)  # noqa: S202 - names and size have been checked
        return
    with tarfile.open(archive) as content:
        _check_size(sum(member.size for member in content))
        content.extractall(folder, filter="data")


def _check_size(count_bytes: int) -> None:
    if count_bytes > MAX_UNPACKED_BYTES:
        raise ValueError(count_bytes)


def _check_member(name: str) -> None:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(name)


def _is_uuid(text: Any) -> bool:
    try:
        return isinstance(text, str) and str(uuid.UUID(text)) == text
    except ValueError:
        return False
