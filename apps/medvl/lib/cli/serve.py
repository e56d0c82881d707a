"""`medvl serve`: the server, with MONAI Label told all it needs before it is imported."""

import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from lib.errors import ConfigError

APP_DIR = Path(__file__).resolve().parents[2]
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_TEMPORARY_PREFIX = "medvl-serve-"
_STOP_TIMEOUT_S = 5
_CONF_OPTIONS = ("--conf", "-c")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_CHATTY = ("monailabel", "monai", "dicomweb_client", "filelock", "highdicom", "PIL", "httpx", "schedule")

logger = logging.getLogger(__name__)
app = typer.Typer(add_completion=False)


class ConfCommand(TyperCommand):
    """Takes `--conf KEY VALUE` as MONAI Label's launcher does; typer knows only one word an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, pairs joined."""
        return list(super().parse_args(ctx, joined_pairs(args)))


@app.command(cls=ConfCommand)
def serve(
    studies: Annotated[str, typer.Option(help="Folder of scans, or address of a DICOMweb server.")],
    host: Annotated[str, typer.Option(help="Interface to listen on; loopback by default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    conf: Annotated[
        list[str] | None,
        typer.Option("--conf", "-c", metavar="KEY VALUE", help="A setting; may be given several times."),
    ] = None,
) -> None:
    """Serve scans to OHIF, 3D Slicer and other MONAI Label clients."""
    status = run_server(studies, host, port, settings_from_pairs(conf or []))
    logging.shutdown()
    os._exit(status)  # an inference that still runs cannot be stopped, and nobody waits for it any more


def _leave_cleanly(*_: object) -> None:
    sys.exit(0)


def joined_pairs(args: list[str]) -> list[str]:
    """`--conf KEY VALUE` as `--conf KEY=VALUE`; everything else as it is."""
    joined, rest = [], iter(args)
    for word in rest:
        joined.append(word)
        if word in _CONF_OPTIONS:
            key = next(rest, "")
            value = None if "=" in key else next(rest, None)
            joined.append(key if value is None else f"{key}={value}")
    return joined


def settings_from_pairs(pairs: list[str]) -> dict[str, str]:
    """`KEY=VALUE` as key and value.

    Raises:
        ConfigError: a key alone.
    """
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--conf needs a key and a value; got {pair!r} alone.")
        settings[key] = value
    return settings


def run_server(studies: str, host: str, port: int, conf: dict[str, str], app_dir: Path = APP_DIR) -> int:
    """Start the server and stay until it is told to stop.

    Args:
        studies: folder or address.
        host: interface to listen on.
        port: to listen on.
        conf: settings, as text.
        app_dir: folder with the app's main.py.

    Returns:
        The exit status.

    Raises:
        ConfigError: a setting is wrong, the folder is no folder, or the port is taken.
    """
    from lib.settings import parse_settings  # noqa: PLC0415 - seconds, which --help need not wait for

    settings = parse_settings(conf)
    studies = _checked_studies(studies)
    _check_port(host, port)
    _begin_log(host, is_open=settings.access.value == "open")
    with _own_temporary_folder():
        _tell_monai_label(studies, port, conf, app_dir)
        return _listen(host, port)


def _listen(host: str, port: int) -> int:
    import uvicorn  # noqa: PLC0415 - late, as all that reads MONAI Label's settings

    from lib.server.asgi import create_app  # noqa: PLC0415

    signal.signal(signal.SIGTERM, _leave_cleanly)  # uvicorn raises the signal again when it has finished
    try:
        uvicorn.run(
            create_app(),
            host=host,
            port=port,
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=_STOP_TIMEOUT_S,
        )
    except SystemExit as end:  # how uvicorn says that it cannot start, and what _leave_cleanly raises
        return 1 if end.code else 0
    return 0


def _begin_log(host: str, *, is_open: bool) -> None:
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT, stream=sys.stderr)
    for name in _CHATTY:  # their lines at level INFO hold paths, users and prompts
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("timeloop").disabled = True  # it sets its own level
    if host not in _LOOPBACK and is_open:
        logger.warning(
            "listening on %s without a lock: whoever reaches it can read all studies and change labels; "
            "lock it with --conf access token (and medvl token create), and put TLS in front",
            host,
        )


def _check_port(host: str, port: int) -> None:
    """Say so before the seconds that starting takes."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"The server cannot listen on {host} port {port} ({error.strerror}); choose another --port."
            ) from error


def _checked_studies(studies: str) -> str:
    if studies.startswith(("http://", "https://")):
        return studies
    folder = Path(studies).expanduser().resolve()
    if not folder.is_dir():
        raise ConfigError(f"The studies folder {studies} is not there; make it, or name another one.")
    return str(folder)


def _tell_monai_label(studies: str, port: int, conf: dict[str, str], app_dir: Path) -> None:
    """MONAI Label reads the environment when it is imported, and so do processes that it starts.

    The environment's own programs come first, so that MONAI Label finds dcmqi there and fetches none.
    """
    programs = str(Path(sys.executable).parent)
    os.environ.update(
        MONAI_LABEL_APP_DIR=str(app_dir),
        MONAI_LABEL_STUDIES=studies,
        MONAI_LABEL_APP_CONF=json.dumps(conf),
        MONAI_LABEL_SERVER_PORT=str(port),
        MONAI_LABEL_RELOAD_APP_LIB="false",
        MONAI_LABEL_TRACKING_ENABLED="false",
        MEDVL_SERVER="medvl",
        PATH=os.pathsep.join(filter(None, (programs, os.environ.get("PATH")))),
        PYTHONPATH=os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(app_dir)))),
    )


@contextmanager
def _own_temporary_folder() -> Iterator[None]:
    """All temporary files of this server in one folder; those of servers that were killed are removed."""
    parent = Path(tempfile.gettempdir())
    for folder in parent.glob(f"{_TEMPORARY_PREFIX}*"):
        owner = folder.name.removeprefix(_TEMPORARY_PREFIX).split("-")[0]
        if owner.isdigit() and not _is_running(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        prefix=f"{_TEMPORARY_PREFIX}{os.getpid()}-", dir=parent, ignore_cleanup_errors=True
    ) as own:
        os.environ["TMPDIR"] = own
        tempfile.tempdir = own
        yield


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
