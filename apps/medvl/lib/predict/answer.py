"""From a question and a scan to an answer that rests on masks, or to why there is none.

Only the structures that a question is about are looked for. Nothing is generated: numbers are measured,
words are chosen, and what the weights do not know, what is cut off by the scan's edge and what no image tells
is said so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lib.mask import Mask
from lib.predict.ask_place import answer_count, answer_location, answer_presence, answer_side
from lib.predict.ask_scan import answer_modality, answer_phase, answer_plane
from lib.predict.ask_size import answer_comparison, answer_size, answer_state
from lib.predict.assessable import why_not_assessable
from lib.predict.consistency import checked
from lib.predict.cropped import painted
from lib.predict.evidence import Evidence
from lib.predict.named import SegmentsByName
from lib.predict.parts import LookedAt
from lib.predict.report import finding_of
from lib.predict.verdict import Verdict, cannot, in_words, turned
from lib.text import Answer
from lib.vocabulary import Question, QuestionKind, StructureKind, parse_question
from lib.volume import Volume

_FURTHER = " Further questions were not answered; ask one at a time."


@dataclass(frozen=True, eq=False)
class ScanAnswer:
    """An answer with its evidence.

    Attributes:
        answer: what is said.
        evidence: what it rests on, in the order of the findings' indices.
    """

    answer: Answer
    evidence: tuple[Evidence, ...] = ()


def answer_question(text: str, volume: Volume, by_name: SegmentsByName) -> ScanAnswer:
    """Answers a question about a scan.

    Args:
        text: the question, in English; whatever else it is gets an answer that says so.
        volume: any scan or picture.
        by_name: finds structures.
    """
    question = parse_question(text)
    verdict = _verdict(question, volume, by_name)
    if question.is_negated and question.is_closed:
        verdict = turned(verdict)
    return _said(verdict, question)


def evidence_mask(answer: ScanAnswer, volume: Volume) -> Mask:
    """The label map beside the answer; empty and without labels where there is no evidence."""
    if not answer.evidence:
        return Mask(np.zeros(volume.shape, dtype=np.uint8), volume.affine, {})
    masks = {one.label: one.mask for one in answer.evidence}
    confidence = {one.label: one.confidence for one in answer.evidence}
    return painted(masks, volume.shape, volume.affine, confidence)


_ABOUT_STRUCTURES: Mapping[QuestionKind, Callable[[Question, LookedAt], Verdict]] = {
    QuestionKind.PHASE: answer_phase,
    QuestionKind.PRESENCE: answer_presence,
    QuestionKind.COUNT: answer_count,
    QuestionKind.SIDE: answer_side,
    QuestionKind.LOCATION: answer_location,
    QuestionKind.SIZE: answer_size,
    QuestionKind.DENSITY: answer_size,
    QuestionKind.COMPARISON: answer_comparison,
}


def _verdict(question: Question, volume: Volume, by_name: SegmentsByName) -> Verdict:
    if question.kind is QuestionKind.UNANSWERABLE:
        return cannot(question.reason)
    if question.kind is QuestionKind.MODALITY:
        return answer_modality(question, volume)
    if question.kind is QuestionKind.PLANE:
        return answer_plane(question, volume)
    reason = why_not_assessable(volume)
    if reason is not None:
        return cannot(f"the image is not assessable: {reason}")
    scan = LookedAt(volume, by_name)
    if question.kind is QuestionKind.ABNORMALITY:
        return _abnormality(question, scan)
    return _ABOUT_STRUCTURES[question.kind](question, scan)


def _abnormality(question: Question, scan: LookedAt) -> Verdict:
    """The size of organs against reference ranges; lesions only where the weights know any."""
    lesions = [
        one
        for target in question.targets
        for one in target.structures
        if one.kind in (StructureKind.LESION, StructureKind.PICTURE)
    ]
    if not lesions:
        return answer_state(question, scan)
    if not any(one.name in scan.by_name.names for one in lesions):
        return cannot("these weights were not taught to find lesions, so that none found says nothing")
    return answer_presence(question, scan)


def _said(verdict: Verdict, question: Question) -> ScanAnswer:
    """The verdict in words, with a finding for each structure that it rests on."""
    evidence = tuple(part.evidence for part in verdict.parts if part.evidence is not None)
    findings = tuple(
        finding
        for index, one in enumerate(evidence, start=1)
        if (finding := checked(finding_of(one, index)).finding) is not None
    )
    is_answered = verdict.value is not None
    short = in_words(verdict, question)
    text = f"{short[:1].upper()}{short[1:]}. {verdict.sentence}" if is_answered else verdict.sentence
    answer = Answer(
        answer=short,
        text=text + (_FURTHER if question.has_more else ""),
        kind=str(question.kind),
        confidence=float(np.clip(verdict.confidence, 0, 1)) if is_answered else 0.0,
        findings=findings,
        is_answered=is_answered,
    )
    return ScanAnswer(answer, evidence)
