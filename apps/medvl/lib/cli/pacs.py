"""A PACS to try MedVL with: Orthanc on this computer only, with the sample DICOM series in it.

`python -m lib.cli.pacs start` stays until it is told to end (ctrl-C, or `python -m lib.cli.pacs stop`).
Orthanc is not installed by `make setup`; Debian and Ubuntu have it as `orthanc` and `orthanc-dicomweb`.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import pydicom
import requests
import typer
from rich.console import Console

from lib.cli.sample_data import CACHE
from lib.errors import CapacityError, ConfigError, MedVLError
from lib.formats.dicom_identity import derived_identity, own_identity

HOST = "127.0.0.1"
PORT = 8042
HOME = CACHE / "pacs"
SERIES = CACHE / "dicom"
_PROGRAM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin")
_PLUGIN_FOLDERS = (Path("/usr/share/orthanc/plugins"), Path("/usr/local/share/orthanc/plugins"))
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.2
_MISSING = (
    "Orthanc with its DICOMweb plugin is not installed; on Debian or Ubuntu: "
    "apt-get install orthanc orthanc-dicomweb."
)

app = typer.Typer(add_completion=False, help=__doc__)


@dataclass(frozen=True)
class Orthanc:
    """Where the programs are.

    Attributes:
        program: the server.
        plugin: its DICOMweb plugin.
    """

    program: Path
    plugin: Path


def find_orthanc() -> Orthanc:
    """The installed Orthanc.

    Raises:
        ConfigError: it, or its plugin, is not installed.
    """
    search = os.pathsep.join((os.environ.get("PATH", ""), *_PROGRAM_FOLDERS))
    program = shutil.which("Orthanc", path=search)
    plugins = [folder / "libOrthancDicomWeb.so" for folder in _PLUGIN_FOLDERS]
    plugin = next((path for path in plugins if path.exists()), None)
    if program is None or plugin is None:
        raise ConfigError(_MISSING)
    return Orthanc(Path(program), plugin)


@dataclass(frozen=True)
class RunningOrthanc:
    """A server that has been started.

    Attributes:
        address: such as http://127.0.0.1:8042.
        process: whose end is the server's.
    """

    address: str
    process: subprocess.Popen[bytes]

    @property
    def dicomweb(self) -> str:
        """Address of its DICOMweb service."""
        return f"{self.address}/dicom-web"


@contextmanager
def running_orthanc(orthanc: Orthanc, home: Path, port: int) -> Iterator[RunningOrthanc]:
    """Start Orthanc, wait until it answers, and end it whatever happens in the block.

    Args:
        orthanc: the programs.
        home: for its configuration, storage and log; made if it is missing.
        port: of the loopback interface.

    Yields:
        The server.

    Raises:
        ConfigError: the port is taken, perhaps by another PACS.
        CapacityError: it did not come up.
    """
    _check_free(port)
    home.mkdir(parents=True, exist_ok=True)
    config = home / "orthanc.json"
    config.write_text(json.dumps(_configuration(orthanc, home, port), indent=2), encoding="utf-8")
    address = f"http://{HOST}:{port}"
    with (home / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - the installed program; arguments are not a shell's
            [str(orthanc.program), str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_ready(process, address)
            yield RunningOrthanc(address, process)
        finally:
            _end(process)


def upload_series(address: str, folder: Path) -> int:
    """Bring the DICOM files of a folder into Orthanc; how many there were.

    Raises:
        CapacityError: Orthanc refuses one.
    """
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    own = [own_identity(pydicom.dcmread(path, stop_before_pixels=True)) for path in paths]
    shared = derived_identity(one["SOPInstanceUID"] for one in own) if own else {}
    for path, one in zip(paths, own, strict=True):
        reply = requests.post(
            f"{address}/instances", data=_with_identity(path, {**one, **shared}), timeout=_START_TIMEOUT_S
        )
        if not reply.ok:
            raise CapacityError(f"Orthanc does not take {path.name}: status {reply.status_code}.")
    return len(paths)


def _with_identity(path: Path, identity: dict[str, str]) -> bytes:
    """A file with the identifiers that a PACS needs, where an anonymizer has emptied them."""
    dataset = pydicom.dcmread(path)
    derived: dict[str, Any] = {
        **identity,
        "PatientID": "SAMPLE",
        "PatientName": "SAMPLE^CT",
        "StudyID": "1",
        "SeriesNumber": 1,
    }
    for keyword, value in derived.items():
        if not dataset.get(keyword):
            setattr(dataset, keyword, value)
    buffer = BytesIO()
    dataset.save_as(buffer, write_like_original=False)
    return buffer.getvalue()


def _configuration(orthanc: Orthanc, home: Path, port: int) -> dict[str, Any]:
    """This computer only, no DICOM network, no scripts."""
    return {
        "Name": "MedVL sample PACS",
        "StorageDirectory": str(home / "storage"),
        "IndexDirectory": str(home / "storage"),
        "Plugins": [str(orthanc.plugin)],
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "ExecuteLuaEnabled": False,
        "OverwriteInstances": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
    }


def _check_free(port: int) -> None:
    """Whoever holds the port would be taken for ours, and be sent the sample series."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise ConfigError(
                f"Port {port} is taken, perhaps by another Orthanc; end that, or choose another --port."
            ) from error


