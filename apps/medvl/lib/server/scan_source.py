"""The images of a datastore, as active learning sees them."""

from collections.abc import Callable
from pathlib import Path

from monailabel.interfaces.datastore import Datastore

from lib.errors import NotFoundError
from lib.formats import read_volume
from lib.server.datastore import StudiesDatastore
from lib.server.dicomweb import DicomWebStudies
from lib.volume import Volume

_UNCHANGING = "unchanging"


class DatastoreScans:
    """The scans of the app's datastore, read anew each time: they are many, and each is needed once.

    Args:
        datastore: gives the datastore.
    """

    def __init__(self, datastore: Callable[[], Datastore]) -> None:
        self._datastore = datastore

    def stamp(self, image_id: str) -> str:
        """Size and time of the file or folder; a series of an archive never changes under its UID."""
        datastore = self._datastore()
        if isinstance(datastore, DicomWebStudies) or not isinstance(datastore, StudiesDatastore):
            return _UNCHANGING
        path = Path(datastore.get_image_info(image_id).get("path") or datastore.folder / image_id)
        try:
            status = path.stat()
        except OSError:
            return ""
        return f"{status.st_mtime_ns}:{status.st_size}"

    def is_near(self, image_id: str) -> bool:
        """Whether the scan lies in a folder here; an archive's series does once it has been opened."""
        datastore = self._datastore()
        return not isinstance(datastore, DicomWebStudies) or (datastore.folder / image_id).is_dir()

    def read(self, image_id: str) -> Volume:
        """The scan.

        Raises:
            NotFoundError: there is none of this id.
            VolumeError: it cannot be read as a scan.
            CapacityError: the archive does not answer.
        """
        datastore = self._datastore()
        series = datastore.series_folder(image_id) if isinstance(datastore, StudiesDatastore) else None
        uri = str(series) if series is not None else datastore.get_image_uri(image_id)
        if not uri:
            raise NotFoundError(f"There is no image {image_id[:40]!r} any more.")
        return read_volume(Path(uri))
