"""A DICOMweb server as the datastore needs it: which series and segmentations there are, fetch, store.

Series are fetched as they are stored (transfer syntax `*`): archives without decoders, as Orthanc is without
plugins, answer the library's default, a request for uncompressed pixels, with an error.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import requests
from dicomweb_client import DICOMwebClient
from monailabel.datastore.dicom import DICOMwebClientX
from requests.auth import HTTPBasicAuth

from lib.errors import CapacityError

logger = logging.getLogger(__name__)

AS_STORED = (("application/dicom", "*"),)
_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 60.0
"""Between two parts of an answer; a slow archive may take longer for a whole series."""


@dataclass(frozen=True)
class ArchivedSeries:
    """A series of the archive.

    Attributes:
        uid: SeriesInstanceUID.
        study_uid: StudyInstanceUID.
        info: what MONAI Label's clients expect to be noted: Modality, StudyDate, PatientID and so on.
    """

    uid: str
    study_uid: str
    info: Mapping[str, str]


@dataclass(frozen=True)
class ArchivedSeg:
    """A DICOM SEG of the archive.

    Attributes:
        series: that holds the SEG.
        instance_uid: its SOPInstanceUID.
        image_uid: SeriesInstanceUID of the images that it is about.
        written: date and time as text that sorts.
    """

    series: ArchivedSeries
    instance_uid: str
    image_uid: str
    written: str


class Archive:
    """Client of one DICOMweb server; safe to use from several threads.

    Args:
        url: of the DICOMweb service.
        login: user and password; None: none is needed.
        prefixes: of the services qido, wado and stow, where they have one.
    """

    def __init__(
        self, url: str, login: tuple[str, str] | None = None, prefixes: Mapping[str, str | None] | None = None
    ) -> None:
        self.url = url.rstrip("/")
        session = _TimedSession()
        session.auth = HTTPBasicAuth(*login) if login else None
        names = {f"{service}_url_prefix": prefix for service, prefix in (prefixes or {}).items() if prefix}
        self._client: DICOMwebClient = DICOMwebClientX(url=self.url, session=session, **names)
        self._client.set_http_retry_params(retry=False)
        self._segs: dict[str, tuple[ArchivedSeg, ...]] = {}
        self._lock = threading.Lock()

    def series(self, filters: Mapping[str, Any]) -> list[ArchivedSeries]:
        """The series that fit a QIDO-RS search.

        Raises:
            CapacityError: the archive does not answer, or with an error.
        """
        with _answered():
            found = self._client.search_for_series(search_filters=dict(filters), get_remaining=True)
            return [_series(pydicom.Dataset.from_json(entry)) for entry in found]

    def one_series(self, uid: str) -> ArchivedSeries | None:
        """The series of this UID; None if there is none."""
        return next((one for one in self.series({"SeriesInstanceUID": uid}) if one.uid == uid), None)

    def segmentations(self) -> list[ArchivedSeg]:
        """All SEGs; each is asked about once, as what it says never changes."""
        found: list[ArchivedSeg] = []
        for series in self.series({"Modality": "SEG"}):
            with self._lock:
                known = self._segs.get(series.uid)
            if known is None:
                known = self._asked(series)
                with self._lock:
                    self._segs[series.uid] = known
            found.extend(known)
        return found

    def download_series(self, series: ArchivedSeries, folder: Path) -> None:
        """Bring a series' instances into an empty folder, as they are stored.

        Raises:
            CapacityError: the archive does not answer, or with an error.
        """
        with _answered():
            instances = self._client.iter_series(series.study_uid, series.uid, media_types=AS_STORED)
            for number, instance in enumerate(instances):
                instance.save_as(folder / f"{number:05d}.dcm", write_like_original=False)

    def download_seg(self, seg: ArchivedSeg, path: Path) -> None:
        """Bring one SEG into a file."""
        with _answered():
            instance = self._client.retrieve_instance(
                seg.series.study_uid, seg.series.uid, seg.instance_uid, media_types=AS_STORED
            )
            instance.save_as(path, write_like_original=False)

    def store(self, path: Path) -> str:
        """Put one DICOM file into the archive (STOW-RS); returns its SeriesInstanceUID.

        Raises:
            CapacityError: the archive does not answer, or does not take it.
        """
        dataset = pydicom.dcmread(path)
        with _answered():
            reply = self._client.store_instances([dataset])
        if reply.get("FailedSOPSequence") or not reply.get("ReferencedSOPSequence"):
            raise CapacityError("The DICOMweb server did not take the segmentation; its log says why.", 30)
        return str(dataset.SeriesInstanceUID)

    def _asked(self, series: ArchivedSeries) -> tuple[ArchivedSeg, ...]:
        with _answered():
            metadata = self._client.retrieve_series_metadata(series.study_uid, series.uid)
        segs = [_seg(series, pydicom.Dataset.from_json(entry, _no_bulk_data)) for entry in metadata]
        return tuple(seg for seg in segs if seg.image_uid)


class _TimedSession(requests.Session):
    """A session that does not wait for ever."""

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """As of requests, with a time limit unless one is given."""
        options["timeout"] = options.get("timeout") or (_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S)
        return super().request(*arguments, **options)


@contextmanager
def _answered() -> Iterator[None]:
    """What goes wrong with the archive, in one sentence; its addresses hold patients' numbers.

    Raises:
        CapacityError: it does not answer, or with an error.
    """
    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else "none"
        raise CapacityError(f"The DICOMweb server answered with an error (status {status}).", 30) from error
    except requests.RequestException as error:
        raise CapacityError("The DICOMweb server does not answer; try again later.", 30) from error


def _no_bulk_data(*_: object) -> bytes:
    return b""


_NOTED = ("StudyDate", "StudyTime", "Modality", "RetrieveURL", "PatientID", "StudyInstanceUID")


def _series(entry: pydicom.Dataset) -> ArchivedSeries:
    uid = str(entry.SeriesInstanceUID)
    info = {keyword: _text(entry, keyword) or "UNK" for keyword in _NOTED}
    return ArchivedSeries(uid, str(entry.StudyInstanceUID), {"SeriesInstanceUID": uid, **info})


def _seg(series: ArchivedSeries, entry: pydicom.Dataset) -> ArchivedSeg:
    references = entry.get("ReferencedSeriesSequence") or [pydicom.Dataset()]
    moments = (("InstanceCreationDate", "InstanceCreationTime"), ("ContentDate", "ContentTime"))
    written = next((_text(entry, day) + _text(entry, time) for day, time in moments if _text(entry, day)), "")
    image_uid = str(references[0].get("SeriesInstanceUID") or "")
    return ArchivedSeg(series, _text(entry, "SOPInstanceUID"), image_uid, written)


def _text(entry: pydicom.Dataset, keyword: str) -> str:
    value = entry.get(keyword)
    return "" if value is None else str(value)
