"""A folder of studies as MONAI Label's datastore, whose labels survive a crash at any moment.

Labels and the catalogue are written to a temporary file, synchronised, and put in place in one step: first
the label, then the catalogue that speaks of it. A reader sees the old state or the new one.
"""

import logging
import os
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException

from lib.errors import InputError, NotFoundError
from lib.formats.atomic import write_atomically
from lib.server.catalog import (
    CATALOG_NAME,
    EXTENSIONS,
    LABELS_FOLDER,
    Catalog,
    StoredFile,
    Study,
    checked_name,
    split_name,
)
from lib.server.conversion import SeriesConverter
from lib.server.store import CatalogStore

logger = logging.getLogger(__name__)

FINAL = DefaultLabelTag.FINAL.value
CONVERTED_FOLDER = ".medvl"
"""Holds DICOM folders as one file each, for clients that download an image."""


class StudiesDatastore(Datastore):  # type: ignore[misc] # MONAI Label is untyped
    """Images, DICOM folders and labels in one folder.

    Args:
        folder: made if it is missing.

    Raises:
        OSError: the folder cannot be read, or made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self._store = CatalogStore(self.folder)
        place = self.folder if self._store.is_writable else Path(tempfile.gettempdir())
        self._converter = SeriesConverter(place / CONVERTED_FOLDER)

    def name(self) -> str:
        """The folder's name for people."""
        return self._store.current().name

    def set_name(self, name: str) -> None:
        """Change the name for people."""
        self._store.change(lambda catalog: replace(catalog, name=name))

    def description(self) -> str:
        """What people wrote about the folder."""
        return self._store.current().description

    def set_description(self, description: str) -> None:
        """Change what people wrote about the folder."""
        self._store.change(lambda catalog: replace(catalog, description=description))

    def list_images(self) -> list[str]:
        """All image ids."""
        return list(self._store.current().studies)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:  # noqa: ARG002
        """Ids of images with a label, by default a final one."""
        tag = label_tag or FINAL
        return [image_id for image_id, study in self._store.current().studies.items() if tag in study.labels]

    def get_unlabeled_images(
        self,
        label_tag: str | None = None,
        labels: list[str] | None = None,  # noqa: ARG002
    ) -> list[str]:
        """Ids of images without a label, by default without a final one."""
        tag = label_tag or FINAL
        return [
            image_id for image_id, study in self._store.current().studies.items() if tag not in study.labels
        ]

    def get_image(self, image_id: str, params: Any = None) -> BytesIO | None:  # noqa: ARG002
        """The image's file as bytes; None if there is no such image."""
        uri = self.get_image_uri(image_id)
        return BytesIO(Path(uri).read_bytes()) if uri else None

    def get_image_uri(self, image_id: str) -> str:
        """The path of the image as one file, a DICOM folder being converted once; empty if there is none.

        Raises:
            VolumeError: a DICOM folder that cannot be read as a scan.
        """
        study = self._store.current().studies.get(image_id)
        if study is None:
            return ""
        path = self.folder / f"{image_id}{study.image.ext}"
        return str(self._converter.converted(path) if path.is_dir() else path)

    def series_folder(self, image_id: str) -> Path | None:
        """The folder of an image that is a DICOM series; None if it is a file, or there is none."""
        study = self._store.current().studies.get(image_id)
        path = self.folder / image_id
        return path if study is not None and not study.image.ext and path.is_dir() else None

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is noted about an image; empty if there is none."""
        study = self._store.current().studies.get(image_id)
        if study is None:
            return {}
        path = self.folder / f"{image_id}{study.image.ext}"
        return dict(study.image.info) | ({} if path.is_dir() else {"path": str(path)})

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> BytesIO | None:  # noqa: ARG002
        """The label's file as bytes; None if there is no such label."""
        uri = self.get_label_uri(label_id, label_tag)
        return BytesIO(Path(uri).read_bytes()) if uri else None

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """The path of a label; empty if there is none."""
        label = self._label(label_id, label_tag_text(label_tag))
        return str(self._tag_folder(label_tag_text(label_tag)) / f"{label_id}{label.ext}") if label else ""

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What is noted about a label; empty if there is none."""
        label = self._label(label_id, label_tag_text(label_tag))
        return dict(label.info) if label else {}

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Tag to label id; the label's id is the image's."""
        study = self._store.current().studies.get(image_id)
        return dict.fromkeys(study.labels, image_id) if study else {}

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """The label id of an image under a tag; empty if there is none."""
        return self.get_labels_by_image_id(image_id).get(label_tag_text(tag), "")

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Paths of images with a final label and of the label, for training.

        Args:
            full_path: otherwise relative to the folder.
        """
        pairs = [
            {"image": self.get_image_uri(image_id), "label": self.get_label_uri(image_id, FINAL)}
            for image_id in self.get_labeled_images()
        ]
        if full_path:
            return pairs
        return [
            {key: str(Path(path).relative_to(self.folder)) for key, path in pair.items()} for pair in pairs
        ]

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """A temporary ZIP of the images with a final label, the labels and the catalogue.

        Raises:
            NotFoundError: no image has a final label.
        """
        pairs = self.datalist()[: limit_cases or None]
        if not pairs:
            raise NotFoundError("There is nothing to download: no image has a final label yet.")
        descriptor, name = tempfile.mkstemp(suffix=".zip")
        with os.fdopen(descriptor, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for pair in pairs:
                for key, path in pair.items():
                    archive.write(path, arcname=f"{key}/{Path(path).name}")
            archive.write(self.folder / CATALOG_NAME, arcname="metadata.json")
        return name

    def add_image(self, image_id: str, image_filename: str, image_info: Mapping[str, Any] | None) -> str:
        """Take in an image, or replace it.

        Args:
            image_id: its id; empty: the file's name without its extension.
            image_filename: path of the file to copy.
            image_info: what to note about it.

        Raises:
            InputError: an id that cannot be used, or a file that is no image by its name.
        """
        stem, extension = split_name(Path(image_filename).name)
        if not extension:
            raise InputError(f"An image's file name must end with one of {', '.join(EXTENSIONS)}.")
        image_id = checked_name(image_id or stem, "image id")
        name = f"{image_id}{extension}"
        content = Path(image_filename).read_bytes()
        replaced: list[Path] = []

        def change(catalog: Catalog) -> Catalog:
            before = catalog.studies.get(image_id)
            path = self.folder / f"{image_id}{before.image.ext if before else extension}"
            if path.is_dir():
                raise InputError(f"The image id {image_id!r} is that of a folder; choose another one.")
            replaced.extend([path] if path.name != name else [])
            write_atomically(self.folder / name, content)
            study = Study(StoredFile(extension, _noted(image_info, name)), before.labels if before else {})
            return catalog.with_study(image_id, study)

        self._store.change(change, outdated=lambda: replaced)
        return image_id

    def remove_image(self, image_id: str) -> None:
        """Remove an image and its labels.

        Raises:
            ImageNotFoundException: there is no such image.
            InputError: it is a DICOM folder, which only the operator removes.
        """
        study = _study(self._store.current(), image_id)
        path = self.folder / f"{image_id}{study.image.ext}"
        if path.is_dir():
            raise InputError(
                f"The image {image_id!r} is a DICOM folder; its operator removes it on the server."
            )
        labels = [self._tag_folder(tag) / f"{image_id}{label.ext}" for tag, label in study.labels.items()]
        for file in (path, *labels):
            file.unlink(missing_ok=True)
        self.refresh()

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: Mapping[str, Any] | None
    ) -> str:
        """Keep a label of an image under a tag, in place of an earlier one; on disk when this returns.

        Raises:
            ImageNotFoundException: there is no such image.
            InputError: a tag that cannot be used, or a file that is no label by its name.
        """
        _study(self._store.current(), image_id)
        tag = checked_name(label_tag_text(label_tag), "label tag")
        extension = split_name(Path(label_filename).name)[1]
        if not extension:
            raise InputError(f"A label's file name must end with one of {', '.join(EXTENSIONS)}.")
        name = f"{image_id}{extension}"
        content = Path(label_filename).read_bytes()

        def change(catalog: Catalog) -> Catalog:
            folder = self._tag_folder(tag)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / name, content)
            study = _study(catalog, image_id)
            label = StoredFile(extension, _noted(label_info, name))
            return catalog.with_study(image_id, replace(study, labels={**study.labels, tag: label}))

        self._store.change(change, outdated=lambda: self._other_labels(image_id, tag, name))
        return image_id

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label.

        Raises:
            LabelNotFoundException: there is no such label.
        """
        uri = self.get_label_uri(label_id, label_tag)
        if not uri:
            raise LabelNotFoundException(_no_label(label_id, label_tag_text(label_tag)))
        Path(uri).unlink(missing_ok=True)
        self.refresh()

    def update_image_info(self, image_id: str, info: Mapping[str, Any]) -> None:
        """Add to what is noted about an image.

        Raises:
            ImageNotFoundException: there is no such image.
        """

        def change(catalog: Catalog) -> Catalog:
            study = _study(catalog, image_id)
            image = replace(study.image, info={**study.image.info, **info})
            return catalog.with_study(image_id, replace(study, image=image))

        self._store.change(change)

    def update_label_info(self, label_id: str, label_tag: str, info: Mapping[str, Any]) -> None:
        """Add to what is noted about a label.

        Raises:
            LabelNotFoundException: there is no such label.
        """
        tag = label_tag_text(label_tag)

        def change(catalog: Catalog) -> Catalog:
            study = _study(catalog, label_id)
            if tag not in study.labels:
                raise LabelNotFoundException(_no_label(label_id, tag))
            label = replace(study.labels[tag], info={**study.labels[tag].info, **info})
            return catalog.with_study(label_id, replace(study, labels={**study.labels, tag: label}))

        self._store.change(change)

    def status(self) -> dict[str, Any]:
        """How many images there are, and how many have a label."""
        studies = self._store.current().studies.values()
        tags = sorted({tag for study in studies for tag in study.labels})
        return {
            "total": len(studies),
            "completed": sum(FINAL in study.labels for study in studies),
            "label_tags": {tag: sum(tag in study.labels for study in studies) for tag in tags},
        }

    def json(self) -> dict[str, Any]:
        """The whole catalogue."""
        return self._store.current().plain()

    def refresh(self) -> None:
        """Look at the files again."""
        self._store.refresh()

    def _label(self, image_id: str, tag: str) -> StoredFile | None:
        study = self._store.current().studies.get(image_id)
        return study.labels.get(tag) if study else None

    def _tag_folder(self, tag: str) -> Path:
        return self.folder / LABELS_FOLDER / tag

    def _other_labels(self, image_id: str, tag: str, name: str) -> list[Path]:
        candidates = (self._tag_folder(tag) / f"{image_id}{extension}" for extension in EXTENSIONS)
        return [path for path in candidates if path.name != name and path.is_file()]


def label_tag_text(tag: str | DefaultLabelTag) -> str:
    """A tag's text; MONAI Label passes its own as an enumeration."""
    return str(tag.value) if isinstance(tag, DefaultLabelTag) else tag


def _noted(info: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    return dict(info or {}) | {"ts": int(time.time()), "name": name}


def _study(catalog: Catalog, image_id: str) -> Study:
    study = catalog.studies.get(image_id)
    if study is None:
        raise ImageNotFoundException(
            f"There is no image {image_id[:40]!r}; GET /datastore/?output=all lists them."
        )
    return study


def _no_label(label_id: str, tag: str) -> str:
    return f"There is no label of image {label_id[:40]!r} under the tag {tag[:40]!r}."
