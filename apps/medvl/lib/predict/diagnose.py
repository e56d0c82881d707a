"""From a picture to its diagnosis in four steps, each of which rests on something that was computed.

The modality comes from the classifier, the analysis from the mask, the considerations from the probabilities
of the conditions that the weights were taught, the diagnosis from the vote of the readings. Where the image
is none that the weights know, nothing is drawn and nothing is said of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.functional import interpolate

from lib.mask import Mask
from lib.model.picture_prior import PictureKind
from lib.predict.candidate import ReadsPictures
from lib.predict.diagnose_scan import diagnose_ct
from lib.predict.named import SegmentsByName
from lib.predict.picture_facts import PictureFacts, measure_picture, said_of, why_no_picture
from lib.predict.scaling import PLAIN, Consensus, Scaling, read_picture_scaled
from lib.text import Diagnosis, Steps
from lib.transforms.perturb import Perturbation
from lib.volume import Modality, Volume

LONGEST_PX = 1024
"""Larger pictures are read at this size; the mask is given at the picture's own."""
_READ_CHARACTERS = 2000
MODALITY_NAMES = {
    "xray": "an X-ray (radiograph)",
    "dermoscopy": "a dermoscopy image of the skin",
    "endoscopy": "an endoscopy image",
    "ultrasound": "an ultrasound image",
    "fundus": "a fundus photograph of the retina",
}


@dataclass(frozen=True, eq=False)
class DiagnosedImage:
    """A diagnosis and the masks that it rests on.

    Attributes:
        diagnosis: what is said.
        mask: on the image's grid; without labels where nothing was found.
    """

    diagnosis: Diagnosis
    mask: Mask


def diagnose(
    volume: Volume,
    reader: Callable[[], ReadsPictures],
    by_name: Callable[[], SegmentsByName] | None,
    scaling: Scaling = PLAIN,
    question: str = "",
) -> DiagnosedImage:
    """Diagnose a picture or a CT.

    Args:
        volume: any scan or picture.
        reader: reads pictures.
        by_name: finds structures on CT; None where no weights can.
        scaling: how often a picture is read.
        question: what is asked; only what kind of picture it is about is read from it.
    """
    if volume.shape[2] == 1 and volume.modality is not Modality.CT:
        return diagnose_picture(volume, reader(), scaling, question)
    if by_name is None:
        return _refused(volume, "there are no weights that find structures on CT")
    return DiagnosedImage(*diagnose_ct(volume, by_name()))


def diagnose_picture(
    volume: Volume, reader: ReadsPictures, scaling: Scaling = PLAIN, question: str = ""
) -> DiagnosedImage:
    """Diagnose a picture.

    Args:
        volume: of one slice.
        reader: reads pictures.
        scaling: how often it is read.
        question: what is asked.
    """
    reason = why_no_picture(volume)
    if reason is not None:
        return _refused(volume, reason)
    picture = reduced(volume)
    if reader.strangeness(reader.look(picture, Perturbation())) > 1:
        known = ", ".join(kind.modality for kind in reader.kinds)
        return _refused(volume, f"it resembles none of the kinds of picture that the weights know ({known})")
    found = read_picture_scaled(reader, picture, scaling)
    mask = enlarged(found.logits, volume.shape[:2])[:, :, None]
    said = _said(found, mask, volume, reader)
    remark = _remark(question, reader.kinds, found.kind)
    if not remark:
        return said
    steps = replace(said.diagnosis.steps, modality=f"{said.diagnosis.steps.modality} {remark}")
    return DiagnosedImage(replace(said.diagnosis, steps=steps), said.mask)


def reduced(picture: Volume) -> Volume:
    """The picture, no longer than LONGEST_PX along a side."""
    longest = max(picture.shape[:2])
    if longest <= LONGEST_PX:
        return picture
    size = tuple(max(1, round(side * LONGEST_PX / longest)) for side in picture.shape[:2])
    pixels = torch.from_numpy(np.ascontiguousarray(picture.voxels[..., 0], dtype=np.float32))[None]
    smaller = interpolate(pixels, size=size, mode="bilinear", antialias=True)[0].numpy()
    affine = picture.affine.copy()
    affine[:3, :2] *= longest / LONGEST_PX
    return Volume(smaller[..., None], affine, picture.modality)