def _wait_until_ready(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CapacityError("Orthanc stopped while starting; its log says why.")
        with suppress(requests.RequestException):
            if requests.get(f"{address}/dicom-web/studies", timeout=5).ok:
                return
        time.sleep(_POLL_S)
    raise CapacityError(f"Orthanc gave no answer within {_START_TIMEOUT_S:.0f} s; its log says more.")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@app.command()
def start(
    port: Annotated[int, typer.Option(min=1, max=65535)] = PORT,
    home: Annotated[Path, typer.Option(help="Folder for its storage.")] = HOME,
    series: Annotated[Path, typer.Option(help="Folder of folders with one DICOM series each.")] = SERIES,
) -> None:
    """Start Orthanc with the sample series and stay until told to end."""
    console = Console()
    signal.signal(signal.SIGTERM, _leave)
    try:
        with running_orthanc(find_orthanc(), home, port) as server, _noted(home):
            for folder in sorted(path for path in series.iterdir() if path.is_dir()):
                console.print(f"{folder.name}: {upload_series(server.address, folder)} files")
            console.print(f"DICOMweb for this computer only: {server.dicomweb}", soft_wrap=True)
            console.print(f"In another terminal: make serve STUDIES={server.dicomweb}", soft_wrap=True)
            console.print("End with ctrl-C.")
            server.process.wait()
            raise CapacityError("Orthanc has ended by itself; its log says why.")
    except KeyboardInterrupt:
        console.print("Orthanc has ended.")
    except MedVLError as error:
        Console(stderr=True).print(str(error), markup=False)
        raise typer.Exit(1) from error


@app.command()
def stop(home: Annotated[Path, typer.Option(help="As at the start.")] = HOME) -> None:
    """End what `start` began, and wait until it is gone."""
    console = Console()
    note = _note(home)
    process = _noted_process(note)
    if process is None:
        console.print("No sample PACS is running.")
        note.unlink(missing_ok=True)
        return
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + 2 * _STOP_TIMEOUT_S
    while _noted_process(note) is not None and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    console.print("Orthanc has ended.")


def _leave(*_: object) -> None:
    raise KeyboardInterrupt


def _note(home: Path) -> Path:
    return home / "medvl.pid"


@contextmanager
def _noted(home: Path) -> Iterator[None]:
    """The process is noted for `stop` while the block lasts."""
    _note(home).write_text(str(os.getpid()), encoding="utf-8")
    try:
        yield
    finally:
        _note(home).unlink(missing_ok=True)


def _noted_process(note: Path) -> int | None:
    """The process that the note names, if it is one of ours; numbers are used again by the system."""
    try:
        process = int(note.read_text(encoding="utf-8"))
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return process if b"lib.cli.pacs" in command or b"pacs.py" in command else None


if __name__ == "__main__":
    app()
