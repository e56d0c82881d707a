"""Data sets in the layouts that researchers have, as the same cases: what is where, and what is annotated.

A case's `annotated` names are all that its reference speaks of: a structure that is among them and not in the
label file is absent, any other is unknown. Paths in json and csv files stay inside the data set's folder.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from lib.errors import InputError, NotFoundError, VolumeError
from lib.formats import read_mask, read_volume
from lib.train.dataset import MANIFEST, Case, LabelledScan, load_manifest, read_case
from lib.train.label_names import parse_label_names

DATASET_JSON = "dataset.json"
EXPERT, TEXT_ONLY = "expert", "text"
_CHANNEL_0 = "_0000"
_LARGEST_CELL = 1_000_000
# AMOS 2022 numbers its MR scans from 501
_FIRST_AMOS_MR = 501


@dataclass(frozen=True)
class Question:
    """A question about a scan, with its answer.

    Attributes:
        text: the question.
        answer: in words.
        choices: of a closed question, in order.
    """

    text: str
    answer: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceCase(Case):
    """A case of any layout.

    Attributes:
        masks: structure to mask file, where each has one of its own.
        annotated: names that the reference speaks of, present in this scan or not.
        report: findings and impression in words.
        questions: with answers.
        modality: ct or mr, as far as the layout says.
    """

    masks: dict[str, Path] = field(default_factory=dict)
    annotated: frozenset[str] = frozenset()
    report: str = ""
    questions: tuple[Question, ...] = ()
    modality: str = "ct"


def load_cases(folder: Path) -> list[SourceCase]:
    """All cases of a folder, whatever its layout.

    Known are a `manifest.json`; TotalSegmentator v2 (`s0000/ct.nii.gz` with `segmentations`); `dataset.json`
    of the Medical Segmentation Decathlon, AMOS and nnU-Net; and csv files of CT-RATE and M3D.

    Raises:
        NotFoundError: no layout is recognised.
        InputError: a file of the layout cannot be used, or names a path outside of the folder.
    """
    readers: tuple[tuple[str, Callable[[Path], list[SourceCase]]], ...] = (
        (MANIFEST, manifest_cases),
        (DATASET_JSON, dataset_json_cases),
        ("*/ct.nii.gz", totalsegmentator_cases),
        ("*.csv", text_cases),
    )
    for pattern, reader in readers:
        if next(folder.glob(pattern), None) is not None:
            return reader(folder)
    raise NotFoundError(
        f"No data set in {folder.name or folder}; known are {MANIFEST}, TotalSegmentator (s0000/ct.nii.gz), "
        f"{DATASET_JSON} (MSD, AMOS, nnU-Net) and csv files with image paths (CT-RATE, M3D)."
    )


def read_source_case(case: SourceCase) -> LabelledScan:
    """Reads image and reference, be it one label file or one file a structure; the later one wins an overlap.

    Raises:
        VolumeError: a file cannot be read, or lies on another grid.
    """
    if not case.masks:
        return read_case(case)
    if case.image is None:
        raise VolumeError("The case has masks but no image.")
    volume = read_volume(case.image)
    label_map = np.zeros(volume.shape, dtype=np.int32)
    objects: dict[int, str] = {}
    for value, (name, path) in enumerate(case.masks.items(), start=1):
        mask = read_mask(path, volume) > 0
        if mask.any():
            label_map[mask] = value
            objects[value] = name
    if not objects:
        raise VolumeError("All masks of the case are empty; there is no object to segment.")
    return LabelledScan(volume, label_map, objects)


def manifest_cases(folder: Path) -> list[SourceCase]:
    """Cases of a `manifest.json`, as the evaluation has them."""
    return [_annotated(SourceCase(**vars(case))) for case in load_manifest(folder)]


def totalsegmentator_cases(folder: Path) -> list[SourceCase]:
    """TotalSegmentator v2: a folder a patient; splits are in `meta.csv`, else all are `train`."""
    splits = {}
    if (folder / "meta.csv").is_file():
        splits = {row.get("image_id", ""): row.get("split", "") for row in _rows(folder / "meta.csv")}
    cases = []
    for image in sorted(folder.glob("*/ct.nii.gz")):
        masks = {
            path.name.split(".")[0]: path for path in sorted((image.parent / "segmentations").glob("*.nii*"))
        }
        name = image.parent.name
        cases.append(
            SourceCase(
                name=name,
                split=splits.get(name) or "train",
                kind=EXPERT,
                image=image,
                reference=None,
                masks=masks,
                annotated=frozenset(masks),
            )
        )
    return cases


def dataset_json_cases(folder: Path) -> list[SourceCase]:
    """Medical Segmentation Decathlon and AMOS, which list files, and nnU-Net, which names them by a rule."""
    content = _json(folder / DATASET_JSON)
    labels = _labels(content.get("labels"))
    listed = [
        _listed_case(folder, entry, split, labels)
        for key, split in (("training", "train"), ("validation", "val"), ("test", "test"))
        for entry in _entries(content.get(key))
    ]
    cases = listed or [*_nnunet_listed(folder, content, labels), *_nnunet_files(folder, content, labels)]
    if not cases:
        raise InputError(
            f"{DATASET_JSON} lists no cases and there is no imagesTr folder with files beside it."
        )
    return [_with_amos_modality(_annotated(case), content) for case in cases]


def text_cases(folder: Path) -> list[SourceCase]:
    """Image-text rows of csv files: CT-RATE's reports and M3D's captions, reports and questions.

    A file's name says the split where it holds train, valid or test. Rows about one image become one case.
    """
    cases: dict[tuple[str, str], SourceCase] = {}
    for path in sorted(folder.glob("*.csv")):
        for row in _rows(path):
            case = _text_case(folder, path.stem.casefold(), row)
            if case is not None:
                _merge(cases, case)
    if not cases:
        raise InputError("No csv file has a column of images: VolumeName (CT-RATE) or Image Path (M3D).")
    return list(cases.values())


def inside(folder: Path, said: str) -> Path:
    """A path that a data set's file gives, inside of the data set's folder.

    Raises:
        InputError: it is absolute or climbs out.
    """
    path = PurePosixPath(said.strip().replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or PureWindowsPath(said.strip()).drive:
        raise InputError(f"The path {said[:80]!r} leaves the data set's folder; use paths relative to it.")
    return folder / path


def _annotated(case: SourceCase) -> SourceCase:
    return replace(case, annotated=frozenset(case.labels.values()))


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path.name} must be a mapping with labels; got {type(content).__name__}.")
    return content


def _labels(described: Any) -> dict[int, str]:
    """Values to names; nnU-Net's regions, which are lists of values, are left out."""
    if isinstance(described, Mapping):
        described = {key: value for key, value in described.items() if not isinstance(value, list)}
    return parse_label_names(described)


