"""What a studies folder holds: images, DICOM folders and labels, as one document and as the files themselves.

The files decide; `datastore_v2.json` adds what cannot be read off them (when, by whom, with which model), in
MONAI Label's own layout, so that its tools read it too. An image's id is its file's name without the
extension; where two files share that, the second one's id is its full name. A folder with a DICOM series
goes by its own name.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lib.errors import InputError
from lib.formats.atomic import write_atomically

logger = logging.getLogger(__name__)

CATALOG_NAME = "datastore_v2.json"
LABELS_FOLDER = "labels"
EXTENSIONS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".png", ".jpg", ".jpeg")
"""What images and labels may be; the longer one first where one ends another."""
_ORDER = (".nii.gz", ".nii", ".nrrd", ".png", ".jpg", ".jpeg", ".seg.nrrd")
_MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True)
class StoredFile:
    """An image or label.

    Attributes:
        ext: what its name has after the id; empty for a DICOM folder.
        info: whatever clients and MONAI Label noted about it.
    """

    ext: str
    info: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As the document holds it."""
        return {"ext": self.ext, "info": dict(self.info)}


@dataclass(frozen=True)
class Study:
    """An image and its labels, by tag."""

    image: StoredFile
    labels: Mapping[str, StoredFile] = field(default_factory=dict)


@dataclass(frozen=True)
class Catalog:
    """All studies of a folder, by id."""

    name: str = "studies"
    description: str = ""
    studies: Mapping[str, Study] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The document, in the layout of MONAI Label."""
        objects = {
            image_id: {
                "image": study.image.plain(),
                "labels": {tag: label.plain() for tag, label in study.labels.items()},
            }
            for image_id, study in self.studies.items()
        }
        return {
            "name": self.name,
            "description": self.description,
            "images_dir": ".",
            "labels_dir": LABELS_FOLDER,
            "objects": objects,
        }

    def with_study(self, image_id: str, study: Study | None) -> "Catalog":
        """A copy with one study set, or taken out."""
        others = {key: value for key, value in self.studies.items() if key != image_id}
        return replace(self, studies=others if study is None else {**self.studies, image_id: study})


def checked_name(name: str, what: str) -> str:
    """A name that can be a file's, as it is.

    Raises:
        InputError: empty, too long, hidden, or with characters that lead elsewhere.
    """
    is_fit = 0 < len(name) <= _MAX_NAME_CHARACTERS and name.isprintable() and not name.startswith(".")
    if not is_fit or "/" in name or "\\" in name:
        raise InputError(
            f"The {what} {name[:40]!r} cannot be used; allowed are 1 to {_MAX_NAME_CHARACTERS} printable "
            "characters, no slash, no dot at the beginning."
        )
    return name


def split_name(name: str) -> tuple[str, str]:
    """A file's name as id and extension; the extension is empty if it is none of an image or label."""
    for extension in EXTENSIONS:
        if name.lower().endswith(extension) and len(name) > len(extension):
            return name[: -len(extension)], name[-len(extension) :]
    return name, ""


def load_catalog(folder: Path) -> Catalog:
    """The document of a folder; an unreadable one, left by a crash, is put aside and begun anew."""
    path = folder / CATALOG_NAME
    try:
        return _parsed(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Catalog()
    except (ValueError, TypeError, KeyError, AttributeError):
        with suppress(OSError):  # a folder that cannot be written
            path.replace(path.with_name(f"{CATALOG_NAME}.corrupt-{time.time_ns()}"))
        logger.warning("the catalogue was unreadable; it is kept as .corrupt-* and made again from the files")
        return Catalog()


def save_catalog(folder: Path, catalog: Catalog) -> None:
    """Write the document, whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    text = json.dumps(catalog.plain(), indent=2, default=str)
    write_atomically(folder / CATALOG_NAME, text.encode())


def reconcile(catalog: Catalog, folder: Path, is_dicom_folder: Callable[[Path], bool]) -> Catalog:
    """The catalog as the files are now: what is gone goes, what is new comes.

    Args:
        catalog: as last known; its studies keep their ids.
        folder: the studies folder.
        is_dicom_folder: whether a folder holds a DICOM series.
    """
    images = _image_names(folder, is_dicom_folder)
    kept = {key: study for key, study in catalog.studies.items() if key + study.image.ext in images}
    known = {key + study.image.ext for key, study in kept.items()}
    studies = dict(kept)
    for name in sorted(set(images) - known, key=_precedence):
        image_id, extension = split_name(name) if not (folder / name).is_dir() else (name, "")
        if image_id in studies:
            image_id, extension = name, ""
        studies[image_id] = Study(StoredFile(extension, _new_info(name)))
    labels = _label_names(folder)
    return replace(
        catalog,
        studies={
            key: replace(study, labels=_labels_of(key, study, labels)) for key, study in studies.items()
        },
    )


def label_folders(folder: Path) -> list[Path]:
    """One folder for each tag."""
    labels = folder / LABELS_FOLDER
    return sorted(path for path in labels.iterdir() if path.is_dir()) if labels.is_dir() else []


def _parsed(document: Any) -> Catalog:
    studies = {}
    for image_id, entry in document["objects"].items():
        try:
            checked_name(image_id, "image id")
        except InputError:
            logger.warning("the catalogue held an image id that leads elsewhere; it is left out")
            continue
        labels = {tag: _stored(label) for tag, label in entry.get("labels", {}).items()}
        studies[image_id] = Study(_stored(entry["image"]), labels)
    return Catalog(str(document.get("name", "studies")), str(document.get("description", "")), studies)


def _stored(entry: Any) -> StoredFile:
    if not isinstance(entry["ext"], str) or not isinstance(entry.get("info", {}), dict):
        raise TypeError("an entry of the catalogue is not as it should be")
    return StoredFile(entry["ext"], entry.get("info", {}))


def _image_names(folder: Path, is_dicom_folder: Callable[[Path], bool]) -> set[str]:
    return {path.name for path in _visible(folder) if path.is_file() or is_dicom_folder(path)}


def _visible(folder: Path) -> Iterator[Path]:
    """Entries that can be images: files with a known extension, and folders other than that of the labels."""
    for path in folder.iterdir():
        is_candidate = path.name != LABELS_FOLDER if path.is_dir() else split_name(path.name)[1] != ""
        if is_candidate and not path.name.startswith("."):
            yield path


def _label_names(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Tag to image id to the label files there."""
    found: dict[str, dict[str, list[Path]]] = {}
    for tag_folder in label_folders(folder):
        by_id = found.setdefault(tag_folder.name, {})
        for path in tag_folder.iterdir():
            image_id, extension = split_name(path.name)
            if extension and not path.name.startswith("."):
                by_id.setdefault(image_id, []).append(path)
    return found


def _labels_of(image_id: str, study: Study, found: dict[str, dict[str, list[Path]]]) -> dict[str, StoredFile]:
    labels = {}
    for tag, by_id in found.items():
        files = by_id.get(image_id, [])
        known = study.labels.get(tag)
        if known is not None and any(path.name == image_id + known.ext for path in files):
            labels[tag] = known
        elif files:
            newest = max(files, key=lambda path: path.stat().st_mtime_ns)
            labels[tag] = StoredFile(newest.name[len(image_id) :], _new_info(newest.name))
    return labels


def _precedence(name: str) -> tuple[int, str]:
    extension = split_name(name)[1].lower()
    return (_ORDER.index(extension) if extension in _ORDER else -1, name)


def _new_info(name: str) -> dict[str, Any]:
    return {"ts": int(time.time()), "name": name}
