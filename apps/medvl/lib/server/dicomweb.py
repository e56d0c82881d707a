"""Studies of a DICOMweb server as MONAI Label's datastore.

Series are copied into a studies folder when they are first needed, and read there as any DICOM folder is:
with the geometry of each slice, gantry tilt included. Final labels are DICOM SEGs of the archive; other
labels, and what is noted about images, stay in the folder.
"""

import logging
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.errors import CapacityError, InputError
from lib.formats import write_mask
from lib.formats.dicom_seg import SegHeader, write_dicom_seg
from lib.formats.dicom_seg_codes import load_structure_codes
from lib.formats.dicom_seg_read import read_dicom_seg
from lib.formats.dicom_series import read_series
from lib.server.archive import Archive, ArchivedSeg, ArchivedSeries
from lib.server.datastore import FINAL, StudiesDatastore, label_tag_text
from lib.server.label_files import colours_of, label_info_of, read_label_file

logger = logging.getLogger(__name__)

_UID = re.compile(r"[0-9.]{1,64}")
_INCOMING = ".incoming-"


@dataclass(frozen=True)
class _Listing:
    """What the archive held when it was last asked, and until when that is good enough."""

    series: Mapping[str, ArchivedSeries] = field(default_factory=dict)
    labelled: frozenset[str] = frozenset()
    until_s: float = 0.0