def _entries(listed: Any) -> list[Any]:
    return list(listed) if isinstance(listed, list) else []


def _listed_case(folder: Path, entry: Any, split: str, labels: dict[int, str]) -> SourceCase:
    """An entry is a mapping of image and label, or an image alone."""
    image, label = (entry.get("image"), entry.get("label")) if isinstance(entry, Mapping) else (entry, None)
    if not isinstance(image, str):
        raise InputError(f"{DATASET_JSON} has a case without image: {str(entry)[:80]!r}.")
    return SourceCase(
        name=_case_name(PurePosixPath(image).name),
        split=split,
        kind=EXPERT,
        image=inside(folder, image),
        reference=inside(folder, label) if isinstance(label, str) else None,
        labels=dict(labels) if label else {},
    )


def _case_name(file_name: str) -> str:
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha", ".npy", ".npz", ".png"):
        file_name = file_name.removesuffix(ending)
    return file_name


def _nnunet_listed(folder: Path, content: Mapping[str, Any], labels: dict[int, str]) -> Iterator[SourceCase]:
    """nnU-Net's key `dataset`: case to files, the first image being the first channel."""
    listed = content.get("dataset")
    for name, entry in listed.items() if isinstance(listed, Mapping) else ():
        images = entry.get("images") or [None]
        row = {"image": images[0], "label": entry.get("label")}
        case = _listed_case(folder, row, "train", labels)
        yield replace(case, name=str(name))


