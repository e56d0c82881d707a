"""Pictures with what a PicturePrior learns from, on disk: the frozen encoder runs once for each view."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import interpolate

from lib.errors import MedVLError
from lib.model.picture_prior import FINE_SIDE
from lib.predict.picture_scan import embedded_picture, fine_picture
from lib.predict.segment import Predictor
from lib.train.dataset import MANIFEST, Case, load_manifest, read_case, select_cases
from lib.train.features import Progress
from lib.transforms.perturb import Perturbation, perturbed
from lib.transforms.spatial import fit_canvas
from lib.volume import Volume

_FLIPS = 0.5
_LEAST_SIDE = 0.62
_GAMMA = 0.35
_TINT = 0.12
_FEW = 20
_NO_CONDITION = ("", "unknown", "none", "null")
"""What sources write where they do not know."""


@dataclass(frozen=True)
class PictureCase:
    """A case of a picture with what its manifest says beyond the mask.

    Attributes:
        case: the row.
        modality: as the manifest names it.
        target: what the mask shows.
        condition: None where the source gives none.
        patient: pictures of one patient stay together; the case's name where it is not known.
        value: of the target in the mask; None: all that is marked.
    """

    case: Case
    modality: str
    target: str
    condition: str | None
    patient: str
    value: int | None = None


@dataclass(frozen=True, eq=False)
class StoredPicture:
    """A view of a picture; tensors are read when they are needed.

    Attributes:
        source: the picture.
        path: of the tensors.
        number: of the view; 0 is the picture as it is.
    """

    source: PictureCase
    path: Path
    number: int = 0

    def load(self) -> dict[str, Tensor]:
        """`embedding` (C, h, w) half, `picture` (3, F, F) and `mask` (F, F) bytes, `inner` (2,) of F."""
        return load_file(self.path)


def load_picture_cases(folder: Path, split: str, names: Collection[str] = ()) -> list[PictureCase]:
    """The pictures of a manifest's split, or those of them that are named.

    Args:
        folder: with a manifest.json.
        split: which cases.
        names: of cases; all where empty.

    Raises:
        NotFoundError: no manifest, split or case.
        InputError: a manifest that is not a list of rows.
    """
    cases = load_manifest(folder)
    chosen = {case.name for case in select_cases(cases, split, names)}
    rows = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return [
        _picture_case(case, row)
        for case, row in zip(cases, rows, strict=True)
        if case.name in chosen and case.is_picture
    ]


def _picture_case(case: Case, row: Mapping[str, Any]) -> PictureCase:
    condition = str(row.get("condition") or "").strip()
    return PictureCase(
        case=case,
        modality=str(row.get("modality") or case.kind).strip().lower(),
        target=next(iter(case.labels.values()), "object"),
        condition=None if condition.lower() in _NO_CONDITION else condition,
        patient=str(row.get("patient") or case.name),
    )


def stored_pictures(
    cases: Sequence[PictureCase], predictor: Predictor, folder: Path, variants: int, progress: Progress
) -> list[StoredPicture]:
    """All pictures as they are, and so many perturbed views of each; what is there already is not made again.

    Args:
        cases: with masks; those that cannot be read are told and left out.
        predictor: embeds.
        folder: for the views.
        variants: perturbed views of each picture.
        progress: is told what happens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = []
    for number in range(variants + 1):
        for done, case in enumerate(cases):
            path = folder / f"{_key(case, predictor, number)}.safetensors"
            if not path.is_file():
                try:
                    _store(case, predictor, number, path)
                except MedVLError as error:
                    progress(f"{case.case.name}: left out, {error}")
                    continue
            stored.append(StoredPicture(case, path, number))
            if done % 100 == 0:
                progress(f"view {number} of picture {done} of {len(cases)}")
    return stored


def split_held_out(cases: Sequence[PictureCase], share: float) -> tuple[list[PictureCase], list[PictureCase]]:
    """Pictures to learn from, and those of the patients that are kept to choose by; the same ones always.

    Nothing is held out of a modality with few pictures.

    Args:
        cases: pictures.
        share: of the patients.
    """
    count = Counter(case.modality for case in cases)
    learned: list[PictureCase] = []
    held: list[PictureCase] = []
    for case in cases:
        chance = int(_digest(f"{case.modality}/{case.patient}"), 16) / 16**12
        (held if chance < share and count[case.modality] >= _FEW else learned).append(case)
    return learned, held


def view_of(case: PictureCase, number: int) -> Perturbation:
    """The n-th view of a picture; number 0 leaves it as it is.

    Args:
        case: the picture.
        number: of the view.
    """
    if number == 0:
        return Perturbation()
    rng = np.random.default_rng([number, int(_digest(case.case.name), 16) % 2**32])
    sides = rng.uniform(_LEAST_SIDE, 1.0, 2)
    begins = rng.uniform(0, 1 - sides)
    ends = begins + sides
    red, green, blue = 1 + rng.uniform(-_TINT, _TINT, 3)
    return Perturbation(
        mirrored=bool(rng.random() < _FLIPS),
        part=(float(begins[0]), float(begins[1]), float(ends[0]), float(ends[1])),
        gamma=float(np.exp(rng.uniform(-_GAMMA, _GAMMA))),
        tint=(float(red), float(green), float(blue)),
    )


def _store(case: PictureCase, predictor: Predictor, number: int, path: Path) -> None:
    scan = read_case(case.case)
    change = view_of(case, number)
    seen = perturbed(scan.volume, change)
    marked = scan.label_map > 0 if case.value is None else scan.mask(case.value)
    mask = Volume(marked.astype(np.uint8)[None], scan.volume.affine, scan.volume.modality)
    truth = perturbed(mask, Perturbation(mirrored=change.mirrored, part=change.part))
    shown = embedded_picture(predictor, seen)
    canvas = fit_canvas(shown.plane, FINE_SIDE)
    tensors = {
        "embedding": shown.embedding(0).levels[-1][0].half().contiguous(),
        "picture": (fine_picture(shown) * 255).round().to(torch.uint8).contiguous(),
        "mask": _painted(shown.plane.slice_of(truth.voxels, 0)[0], canvas.inner),
        "inner": torch.tensor(canvas.inner),
    }
    partial = path.with_suffix(".partial")
    save_file(tensors, partial)
    partial.replace(path)


def _painted(mask: np.ndarray, inner: tuple[int, int]) -> Tensor:
    """The mask (H, W) on the fine canvas, as shares of 255."""
    values = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None]
    scaled = interpolate(values, size=inner, mode="bilinear", align_corners=False, antialias=True)[0, 0]
    painted = torch.zeros(FINE_SIDE, FINE_SIDE, dtype=torch.uint8)
    painted[: inner[0], : inner[1]] = (scaled * 255).round().to(torch.uint8)
    return painted


def _key(case: PictureCase, predictor: Predictor, number: int) -> str:
    said: list[str | int] = [str(case.case.image), predictor.segmenter.encoder_sha256, FINE_SIDE, number]
    said += [] if case.value is None else [case.value]
    return f"{case.modality}-{case.case.name}-{_digest(json.dumps(said))}".replace("/", "_").replace("#", "_")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
