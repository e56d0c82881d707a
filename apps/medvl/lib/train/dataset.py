"""Labelled cases of a folder with a `manifest.json`, and one of them in memory.

A row names an `image` and a `label` (volumes) or `mask` (pictures) file, relative to the folder. `split`,
`kind`, `modality`, `labels`, `target` and `case` are used where they are there; other keys are left
alone.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lib.errors import InputError, NotFoundError, VolumeError
from lib.formats import read_mask, read_volume
from lib.shapes import BinaryMask
from lib.train.label_names import name_of, parse_label_names
from lib.volume import Volume

MANIFEST = "manifest.json"
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
PICTURE_THRESHOLD = 127
"""Grey values above it are foreground, so that the noise of a JPEG mask is not."""


@dataclass(frozen=True)
class Case:
    """One row of a manifest.

    Attributes:
        name: the row's `case`, else the image's name without suffix.
        split: train, val, or whatever the manifest has.
        kind: who drew the reference (expert, assisted, silver), or the modality of a picture.
        image: file, or folder of DICOM slices.
        reference: the label or mask file.
        labels: value to name, as far as the manifest says.

    Either file is None where the row does not name it.
    """

    name: str
    split: str
    kind: str
    image: Path | None
    reference: Path | None
    labels: dict[int, str] = field(default_factory=dict)

    @property
    def is_picture(self) -> bool:
        """True for a 2D picture, whose pixel size in millimetres is unknown."""
        return _is_picture(self.image)


@dataclass(frozen=True, eq=False)
class LabelledScan:
    """A scan or picture with its reference.

    Attributes:
        volume: what the model sees.
        label_map: integers on the scan's grid, shape (I, J, K); 0 is background or unknown.
        objects: value to name, of the values that are present.
    """

    volume: Volume
    label_map: np.ndarray
    objects: dict[int, str]

    def mask(self, value: int) -> BinaryMask:
        """The voxels of one object."""
        return self.label_map == value


def load_manifest(folder: Path) -> list[Case]:
    """All cases of a data folder, in the manifest's order.

    Raises:
        NotFoundError: no manifest there.
        InputError: a manifest that is not a list of rows.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise NotFoundError(
            f"No {MANIFEST} in {folder.name or folder}{_hint(folder)}; --data takes a folder with one."
        )
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{MANIFEST} is not valid JSON: {error}.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{MANIFEST} must be a list of mappings, one a case, with image, label and split.")
    return _with_unique_names([_case(row, folder) for row in rows])


def select_cases(cases: Collection[Case], split: str, names: Collection[str] = ()) -> list[Case]:
    """The cases of a split, or those of them that are named.

    Raises:
        NotFoundError: no such split or case; says which there are.
    """
    splits = Counter(case.split for case in cases)
    if split not in splits:
        raise NotFoundError(f"No split '{split}' in the manifest; it has {_listed(splits)}.")
    there = [case for case in cases if case.split == split]
    unknown = sorted(set(names) - {case.name for case in there})
    if unknown:
        raise NotFoundError(
            f"No case {_listed(unknown)} in split '{split}'; it has {_listed([case.name for case in there])}."
        )
    return [case for case in there if not names or case.name in names]


def read_case(case: Case) -> LabelledScan:
    """Reads image and reference.

    Raises:
        VolumeError: either cannot be read, they do not lie on one grid, or the reference is empty.
    """
    if case.image is None or case.reference is None:
        raise VolumeError("The manifest's row must name two files: image, and label or mask.")
    volume = read_volume(case.image)
    if _is_picture(case.reference) and len(case.labels) <= 1:
        label_map = _read_bright(case.reference, volume)
    else:
        label_map = read_mask(case.reference, volume)
    values = [int(value) for value in np.unique(label_map) if value > 0]
    if not values:
        raise VolumeError("The reference is empty; there is no object to segment.")
    return LabelledScan(volume, label_map, {value: name_of(value, case.labels) for value in values})


def _is_picture(path: Path | None) -> bool:
    return path is not None and path.suffix.lower() in PICTURE_SUFFIXES


def _read_bright(path: Path, volume: Volume) -> np.ndarray:
    """1 where a mask, gray or in colour, is bright; where it is set at all if it was written as 0 and 1."""
    picture = read_volume(path)
    if picture.shape != volume.shape:
        raise VolumeError(
            f"The mask is {_size(picture)} pixels, its picture {_size(volume)}; they must have one size."
        )
    gray = picture.voxels.mean(axis=0)
    return (gray > (PICTURE_THRESHOLD if gray.max() > PICTURE_THRESHOLD else 0)).astype(np.uint8)


def _size(picture: Volume) -> str:
    return " x ".join(str(length) for length in picture.shape[:2])


def _case(row: dict[str, Any], folder: Path) -> Case:
    image, reference = row.get("image"), row.get("label") or row.get("mask")
    labels = parse_label_names(row.get("labels"))
    if not labels and isinstance(row.get("target"), str):
        labels = {1: row["target"]}
    return Case(
        name=str(row.get("case") or PurePosixPath(str(image)).name.split(".")[0]),
        split=str(row.get("split", "unspecified")),
        kind=_kind(row),
        image=folder / image if isinstance(image, str) else None,
        reference=folder / reference if isinstance(reference, str) else None,
        labels=labels,
    )


def _kind(row: dict[str, Any]) -> str:
    """`silver` from "silver: model output"; the modality of rows without kind."""
    said = row.get("kind") or row.get("modality") or "unspecified"
    return str(said).split(":")[0].strip().lower()


def _with_unique_names(cases: list[Case]) -> list[Case]:
    """Numbers the repeats of a case name, so that a name says which."""
    total, seen = Counter(case.name for case in cases), Counter[str]()
    return [case if total[case.name] == 1 else _numbered(case, seen) for case in cases]


def _numbered(case: Case, seen: Counter[str]) -> Case:
    seen[case.name] += 1
    return replace(case, name=f"{case.name}#{seen[case.name]}")


def _hint(folder: Path) -> str:
    below = sorted(_folders_with_manifest(folder))
    return f" (but in {_listed(below)} below it)" if below else ""


def _folders_with_manifest(folder: Path) -> Iterator[str]:
    if folder.is_dir():
        yield from (path.parent.name for path in folder.glob(f"*/{MANIFEST}"))


def _listed(names: Collection[str], most: int = 12) -> str:
    ordered = list(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(f"'{name}'" for name in ordered[:most]) + more
