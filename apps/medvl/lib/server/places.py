"""Where images come from: the studies folder, the sessions' folder, a DICOMweb server's copies."""

from pathlib import Path

from monailabel.config import settings as monai_label
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.datastore import Datastore

from lib.server.datastore import StudiesDatastore
from lib.server.sessions import ImageSessions
from lib.settings import Settings

DEFAULT_SESSIONS = Path.home() / ".cache" / "medvl" / "sessions"


def open_studies(studies: str) -> StudiesDatastore | None:
    """The datastore of a folder; None where the studies are an address.

    Args:
        studies: as the operator gave it.
    """
    if studies.startswith(("http://", "https://")):
        return None
    return StudiesDatastore(Path(studies).expanduser())


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
