"""What the model says: findings that each rest on a mask, reports made of them, and answers to questions."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lib.vocabulary import Side

Millimetres = tuple[float, float, float]


class Size(StrEnum):
    """Of an organ that is wholly in the scan, against the reference range of adults."""

    NORMAL = "normal"
    ENLARGED = "enlarged"
    SMALL = "small"


class Wording(StrEnum):
    """How a sentence of a report came about."""

    WRITTEN = "written"
    """By the language model, as it stands."""
    REPAIRED = "repaired"
    """By the language model, with a number or side put right."""
    COMPOSED = "composed"
    """By rule."""


@dataclass(frozen=True)
class Finding:
    """One statement and what was measured of the mask that it rests on.

    Attributes:
        text: one sentence.
        label: name of the mask.
        index: the mask's value in the label map beside the report.
        confidence: 0 to 1.
        volume_ml: of the mask.
        mean_hu: mean of the scan's values in it.
        sd_hu: their standard deviation.
        extent_mm: right to left, front to back, top to bottom.
        centre_ras_mm: mean position.
        side: of the patient, by position; None in the middle.
        is_partial: it reaches the edge of the scan.
        size: None where no reference range applies.
        length_mm: from pole to pole, where that is measured.
        long_axis_mm: longest axial diameter (RECIST 1.1), of lesions.
        short_axis_mm: the longest at right angles to it.
        gas_share: of the voxels of hollow organs, 0 to 1.
        wording: how the sentence came about.
    """

    text: str
    label: str
    index: int
    confidence: float
    volume_ml: float
    mean_hu: float
    sd_hu: float
    extent_mm: Millimetres
    centre_ras_mm: Millimetres
    side: Side | None = None
    is_partial: bool = False
    size: Size | None = None
    length_mm: float | None = None
    long_axis_mm: float | None = None
    short_axis_mm: float | None = None
    gas_share: float | None = None
    wording: Wording = Wording.COMPOSED

    @property
    def is_abnormal(self) -> bool:
        """Whether it is a lesion, or an organ of another size than most adults'."""
        return self.long_axis_mm is not None or self.size in (Size.ENLARGED, Size.SMALL)

    def as_json(self) -> dict[str, Any]:
        """As clients read it; what was not measured is left out."""
        document: dict[str, Any] = {
            "text": self.text,
            "label": self.label,
            "index": self.index,
            "volume_ml": round(self.volume_ml, 3),
            "mean_hu": round(self.mean_hu, 2),
            "sd_hu": round(self.sd_hu, 2),
            "extent_mm": [round(part, 2) for part in self.extent_mm],
            "centre_ras_mm": [round(part, 2) for part in self.centre_ras_mm],
            "confidence": round(self.confidence, 4),
            "partly_in_scan": self.is_partial,
            "wording": str(self.wording),
        }
        if self.gas_share is not None:
            document["gas_share"] = round(self.gas_share, 4)
        lengths = {
            "length_mm": self.length_mm,
            "long_axis_mm": self.long_axis_mm,
            "short_axis_mm": self.short_axis_mm,
        }
        document |= {name: round(length, 2) for name, length in lengths.items() if length is not None}
        names = {"side": self.side, "size": self.size}
        return document | {name: str(value) for name, value in names.items() if value is not None}


CANNOT = "cannot be told from this image"
"""The answer where there is none."""


@dataclass(frozen=True)
class Answer:
    """What is said to a question.

    Attributes:
        answer: as short as can be: "yes", "B: axial", "162 ml", or CANNOT.
        text: the same in a sentence, with what was measured, or why it cannot be told.
        kind: what the question is about.
        confidence: in the answer, 0 to 1; 0 where there is none.
        findings: what it rests on.
        is_answered: False where the image, or the model, does not tell.
    """

    answer: str
    text: str
    kind: str
    confidence: float
    findings: tuple[Finding, ...] = ()
    is_answered: bool = True

    def as_json(self) -> dict[str, Any]:
        """The answer's part of the document that clients read."""
        return {
            "answer": self.answer,
            "text": self.text,
            "question_kind": self.kind,
            "confidence": round(self.confidence, 4),
            "answered": self.is_answered,
            "findings": [finding.as_json() for finding in self.findings],
        }


