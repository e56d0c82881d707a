"""Where images come from: the studies folder, the sessions' folder, a DICOMweb server's copies."""

import hashlib
from pathlib import Path

from monailabel.config import settings as monai_label
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.datastore import Datastore

from lib.configs import APP_VERSION
from lib.server.archive import Archive
from lib.server.datastore import CONVERTED_FOLDER, StudiesDatastore
from lib.server.dicomweb import DicomWebStudies
from lib.server.sessions import ImageSessions
from lib.settings import Settings

DEFAULT_SESSIONS = Path.home() / ".cache" / "medvl" / "sessions"
DEFAULT_STATE = Path.home() / ".cache" / "medvl" / "annotation"
DEFAULT_COPIES = Path.home() / ".cache" / "medvl" / "dicomweb"
_OTHER_REMOTES = ("xnat", "dsa")
"""Kinds of server, by MONAI Label's setting, that its own clients speak with."""


def open_studies(studies: str) -> StudiesDatastore | None:
    """The datastore of a folder or DICOMweb server; None where MONAI Label has a client of its own.

    Args:
        studies: as the operator gave it.
    """
    if not studies.startswith(("http://", "https://")):
        return StudiesDatastore(Path(studies).expanduser())
    is_other = monai_label.MONAI_LABEL_DATASTORE.lower() in _OTHER_REMOTES or "googleapis.com" in studies
    return None if is_other else _open_dicomweb(studies)


def _open_dicomweb(url: str) -> DicomWebStudies:
    """By MONAI Label's own settings: login, prefixes, folder for copies, which series are images."""
    user, password = monai_label.MONAI_LABEL_DICOMWEB_USERNAME, monai_label.MONAI_LABEL_DICOMWEB_PASSWORD
    prefixes = {
        "qido": monai_label.MONAI_LABEL_QIDO_PREFIX,
        "wado": monai_label.MONAI_LABEL_WADO_PREFIX,
        "stow": monai_label.MONAI_LABEL_STOW_PREFIX,
    }
    archive = Archive(url, (user, password) if user and password else None, prefixes)
    copies = Path((monai_label.MONAI_LABEL_DICOMWEB_CACHE_PATH or "").strip() or DEFAULT_COPIES)
    place = hashlib.blake2b(archive.url.encode(), digest_size=8).hexdigest()
    filters = monai_label.MONAI_LABEL_DICOMWEB_SEARCH_FILTER
    return DicomWebStudies(archive, copies.expanduser() / f"medvl-{place}", filters, APP_VERSION)


def open_sessions(settings: Settings) -> ImageSessions:
    """Users' uploaded images, in the folder that MONAI Label's own setting names."""
    folder = Path(monai_label.MONAI_LABEL_SESSION_PATH or DEFAULT_SESSIONS).expanduser()
    return ImageSessions(folder, round(settings.session_minutes * 60), settings.max_sessions)


def image_folders(datastore: Datastore, sessions: ImageSessions | None) -> list[Path]:
    """The folders whose files a task may open."""
    folders = [sessions.folder] if sessions is not None else []
    if isinstance(datastore, StudiesDatastore):
        return [datastore.folder, *folders]
    if isinstance(datastore, LocalDatastore):  # MONAI Label's copies of what a DICOMweb server holds
        return [Path(datastore._datastore_path), *folders]
    return folders


def state_folder(datastore: Datastore, studies: str) -> Path:
    """Where scores and reservations are kept: beside the studies, or in the user's cache.

    Args:
        datastore: of the studies.
        studies: as the operator gave it.
    """
    if isinstance(datastore, StudiesDatastore):
        return datastore.folder / CONVERTED_FOLDER
    return DEFAULT_STATE / hashlib.blake2b(studies.encode(), digest_size=8).hexdigest()
