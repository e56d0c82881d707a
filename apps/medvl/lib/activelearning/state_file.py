"""A JSON document beside the studies, changed in turns by threads and processes, whole or not at all."""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from lib.atomic import write_atomically

logger = logging.getLogger(__name__)


class StateFile:
    """A document that survives a crash at any moment; in memory only where nothing can be written.

    Args:
        path: of the file; its folder is made when something is first written. None: in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._document: dict[str, Any] = {}
        self._seen: tuple[int, ...] | None = None
        if path is not None and path.parent.is_dir():
            self._remove_leftovers(path)

    def read(self) -> dict[str, Any]:
        """The document as it is now; empty at first. Not to be changed by the caller."""
        with self._lock:
            if self._path is not None and self._version() != self._seen:
                self._seen = self._version()
                self._document = self._loaded(self._path)
            return self._document

    @contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """The document to change, while nobody else does; written when the block ends without an error."""
        with self._lock, self._exclusive():
            before = json.dumps(self.read())
            document: dict[str, Any] = json.loads(before)
            yield document
            text = json.dumps(document)
            if text != before:
                self._write(text)
                self._document = document

    def _write(self, text: str) -> None:
        if self._path is None:
            return
        try:
            write_atomically(self._path, text.encode())
        except OSError as error:  # a full disk costs what was noted, not the answer
            logger.warning("the state of active learning cannot be kept on disk: %s", error.strerror)
            return
        self._seen = self._version()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Keeps other processes of this app out."""
        if self._path is None:
            yield
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._path.with_name(f".{self._path.name}.lock")):
            yield

    def _remove_leftovers(self, path: Path) -> None:
        """Temporary files of a process that was killed; nobody else writes while the lock is held."""
        with self._exclusive():
            for leftover in path.parent.glob(f".{path.name}.*.tmp"):
                leftover.unlink(missing_ok=True)

    def _version(self) -> tuple[int, ...]:
        """Changes with each write: a file that is put in place has another inode."""
        if self._path is None:
            return ()
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return ()
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def _loaded(self, path: Path) -> dict[str, Any]:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            document = None
        if isinstance(document, dict):
            return document
        with suppress(OSError):
            path.replace(path.with_name(f"{path.name}.corrupt-{time.time_ns()}"))
        logger.warning("the state of active learning was unreadable; it is put aside and begun anew")
        return {}


def state_file(folder: Path, name: str) -> StateFile:
    """A document in a folder, or in memory where the folder cannot be written or made."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return StateFile(folder / name if os.access(existing, os.W_OK) else None)