@dataclass(frozen=True)
class Report:
    """Findings and impression of one scan.

    Attributes:
        technique: what was scanned, in one sentence.
        findings: in the order of their masks.
        impression: sentences, the most important first.
        is_assessable: False for what is no CT of a patient.
        impression_wording: how each sentence of the impression came about; empty: all by rule.
        remark: what a reader must know of how the report came about; "" for nothing.
    """

    technique: str
    findings: tuple[Finding, ...]
    impression: tuple[str, ...]
    is_assessable: bool = True
    impression_wording: tuple[Wording, ...] = ()
    remark: str = ""

    @property
    def text(self) -> str:
        """The whole report as plain text."""
        parts = [self.technique]
        if self.findings:
            parts += ["Findings:", *(finding.text for finding in self.findings)]
        parts += ["Impression:", *self.impression]
        return "\n".join([*parts, self.remark] if self.remark else parts)

    @property
    def wordings(self) -> dict[str, int]:
        """How many sentences of findings and impression came about in which way."""
        said = [*(finding.wording for finding in self.findings), *self.impression_wording]
        counts = {str(wording): said.count(wording) for wording in Wording}
        if not self.impression_wording:
            counts[Wording.COMPOSED] += len(self.impression)
        return counts

    def as_json(self) -> dict[str, Any]:
        """The report's part of the document that clients read."""
        return {
            "text": self.text,
            "findings": [finding.as_json() for finding in self.findings],
            "impression": list(self.impression),
            "assessable": self.is_assessable,
            "sentences": self.wordings,
            **({"remark": self.remark} if self.remark else {}),
        }


@dataclass(frozen=True)
class Steps:
    """How a diagnosis comes about; one or a few sentences each.

    Attributes:
        modality: what kind of image it is.
        analysis: what was measured.
        considerations: what it may be, with probabilities.
        diagnosis: what is taken to be so, or why nothing is.
    """

    modality: str
    analysis: str
    considerations: str
    diagnosis: str

    @property
    def text(self) -> str:
        """All four, one after the other."""
        return "\n".join((self.modality, self.analysis, self.considerations, self.diagnosis))


@dataclass(frozen=True)
class Diagnosis:
    """What an image shows and what that may be, in four steps that each rest on something computed.

    Attributes:
        steps: the answer.
        modality: the kind of image; None where it is none that is known.
        condition: the diagnosis; None where none can be given.
        considered: candidate conditions with their probabilities.
        findings: each with the value of its mask, what was measured of it and its confidence.
        confidence: agreement of the candidates, 0 to 1.
        candidates: how many readings there were.
        is_assessable: False for what is no image that the weights know.
    """

    steps: Steps
    modality: str | None
    condition: str | None
    considered: tuple[tuple[str, float], ...]
    findings: tuple[dict[str, Any], ...]
    confidence: float
    candidates: int = 1
    is_assessable: bool = True

    def as_json(self) -> dict[str, Any]:
        """The diagnosis' part of the document that clients read."""
        return {
            "text": self.steps.text,
            "steps": {
                "modality": self.steps.modality,
                "analysis": self.steps.analysis,
                "considerations": self.steps.considerations,
                "diagnosis": self.steps.diagnosis,
            },
            "modality": self.modality,
            "diagnosis": self.condition,
            "considered": [
                {"condition": name, "probability": round(share, 4)} for name, share in self.considered
            ],
            "findings": list(self.findings),
            "impression": [self.steps.diagnosis],
            "confidence": round(self.confidence, 4),
            "candidates": self.candidates,
            "assessable": self.is_assessable,
        }
