"""What a data set is made of: outlined objects of a manifest's images, with source, licence and patient."""

import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.errors import InputError, NotFoundError
from lib.shapes import BinaryMask
from lib.train.dataset import MANIFEST, Case, LabelledScan, load_manifest, read_case
from lib.train.patients import patient_of_name
from lib.train.reasoning.knowledge import Knowledge
from lib.train.reasoning.measuring import Subject, patient_middle_mm
from lib.vocabulary import Side, StructureKind, load_vocabulary, target_of_label
from lib.volume import Modality, Volume

TRAIN = "train"
_SPINE = ("vertebrae", "spinal_cord", "sacrum")
_VESSELS = "vessels"


@dataclass(frozen=True)
class SourceImage:
    """An image with its mask, and what the manifest says of both.

    Attributes:
        id: data folder and case.
        data: name of the data folder.
        case: image, mask, labels, split and kind.
        image: path in the data folder.
        mask: path in the data folder.
        modality: as the manifest has it; "" where it has none.
        condition: as the manifest has it; "" where it has none.
        source: who published it.
        licence: of image and mask.
        patient: the same for all images of a patient.
        leak: why it may not be trained on, though it is in the split to train on; "" if it may.
    """

    id: str
    data: str
    case: Case
    image: str
    mask: str
    modality: str
    condition: str
    source: str
    licence: str
    patient: str
    leak: str = ""


@dataclass(frozen=True, eq=False)
class OutlinedObject:
    """One object of an image.

    Attributes:
        value: in the mask's file; None: everything that is bright.
        mask: shape (I, J, K).
        subject: what is known of it.
        file: the mask's, where it is another than the image's.
    """

    value: int | None
    mask: BinaryMask
    subject: Subject
    file: str = ""


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """An image that has been read.

    Attributes:
        volume: the scan or picture.
        objects: those that are outlined.
        middle_x_mm: of the patient, RAS+; None where it is not known.
    """

    volume: Volume
    objects: tuple[OutlinedObject, ...] = field(default_factory=tuple)
    middle_x_mm: float | None = None


def load_sources(folder: Path, splits: Collection[str]) -> list[SourceImage]:
    """Images of a manifest.

    Args:
        folder: with a `manifest.json`.
        splits: those that are wanted.

    Raises:
        NotFoundError: no manifest, or none of the splits in it.
        InputError: a manifest that is no list of rows.
    """
    cases = load_manifest(folder)
    rows: list[dict[str, Any]] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    held_out = _held_out(rows)
    name = folder.resolve().name
    images = [
        _source(name, case, row, held_out)
        for case, row in zip(cases, rows, strict=True)
        if case.split in splits
    ]
    if not images:
        there = ", ".join(sorted({case.split for case in cases}))
        raise NotFoundError(
            f"{name} holds no case of {', '.join(sorted(splits))}; it has the splits {there}."
        )
    return images


def open_image(image: SourceImage, knowledge: Knowledge) -> OpenedImage:
    """Reads an image and says what its labels mean.

    Raises:
        VolumeError: a file that cannot be read.
        InputError: no modality, neither in the manifest nor by the values.
    """
    scan = read_case(image.case)
    modality = _modality(image, scan, knowledge)
    spine = [value for value, name in scan.objects.items() if name.lower().startswith(_SPINE)]
    is_bright = image.case.is_picture and len(image.case.labels) <= 1
    objects = tuple(
        OutlinedObject(
            None if is_bright else value, scan.mask(value), _subject(image, name, modality, knowledge)
        )
        for value, name in scan.objects.items()
    )
    middle = None
    if not image.case.is_picture and knowledge.is_oriented(image.source):
        middle = patient_middle_mm(scan.volume, np.isin(scan.label_map, spine) if spine else None)
    return OpenedImage(scan.volume, objects, middle)


def condition_of(said: str, knowledge: Knowledge) -> tuple[str | None, bool]:
    """A manifest's condition, None where it knows none; and whether it is that nothing is wrong."""
    plain = said.strip().lower()
    if plain in knowledge.unknown:
        return None, False
    return said.strip(), plain in knowledge.normal


def _source(data: str, case: Case, row: dict[str, Any], held_out: dict[str, set[str]]) -> SourceImage:
    image, mask = str(row.get("image") or ""), str(row.get("label") or row.get("mask") or "")
    patient = str(row.get("patient") or patient_of_name(case.name))
    leak = ""
    if case.split == TRAIN and image in held_out["image"]:
        leak = "the image is in another split too"
    elif case.split == TRAIN and row.get("patient") and str(row["patient"]) in held_out["patient"]:
        leak = "the patient is in another split too"
    return SourceImage(
        id=f"{data}/{case.name}",
        data=data,
        case=case,
        image=image,
        mask=mask,
        modality=str(row.get("modality") or ""),
        condition=str(row.get("condition") or ""),
        source=str(row.get("source") or "not stated"),
        licence=str(row.get("licence") or row.get("license") or "not stated"),
        patient=patient,
        leak=leak,
    )


def _held_out(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Images and patients of all splits that are not trained on."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.get("split") != TRAIN:
            for key in ("image", "patient"):
                if row.get(key):
                    found[key].add(str(row[key]))
    return found


def _modality(image: SourceImage, scan: LabelledScan, knowledge: Knowledge) -> str:
    if image.modality:
        return image.modality.lower()
    if scan.volume.modality is Modality.CT:
        return "ct"
    found = knowledge.modality_by_source(image.source)
    if found is None:
        raise InputError("The manifest names no modality, and the values do not tell it; add it to the row.")
    return found


def _subject(image: SourceImage, label: str, modality: str, knowledge: Knowledge) -> Subject:
    condition, is_normal = condition_of(image.condition, knowledge)
    meaning, is_oriented = knowledge.meaning(label, image.source), knowledge.is_oriented(image.source)
    if meaning is not None:
        own = condition or meaning.condition
        return Subject(
            modality,
            meaning.target,
            own,
            is_normal,
            is_lesion=True,
            within=meaning.within,
            is_oriented=is_oriented,
        )
    target, side = target_words(label)
    is_lesion = _is_lesion(label)
    return Subject(modality, target, condition, is_normal, is_lesion, side=side, is_oriented=is_oriented)


def target_words(label: str) -> tuple[str, Side | None]:
    """How a label is called, and its side: `kidney_left` is the kidney, left."""
    words = label.replace("_", " ").replace("vertebrae ", "vertebra ").split()
    said = {word.lower() for word in words} & set(Side)
    kept = [word for word in words if word.lower() not in set(Side)]
    if len(said) != 1 or not kept:
        return " ".join(words), None
    return " ".join(kept), Side(said.pop())


def _is_lesion(label: str) -> bool:
    """Whether it has sizes to compare with; what is not known is taken for one."""
    if label.lower().endswith(_VESSELS):
        return False
    target = target_of_label(label, load_vocabulary())
    return target is None or all(part.kind is not StructureKind.ORGAN for part in target.structures)
