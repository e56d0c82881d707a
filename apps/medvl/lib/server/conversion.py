"""DICOM folders as one NIfTI file each, for clients that download an image as a file."""

import hashlib
import threading
from functools import lru_cache
from pathlib import Path

from lib.formats import is_dicom_folder, read_volume, write_volume


class SeriesConverter:
    """Converts a folder when it is first asked for, and again when the folder has changed.

    Args:
        folder: where converted files are kept; made with the first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def converted(self, series: Path) -> Path:
        """The NIfTI file of a DICOM folder.

        Raises:
            VolumeError: it cannot be read as one scan.
        """
        target = self._folder / f"{series.name}.{_fingerprint(series)}.nii.gz"
        with self._lock:
            if not target.is_file():
                self._folder.mkdir(parents=True, exist_ok=True)
                write_volume(read_volume(series), target)
                self._remove_older(series.name, target)
        return target

    def _remove_older(self, name: str, newest: Path) -> None:
        for path in self._folder.iterdir():
            is_same_series = path.name.rsplit(".", 3)[0] == name
            if is_same_series and path != newest:
                path.unlink(missing_ok=True)


def is_series(folder: Path) -> bool:
    """Whether a folder holds a DICOM series; looked at once, and again when the folder has changed."""
    return _is_series_of_version(folder, folder.stat().st_mtime_ns)


@lru_cache(maxsize=4096)
def _is_series_of_version(folder: Path, mtime_ns: int) -> bool:  # noqa: ARG001 - part of the cache's key
    return is_dicom_folder(folder)


def _fingerprint(series: Path) -> str:
    """Changes when a file of the folder does; 16 hexadecimal digits."""
    hasher = hashlib.blake2b(digest_size=8)
    for path in sorted(series.iterdir()):
        status = path.stat()
        hasher.update(f"{path.name}:{status.st_size}:{status.st_mtime_ns}\n".encode())
    return hasher.hexdigest()
