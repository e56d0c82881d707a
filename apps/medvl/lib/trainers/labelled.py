"""The labelled images of a datastore as cases to train on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pydicom
from monailabel.interfaces.datastore import Datastore

from lib.train.adapt import KIND
from lib.train.dataset import Case
from lib.train.patients import PatientCase, patient_of_name

FINAL = "final"
_VALUE_KEYS = ("idx", "id", "labelID", "label", "value")
"""Where clients put a label's value."""


@runtime_checkable
class HasSeries(Protocol):
    """A datastore that knows which images are DICOM series."""

    def series_folder(self, image_id: str) -> Path | None:
        """The folder of a series; None for an image of another kind."""
        ...


@dataclass(frozen=True)
class LabelledCases:
    """What annotators have drawn.

    Attributes:
        cases: one for each image with a final label.
        names: that annotators gave, in the order of the images; without those made up here.
    """

    cases: tuple[PatientCase, ...]
    names: tuple[str, ...]


def labelled_cases(datastore: Datastore, label_tag: str = FINAL) -> LabelledCases:
    """All images of a datastore with a label, in the order of their ids.

    A case is named by what its files are now, so that nothing made of an earlier label is taken for it.

    Args:
        datastore: any of MONAI Label's.
        label_tag: of the labels.
    """
    cases: list[PatientCase] = []
    names: dict[str, None] = {}
    for image_id in sorted(datastore.get_labeled_images()):
        image, reference = datastore.get_image_uri(image_id), datastore.get_label_uri(image_id, label_tag)
        if not image or not reference:
            continue
        said = names_in(datastore.get_label_info(image_id, label_tag))
        names |= dict.fromkeys(said.values())
        case = Case(
            name=_version_name(image_id, Path(image), Path(reference)),
            split="train",
            kind=KIND,
            image=Path(image),
            reference=Path(reference),
            labels=said,
        )
        cases.append(PatientCase(_patient(datastore, image_id), case))
    return LabelledCases(tuple(cases), tuple(names))


def names_in(info: Mapping[str, Any]) -> dict[int, str]:
    """Label value to name, as the client said when it saved, or as the model said that drew the label."""
    found: dict[int, str] = {}
    entries = info.get("label_info")
    for place, entry in enumerate(entries if isinstance(entries, list) else [], start=1):
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
            value = next((entry[key] for key in _VALUE_KEYS if isinstance(entry.get(key), int)), place)
            found[int(value)] = entry["name"]
    params = info.get("params")
    drawn = params.get("label_names") if isinstance(params, Mapping) else None
    if not found and isinstance(drawn, Mapping):
        found = {value: str(name) for name, value in drawn.items() if isinstance(value, int)}
    return {value: name for value, name in found.items() if value > 0 and name.strip()}


def _version_name(image_id: str, *files: Path) -> str:
    versions = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    digest = hashlib.sha256(json.dumps([image_id, versions]).encode()).hexdigest()
    return f"case-{digest[:20]}"


def _patient(datastore: Datastore, image_id: str) -> str:
    """By the PatientID of a DICOM series, else by the image's name; hashed, as it goes into a split."""
    folder = datastore.series_folder(image_id) if isinstance(datastore, HasSeries) else None
    said = _patient_id(folder) if folder is not None else ""
    who = f"dicom:{said}" if said else f"name:{patient_of_name(image_id)}"
    return hashlib.sha256(who.encode()).hexdigest()


def _patient_id(folder: Path) -> str:
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"])
        except (pydicom.errors.InvalidDicomError, OSError):
            continue
        return str(header.get("PatientID", "") or "").strip()
    return ""
