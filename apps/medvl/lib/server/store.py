"""The catalogue of a studies folder, kept in step with the files and written whole or not at all.

Other processes of this app, and people who copy files in, change the folder too: each look compares the
modification times of the folders, each change is made under a lock on the newest state.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from lib.errors import ConfigError
from lib.server.catalog import (
    CATALOG_NAME,
    Catalog,
    label_folders,
    load_catalog,
    reconcile,
    save_catalog,
)
from lib.server.conversion import is_series

_LOCK_NAME = ".lock"
_CLOCK_GRAIN_NS = 100_000_000
"""A change that falls so close to the last look might not show in the modification time."""


class CatalogStore:
    """Reads and changes the catalogue of one folder. Safe to use from several threads and processes.

    Args:
        folder: the studies folder; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_writable = os.access(folder, os.W_OK)
        self._lock = threading.RLock()
        self._file_lock = FileLock(folder / _LOCK_NAME)
        self._seen: tuple[int, ...] = ()
        self._catalog = Catalog()
        if self.is_writable:
            self._remove_leftovers()
        self.refresh()

    def current(self) -> Catalog:
        """The catalogue as the files are now."""
        if self._lock.acquire(blocking=False):  # while somebody writes, readers see the state before
            try:
                if self._seen != self._look():
                    self._apply(lambda catalog: catalog)
            finally:
                self._lock.release()
        return self._catalog

    def change(self, change: Callable[[Catalog], Catalog], outdated: Callable[[], list[Path]] = list) -> None:
        """Apply a change to the newest state and write it; then remove files that it has made outdated.

        Raises:
            ConfigError: the folder cannot be written.
        """
        if not self.is_writable:
            raise ConfigError("The studies folder of this server cannot be written; ask its operator.")
        self._apply(change, outdated)

    def _apply(self, change: Callable[[Catalog], Catalog], outdated: Callable[[], list[Path]] = list) -> None:
        with self._lock, self._exclusive():
            looked_ns = time.time_ns()
            stored = load_catalog(self.folder)
            changed = change(reconcile(stored, self.folder, is_series))
            if self.is_writable and (changed != stored or not (self.folder / CATALOG_NAME).exists()):
                save_catalog(self.folder, changed)
            for path in outdated():
                path.unlink(missing_ok=True)
            self._catalog = changed
            seen = self._look()
            is_settled = all(changed_ns < looked_ns - _CLOCK_GRAIN_NS for changed_ns in seen)
            self._seen = seen if is_settled else ()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Keeps other processes of this app out while the catalogue changes."""
        if not self.is_writable:
            yield
            return
        with self._file_lock:
            yield

    def _look(self) -> tuple[int, ...]:
        """When each folder and the catalogue were last changed; in nanoseconds."""
        folders = [self.folder, *label_folders(self.folder)]
        paths = [*folders, self.folder / CATALOG_NAME]
        return tuple(path.stat().st_mtime_ns for path in paths if path.exists())

    def refresh(self) -> None:
        """Look at the files again."""
        self._apply(lambda catalog: catalog)

    def _remove_leftovers(self) -> None:
        """Temporary files of a process that was killed; nobody else writes while the lock is held."""
        with self._exclusive():
            for folder in (self.folder, *label_folders(self.folder)):
                for path in folder.glob(".*.tmp"):
                    path.unlink(missing_ok=True)