def _nnunet_files(folder: Path, content: Mapping[str, Any], labels: dict[int, str]) -> Iterator[SourceCase]:
    """`imagesTr/NAME_0000.ending` with `labelsTr/NAME.ending`; further channels are left alone."""
    ending = str(content.get("file_ending", ".nii.gz"))
    if content.get("dataset") is not None:
        return
    for images, masks, split in (("imagesTr", "labelsTr", "train"), ("imagesTs", "labelsTs", "test")):
        for image in sorted((folder / images).glob(f"*{_CHANNEL_0}{ending}")):
            name = image.name.removesuffix(f"{_CHANNEL_0}{ending}")
            reference = folder / masks / f"{name}{ending}"
            there = reference.is_file()
            yield SourceCase(
                name=name,
                split=split,
                kind=EXPERT,
                image=image,
                reference=reference if there else None,
                labels=dict(labels) if there else {},
            )


def _with_amos_modality(case: SourceCase, content: Mapping[str, Any]) -> SourceCase:
    number = case.name.removeprefix("amos_")
    is_amos = "amos" in str(content.get("name", "")).casefold() or case.name.startswith("amos_")
    says_mr = "mr" in str(content.get("modality") or content.get("channel_names") or "").casefold()
    if is_amos:
        says_mr = number.isdigit() and int(number) >= _FIRST_AMOS_MR
    return replace(case, modality="mr" if says_mr else "ct")


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a csv file with commas or semicolons, keys without the byte-order mark."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            separator = ";" if head.count(";") > head.count(",") else ","
            for row in csv.DictReader(file, delimiter=separator):
                yield {
                    str(key).strip(): (value or "")
                    for key, value in row.items()
                    if isinstance(value, str | None)
                }
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read as csv: {error}.") from error


def _text_case(folder: Path, stem: str, row: Mapping[str, str]) -> SourceCase | None:
    """A row as a case; None if it names no image."""
    cells = {key.casefold(): value.strip()[:_LARGEST_CELL] for key, value in row.items()}
    volume, image = cells.get("volumename", ""), cells.get("image path", "") or cells.get("image", "")
    if not volume and not image:
        return None
    path = _ct_rate_path(folder, volume) if volume else inside(folder, image)
    said = [cells.get(key, "") for key in ("findings_en", "impressions_en", "caption", "report")]
    questions = _questions(cells)
    if not questions:
        said.append(cells.get("text", ""))
    return SourceCase(
        name=_case_name(volume or image),
        split=next((split for key, split in _SPLITS.items() if key in stem), "train"),
        kind=TEXT_ONLY,
        image=path,
        reference=None,
        report="\n".join(part for part in said if part),
        questions=questions,
    )


_SPLITS = {"train": "train", "val": "val", "test": "test"}


def _ct_rate_path(folder: Path, volume: str) -> Path:
    """CT-RATE keeps `train_1_a_1.nii.gz` in `train/train_1/train_1_a`, below `dataset` or not."""
    name = inside(folder, volume).name
    parts = _case_name(name).split("_")
    nested = [parts[0], "_".join(parts[:2]), "_".join(parts[:3]), name] if len(parts) == 4 else [name]
    places = [folder.joinpath(*nested), folder.joinpath("dataset", *nested), folder / name]
    return next((place for place in places if place.is_file()), places[0])


def _questions(cells: Mapping[str, str]) -> tuple[Question, ...]:
    if not cells.get("question") or not cells.get("answer"):
        return ()
    choices = tuple(cells[key] for key in (f"choice {letter}" for letter in "abcd") if cells.get(key))
    return (Question(cells["question"], cells["answer"], choices),)


def _merge(cases: dict[tuple[str, str], SourceCase], case: SourceCase) -> None:
    key = (case.split, case.name)
    known = cases.get(key)
    if known is not None:
        reports = [known.report, "" if case.report in known.report else case.report]
        case = replace(
            known, report="\n".join(filter(None, reports)), questions=known.questions + case.questions
        )
    cases[key] = case
