"""What is asked of the scan as a whole: plane, modality, phase of the contrast medium."""

import numpy as np

from lib.geometry import world_axes
from lib.predict.parts import LookedAt
from lib.predict.verdict import Verdict, cannot
from lib.transforms.spatial import default_axis
from lib.vocabulary import Question
from lib.volume import Modality, Volume

NO_CONTRAST_BELOW_HU, CONTRAST_FROM_HU = 80.0, 110.0
"""Mean of the aorta; blood without contrast medium has 30 to 60 HU."""
_ARTERIAL_FROM_HU = 220.0
_ORGAN_CONTRAST_FROM_HU = 75.0
"""Spleen and kidneys without contrast medium have 30 to 60 HU."""
_STRAIGHT = 0.9
"""Cosine from which on slices count as lying in a plane of the body."""
_PLANES = ("sagittal", "coronal", "axial")
_MODALITIES = {
    Modality.CT: "CT",
    Modality.DISPLAY: "a picture",
    Modality.MR: "a scan without Hounsfield units",
}


def plane_of(volume: Volume) -> str:
    """The plane of the slices of best resolution: axial, coronal or sagittal."""
    return _PLANES[world_axes(volume.affine)[default_axis(volume.affine)][0]]


def answer_plane(question: Question, volume: Volume) -> Verdict:
    """In which plane the slices lie."""
    if volume.modality is Modality.DISPLAY or 1 in volume.shape:
        return cannot("a single picture does not say how it lies in the patient")
    plane, axis = plane_of(volume), default_axis(volume.affine)
    across = volume.affine[:3, axis] / np.linalg.norm(volume.affine[:3, axis])
    straight = float(np.abs(across).max())
    thick = volume.spacing_mm[axis]
    sentence = (
        f"The slices are {plane}{'' if straight >= _STRAIGHT else ', and oblique'}, {thick:.1f} mm apart."
    )
    if question.is_closed and question.said:
        return Verdict(question.said == plane, sentence, straight)
    return Verdict(plane, sentence, straight)


def answer_modality(question: Question, volume: Volume) -> Verdict:
    """What kind of image it is, as its values say."""
    is_ct = volume.modality is Modality.CT
    sentence = f"This is {_MODALITIES[volume.modality]}, as its values say."
    if question.is_closed and question.said:
        if is_ct or question.said == "CT":
            return Verdict((question.said == "CT") is is_ct, sentence, 0.9)
        return cannot("its values do not tell which kind of image without Hounsfield units it is")
    return Verdict(_MODALITIES[volume.modality], sentence, 0.9)


def answer_phase(question: Question, scan: LookedAt) -> Verdict:
    """Whether there is contrast medium, and in which phase; from the blood in the aorta.

    Without an aorta the spleen and the kidneys say whether there is any, and no more.
    """
    (aorta,) = scan.named("aorta")
    if aorta.evidence is None:
        return _from_organs(question, scan)
    hu = float(np.median(scan.volume.voxels[0][aorta.mask.window][aorta.mask.voxels]))
    phase, confidence = _phase(hu), aorta.confidence * _certainty(hu)
    has = "with" if phase != "native" else "without"
    sentence = f"The aorta has a median of {hu:.0f} HU, as {has} contrast medium ({phase})."
    parts = (aorta,)
    if question.is_closed:
        agrees = question.said == phase if question.said else phase != "native"
        return Verdict(agrees, sentence, confidence, parts)
    return Verdict(phase, sentence, confidence, parts)


def _from_organs(question: Question, scan: LookedAt) -> Verdict:
    parts = scan.named("spleen", "kidney_left", "kidney_right")
    seen = [part.evidence for part in parts if part.evidence is not None]
    if not seen:
        return cannot("neither the aorta nor the spleen or a kidney is seen, off which it is read", parts)
    hu = max(one.measured.mean_hu for one in seen)
    is_native = hu < _ORGAN_CONTRAST_FROM_HU
    has = "without" if is_native else "with"
    sentence = f"No aorta is seen; spleen and kidneys have up to {hu:.0f} HU, as {has} contrast medium."
    confidence = 0.5 * max(one.confidence for one in seen)
    if question.is_closed and question.said in ("", "native"):
        return Verdict(is_native is bool(question.said), sentence, confidence, parts)
    if is_native:
        return Verdict(False if question.is_closed else "native", sentence, confidence, parts)
    return cannot("the phase is read off the aorta, which is not seen. " + sentence.rstrip("."), parts)


def _phase(hu: float) -> str:
    if hu < (NO_CONTRAST_BELOW_HU + CONTRAST_FROM_HU) / 2:
        return "native"
    return "arterial" if hu >= _ARTERIAL_FROM_HU else "portal venous"


def _certainty(hu: float) -> float:
    """Less near the limits between phases."""
    nearest = min(abs(hu - limit) for limit in (NO_CONTRAST_BELOW_HU, CONTRAST_FROM_HU, _ARTERIAL_FROM_HU))
    return 0.5 + 0.5 * min(1.0, nearest / 40.0)
