"""Scans by path: each read once, shared by all users, and only from places that the server itself fills."""

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.errors import NotFoundError
from lib.formats import read_volume
from lib.predict.cache import ByteBoundedCache
from lib.volume import Volume


@dataclass(frozen=True, eq=False)
class _Held:
    volume: Volume

    @property
    def nbytes(self) -> int:
        return int(self.volume.voxels.nbytes)


class ImageReader:
    """Reads scans and keeps those last used, within a bound of bytes.

    A path may lie in the datastore, among the sessions' images or among the uploads; MONAI Label's own
    launcher passes on whatever path a client names, so this is where such a path ends.

    Args:
        roots: folders that images may come from, asked for anew each time.
        max_bytes: bound on the voxels kept.
    """

    def __init__(self, roots: Callable[[], Iterable[Path]], max_bytes: int) -> None:
        self._roots = roots
        self._volumes: ByteBoundedCache[_Held] = ByteBoundedCache(max_bytes)

    def read(self, path: Path) -> Volume:
        """The scan in a file or DICOM folder.

        Raises:
            NotFoundError: there is none at a place that images may come from.
            VolumeError: it cannot be read as a scan.
        """
        real = self.trusted(path)
        return self._volumes.get(_version(real), lambda: _Held(read_volume(real))).volume

    def trusted(self, path: Path) -> Path:
        """The path with links followed, if images may come from there.

        Raises:
            NotFoundError: nothing is there, or it lies elsewhere.
        """
        roots = [root.resolve() for root in self._roots()]
        try:
            real = path.resolve(strict=True)
            given = path.absolute()
        except (OSError, ValueError) as error:
            raise NotFoundError(_NO_IMAGE) from error
        is_inside = any(real.is_relative_to(root) or _lies_in(given, root) for root in roots)
        if path == Path() or not (is_inside or _is_upload(real)):
            raise NotFoundError(_NO_IMAGE)
        return real


_NO_IMAGE = "There is no such image; name one of the datastore (GET /datastore/), a session or an upload."


def _lies_in(path: Path, root: Path) -> bool:
    """Whether a link set by the operator inside a root is meant; `..` is not followed out of it."""
    return ".." not in path.parts and path.is_relative_to(root)


def with_uploaded_label(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields whose `scribbles` is an uploaded label map, if there is one.

    MONAI Label's own launcher says `label` to an upload, as viewers do to the name of a structure.

    Raises:
        NotFoundError: `scribbles` is a path of another kind, which only a client can have sent.
    """
    label, scribbles = fields.get("label"), fields.get("scribbles")
    if scribbles is not None and not _is_upload(Path(str(scribbles))):
        raise NotFoundError("There is no such upload; send the label map with the request.")
    if not isinstance(label, str) or not _is_upload(Path(label)):
        return dict(fields)
    return {key: value for key, value in fields.items() if key != "label"} | {"scribbles": label}


def _is_upload(path: Path) -> bool:
    """Uploads lie directly in the folder for temporary files, under a random name."""
    if re.fullmatch(r"tmp[a-z0-9_]{8}(\.[A-Za-z0-9.]+)?", path.name) is None or "\0" in str(path):
        return False
    return path.is_file() and path.parent.resolve() == Path(tempfile.gettempdir()).resolve()


def _version(path: Path) -> tuple[tuple[str, int, int], ...]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