class DicomWebStudies(StudiesDatastore):
    """The images of a DICOMweb server by their SeriesInstanceUID, and their labels.

    Args:
        archive: the server.
        folder: for copies of its series; made if it is missing.
        filters: which series are images, as a QIDO-RS search, such as {"Modality": "CT"}.
        version: of this program, noted in the SEGs that it writes.
        listing_s: seconds for which a list of the archive's series holds.
    """

    def __init__(
        self,
        archive: Archive,
        folder: Path,
        filters: Mapping[str, Any],
        version: str,
        listing_s: float = 10.0,
    ) -> None:
        super().__init__(folder)
        self._archive = archive
        self._filters = dict(filters)
        self._version = version
        self._listing_s = listing_s
        self._listing = _Listing()
        self._fetching = threading.Lock()
        self._codes = load_structure_codes()
        for leftover in self.folder.glob(f"{_INCOMING}*"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)

    def name(self) -> str:
        """The archive's address."""
        return self._archive.url

    def list_images(self) -> list[str]:
        """SeriesInstanceUIDs of all images.

        Raises:
            CapacityError: the archive does not answer.
        """
        return list(self._listed().series)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Images with a label, by default with a SEG in the archive."""
        stored = super().get_labeled_images(label_tag, labels)
        if (label_tag or FINAL) != FINAL:
            return stored
        listing = self._listed()
        labelled = listing.labelled | set(stored)
        return [uid for uid in listing.series if uid in labelled]

    def get_unlabeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """Images without a label, by default without a SEG in the archive."""
        labelled = set(self.get_labeled_images(label_tag, labels))
        return [uid for uid in self._listed().series if uid not in labelled]

    def get_image_uri(self, image_id: str) -> str:
        """The path of a series as one file; empty if the archive has none of this UID.

        Raises:
            CapacityError: the archive does not answer.
            VolumeError: it cannot be read as a scan.
        """
        return super().get_image_uri(image_id) if self._fetched(image_id) else ""

    def series_folder(self, image_id: str) -> Path | None:
        """The folder of a series' DICOM files; None if the archive has none of this UID."""
        return super().series_folder(image_id) if self._fetched(image_id) else None

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What the archive says and what is noted about an image; empty if there is none."""
        series = self._listed().series.get(image_id) or self._known(image_id)
        return {**(series.info if series else {}), **super().get_image_info(image_id)}

    def update_image_info(self, image_id: str, info: Mapping[str, Any]) -> None:
        """Add to what is noted about an image."""
        self._fetched(image_id)
        super().update_image_info(image_id, info)

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """The path of a label; of a final one, that of the archive's newest SEG, as one file.

        Args:
            label_id: the image's id.
            label_tag: final, or a tag of labels that stay in the folder.
        """
        if label_tag_text(label_tag) == FINAL:
            self._fetch_newest_seg(label_id)
        return super().get_label_uri(label_id, label_tag)

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Tag to label id; the label's id is the image's."""
        labels = super().get_labels_by_image_id(image_id)
        is_final = any(seg.image_uid == image_id for seg in self._archive.segmentations())
        return labels | ({FINAL: image_id} if is_final else {})

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: Mapping[str, Any] | None
    ) -> str:
        """Keep a label; a final one becomes a SEG of the archive as well.

        Raises:
            InputError: an empty final label.
            VolumeError: a label on another grid than the series.
            CapacityError: the archive did not take it; the label is kept in the folder.
        """
        self._fetched(image_id)
        folder = super().series_folder(image_id)
        if label_tag_text(label_tag) != FINAL or folder is None:
            return super().save_label(image_id, label_filename, label_tag, label_info)
        info = dict(label_info or {})
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "label.dcm"
            series = read_series(folder)
            mask = read_label_file(Path(label_filename), series, info)
            codes = colours_of(info, self._codes)
            write_dicom_seg(mask, series, path, codes, SegHeader(None, self._version, "MedVL label"))
            saved = super().save_label(image_id, label_filename, label_tag, info)
            self.update_label_info(image_id, FINAL, {"SeriesInstanceUID": self._archived(path)})
        return saved

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label of the folder.

        Raises:
            InputError: a final label, which only the archive's own tools remove.
        """
        if label_tag_text(label_tag) == FINAL:
            raise InputError("A final label is a DICOM SEG of the archive; remove it there.")
        super().remove_label(label_id, label_tag)

    def add_image(self, *_: object) -> str:
        """Refused: images come from the archive.

        Raises:
            InputError: always.
        """
        raise InputError(
            "Images are added to the DICOMweb server itself (STOW-RS); for a while, upload it as a session."
        )

    def remove_image(self, *_: object) -> None:
        """Refused: images are the archive's.

        Raises:
            InputError: always.
        """
        raise InputError("Images are removed on the DICOMweb server itself.")

    def status(self) -> dict[str, Any]:
        """How many images there are, and how many have a label; none while the archive does not answer."""
        try:
            total, completed = len(self.list_images()), len(self.get_labeled_images())
        except CapacityError as error:
            logger.warning("the studies cannot be counted: %s", error)
            total, completed = 0, 0
        return super().status() | {"total": total, "completed": completed}

    def json(self) -> dict[str, Any]:
        """The whole catalogue, series that have not been copied included."""
        document = super().json()
        for uid, series in self._listed().series.items():
            document["objects"].setdefault(
                uid, {"image": {"ext": "", "info": dict(series.info)}, "labels": {}}
            )
        return document

    def _listed(self) -> _Listing:
        """Images, and which have a SEG; asked for anew when the last list is too old."""
        listing = self._listing
        if listing.until_s < time.monotonic():
            series = {one.uid: one for one in self._archive.series(self._filters)}
            labelled = frozenset(seg.image_uid for seg in self._archive.segmentations())
            listing = _Listing(series, labelled, time.monotonic() + self._listing_s)
            self._listing = listing
        return listing

    def _known(self, image_id: str) -> ArchivedSeries | None:
        """A series of the archive, whether or not it is one of the images that are offered."""
        if _UID.fullmatch(image_id) is None:
            return None
        return self._listing.series.get(image_id) or self._archive.one_series(image_id)

    def _fetched(self, image_id: str) -> bool:
        """Whether the folder holds the series, after it has been copied if need be."""
        if _UID.fullmatch(image_id) is None or image_id.startswith("."):
            return False
        target = self.folder / image_id
        with self._fetching:
            if target.is_dir():
                return True
            series = self._known(image_id)
            if series is None:
                return False
            incoming = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self.folder))
            try:
                self._archive.download_series(series, incoming)
                incoming.rename(target)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
        self.refresh()
        return True

    def _newest_seg(self, image_id: str) -> ArchivedSeg | None:
        segs = [seg for seg in self._archive.segmentations() if seg.image_uid == image_id]
        return max(segs, key=lambda seg: seg.written, default=None)

    def _fetch_newest_seg(self, image_id: str) -> None:
        """Copy the archive's newest SEG of an image, unless the folder holds it or a label not stored yet."""
        held = super().get_label_info(image_id, FINAL)
        if held and "SeriesInstanceUID" not in held:
            return
        seg = self._newest_seg(image_id)
        folder = self.series_folder(image_id)
        if seg is None or folder is None or held.get("SeriesInstanceUID") == seg.series.uid:
            return
        with tempfile.TemporaryDirectory() as temporary:
            path, label = Path(temporary) / "label.dcm", Path(temporary) / "label.nii.gz"
            self._archive.download_seg(seg, path)
            mask = read_dicom_seg(path, read_series(folder))
            write_mask(mask, label)
            info = {**seg.series.info, "label_info": label_info_of(mask)}
            super().save_label(image_id, str(label), FINAL, info)

    def _archived(self, path: Path) -> str:
        try:
            return self._archive.store(path)
        except CapacityError as error:
            raise CapacityError(f"The label is kept here, but not in the archive yet: {error}", 30) from error