def enlarged(logits: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The mask of logits on a grid of this shape, bool."""
    if logits.shape == shape:
        return np.asarray(logits > 0)
    larger = interpolate(torch.from_numpy(logits)[None, None], size=shape, mode="bilinear")[0, 0]
    return np.asarray(larger.numpy() > 0)


def _said(found: Consensus, mask: np.ndarray, volume: Volume, reader: ReadsPictures) -> DiagnosedImage:
    kind = reader.kinds[found.kind]
    facts = measure_picture(mask, volume)
    considered = tuple(sorted(zip(kind.conditions, found.conditions, strict=True), key=lambda one: -one[1]))
    condition = considered[0][0] if considered and facts is not None else None
    name = MODALITY_NAMES.get(kind.modality, f"a picture of the kind {kind.modality}")
    steps = Steps(
        modality=f"The picture is {name} (probability {found.modality[found.kind]:.2f}).",
        analysis=said_of(facts, kind.target) if facts else f"No {kind.target} can be made out in it.",
        considerations=_considerations(kind, considered),
        diagnosis=_conclusion(kind, condition, found, is_seen=facts is not None),
    )
    label_map = mask.astype(np.uint8) if facts else np.zeros(volume.shape, dtype=np.uint8)
    labels = {kind.target: 1} if facts else {}
    confidence = {kind.target: found.iou} if facts else {}
    diagnosis = Diagnosis(
        steps=steps,
        modality=kind.modality,
        condition=condition,
        considered=considered,
        findings=(_finding(facts, kind, steps.analysis, found),) if facts else (),
        confidence=found.agreement,
        candidates=found.candidates,
    )
    return DiagnosedImage(diagnosis, Mask(label_map, volume.affine, labels, confidence))


def _remark(question: str, kinds: tuple[PictureKind, ...], found: int) -> str:
    """What to say where a question is about another kind of picture than this one; empty where it is not."""
    asked = question[:_READ_CHARACTERS].lower()
    about = [kind for kind in kinds if kind.modality in asked or kind.target.rstrip("s") in asked]
    if not about or kinds[found] in about:
        return ""
    return (
        f"The question is about {about[0].target}, which {about[0].modality} shows and this picture does not."
    )


def _considerations(kind: PictureKind, considered: tuple[tuple[str, float], ...]) -> str:
    if not considered:
        return (
            f"The weights were taught no condition of {kind.modality}, so that none can be told from another."
        )
    if len(considered) == 1:
        return (
            f"The only condition of {kind.modality} that the weights were taught is {considered[0][0]}; it "
            "could not be weighed against any other."
        )
    said = ", ".join(f"{name} ({share:.2f})" for name, share in considered)
    return f"Considered were, with their probabilities: {said}."


def _conclusion(kind: PictureKind, condition: str | None, found: Consensus, *, is_seen: bool) -> str:
    if not is_seen:
        return f"No diagnosis: no {kind.target} was found."
    if condition is None:
        return (
            "No diagnosis can be given for such a picture; the mask and its measurements are what is known."
        )
    agreed = (
        f" ({found.candidates} readings, agreement {found.agreement:.2f})" if found.candidates > 1 else ""
    )
    return f"Most probable: {condition}{agreed}. It is a suggestion that a specialist has to confirm."


def _finding(facts: PictureFacts, kind: PictureKind, text: str, found: Consensus) -> dict[str, object]:
    return {
        "text": text,
        "label": kind.target,
        "index": 1,
        "share": round(facts.share, 5),
        "centre": [round(part, 4) for part in facts.centre],
        "box_px": list(facts.box_px),
        "parts": facts.parts,
        "brightness": round(facts.brightness, 4),
        "contrast": round(facts.contrast, 4),
        "confidence": round(found.iou, 4),
    }


def _refused(volume: Volume, reason: str) -> DiagnosedImage:
    steps = Steps(
        modality=f"The image is not assessable: {reason}.",
        analysis="Nothing was looked for in it.",
        considerations="No condition was considered.",
        diagnosis="No diagnosis.",
    )
    empty = Mask(np.zeros(volume.shape, dtype=np.uint8), volume.affine, {})
    return DiagnosedImage(Diagnosis(steps, None, None, (), (), 0.0, 0, is_assessable=False), empty)
