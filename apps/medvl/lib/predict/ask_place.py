"""What is asked of structures' presence, number and place."""

from collections.abc import Callable, Sequence

import numpy as np

from lib.geometry import world_to_voxel
from lib.predict.measure import axial_axis, side_of
from lib.predict.parts import LookedAt, Part
from lib.predict.pick import lies
from lib.predict.verdict import Verdict, cannot
from lib.vocabulary import Question, Side, State
from lib.vocabulary.target import Relation

_AXIS_OF = {
    Relation.RIGHT_OF: (0, 1.0),
    Relation.LEFT_OF: (0, -1.0),
    Relation.FRONT: (1, 1.0),
    Relation.BEHIND: (1, -1.0),
    Relation.ABOVE: (2, 1.0),
    Relation.BELOW: (2, -1.0),
}
_SURE_APART_MM = 10.0
"""Centres so far apart lie surely so."""
_NOT_TAUGHT = "these weights were not taught to find {}"


def answer_presence(question: Question, scan: LookedAt) -> Verdict:
    """Whether structures are in the scan; of offered ones, which."""
    parts = scan.parts(question.targets)
    unknown = [part for part in parts if not part.is_known]
    if not parts:
        return cannot("it takes one question for each structure, or a report")
    if unknown:
        return cannot(_NOT_TAUGHT.format(listed([part.spoken for part in unknown])), parts)
    there = [part for part in parts if part.evidence is not None]
    missing = [part for part in parts if part.evidence is None]
    sentence = " ".join([*map(_seen_sentence, there), *map(_missing_sentence, missing)])
    confidence = min(_presence_confidence(part) for part in parts)
    if question.is_closed:
        either = " or " in question.text.lower().replace("yes or no", "")
        is_there = bool(there) if either else not missing
        return Verdict(is_there, sentence, confidence, parts)
    chosen = missing if question.is_negated else there
    words = listed([part.spoken for part in chosen]) or "none of them"
    return Verdict(words, sentence, confidence, parts, names=tuple(part.name for part in chosen))


def answer_count(question: Question, scan: LookedAt) -> Verdict:
    """How many of the named structures are in the scan."""
    parts = scan.parts(question.targets)
    unknown = [part for part in parts if not part.is_known]
    if unknown:
        return cannot(_NOT_TAUGHT.format(listed([part.spoken for part in unknown])), parts)
    grouped = [part for part in parts if scan.vocabulary.structure(part.name) is None]
    if grouped:
        return cannot(f"the {grouped[0].spoken} are drawn as one, not one by one", parts)
    there = [part for part in parts if part.evidence is not None]
    sentence = f"Seen: {listed([part.spoken for part in there]) or 'none'}."
    confidence = min((_presence_confidence(part) for part in parts), default=0.0)
    if question.is_closed and question.limit is not None:
        return Verdict(len(there) == round(question.limit.value), sentence, confidence, parts)
    return Verdict(float(len(there)), sentence, confidence, parts)


def answer_side(question: Question, scan: LookedAt) -> Verdict:
    """On which side of the patient a structure lies."""
    return _of_one(question, scan, lambda part: _side_verdict(question, part, scan.middle_mm))


def answer_location(question: Question, scan: LookedAt) -> Verdict:
    """Where a structure lies, how it lies to another, or whether all of it is in the scan."""
    if question.state is not None:
        return _of_one(question, scan, lambda part: _whole_verdict(question, part))
    if question.relation is not None:
        return _relation_verdict(question, scan)
    return _of_one(question, scan, lambda part: _where_verdict(part, scan))


def seen_parts(question: Question, scan: LookedAt) -> tuple[tuple[Part, ...], Verdict | None]:
    """The structures asked about, and why nothing can be said of them, if so."""
    parts = scan.parts(question.targets)
    if not parts:
        return (), cannot("the question names no structure")
    unknown = [part.spoken for part in parts if not part.is_known]
    if unknown:
        return parts, cannot(_NOT_TAUGHT.format(listed(unknown)), parts)
    missing = [part.spoken for part in parts if part.evidence is None]
    if missing:
        return parts, cannot(f"I find no {listed(missing)} in it", parts)
    return parts, None


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def _of_one(question: Question, scan: LookedAt, verdict: Callable[[Part], Verdict]) -> Verdict:
    """The verdict on each of the structures; if they differ, of the first."""
    parts, problem = seen_parts(question, scan)
    if problem is not None:
        return problem
    verdicts = [verdict(part) for part in parts]
    if len(verdicts) == 1:
        return verdicts[0]
    sentence = " ".join(one.sentence for one in verdicts)
    confidence = min(one.confidence for one in verdicts)
    values = [one.value for one in verdicts]
    if all(isinstance(value, bool) for value in values):
        return Verdict(all(values), sentence, confidence, parts)
    words = listed([f"{part.spoken}: {one.words}" for part, one in zip(parts, verdicts, strict=True)])
    return Verdict(words, sentence, confidence, parts)


def _side_verdict(question: Question, part: Part, middle_mm: float) -> Verdict:
    if part.evidence is None:
        return cannot(f"I find no {part.spoken} in it", (part,))
    beside_mm = part.evidence.measured.centre_ras_mm[0] - middle_mm
    side = side_of(part.evidence.measured.centre_ras_mm, middle_mm)
    words = f"on the patient's {side}" if side else "in the middle"
    sentence = (
        f"The centre of the {part.spoken} lies {words}, {abs(beside_mm):.0f} mm from the middle of the body."
    )
    confidence = part.confidence * min(1.0, 0.5 + abs(abs(beside_mm) - 10.0) / 40.0)
    if question.side:
        return Verdict(side is Side(question.side), sentence, confidence, (part,))
    return Verdict(str(side) if side else "middle", sentence, confidence, (part,))


def _whole_verdict(question: Question, part: Part) -> Verdict:
    if part.evidence is None:
        return cannot(f"I find no {part.spoken} in it", (part,))
    is_partial = part.evidence.measured.is_partial
    how = "reaches the edge of the scan" if is_partial else "lies wholly in the scan"
    value = is_partial is (question.state is State.PARTIAL)
    return Verdict(value, f"The {part.spoken} {how}.", part.confidence, (part,))


def _where_verdict(part: Part, scan: LookedAt) -> Verdict:
    if part.evidence is None:
        return cannot(f"I find no {part.spoken} in it", (part,))
    measured = part.evidence.measured
    side = side_of(measured.centre_ras_mm, scan.middle_mm)
    region = {"trunk": "trunk"}.get(part.structure.region, part.structure.region)
    words = f"{region}, on the patient's {side}" if side else f"{region}, near the middle"
    centre = world_to_voxel(np.array([measured.centre_ras_mm]), scan.volume.affine)[0]
    axis = axial_axis(scan.volume.affine)
    slices = f"axial slice {round(float(centre[axis])) + 1} of {scan.volume.shape[axis]}"
    place = ", ".join(f"{value:.0f}" for value in measured.centre_ras_mm)
    sentence = f"The {part.spoken} lies in the {words}; its centre is at ({place}) mm RAS, {slices}."
    return Verdict(words, sentence, part.confidence, (part,))


def _relation_verdict(question: Question, scan: LookedAt) -> Verdict:
    parts, problem = seen_parts(question, scan)
    if problem is not None or question.relation is None or len(parts) < 2:
        return problem or cannot("it takes two structures to say how one lies to the other", parts)
    if question.relation not in _AXIS_OF:
        one, other = parts[0], parts[1]
        holds = lies(one.mask, question.relation, other.mask, scan.volume.affine)
        sentence = f"The {one.spoken} lies {'' if holds else 'not '}{question.relation} the {other.spoken}."
        return Verdict(holds, sentence, min(one.confidence, other.confidence), parts)
    return _ordered_verdict(question, question.relation, parts)


def _ordered_verdict(question: Question, relation: Relation, parts: tuple[Part, ...]) -> Verdict:
    """By the structures' centres along an axis of the patient."""
    axis, sign = _AXIS_OF[relation]
    heights = {
        part.name: sign * part.evidence.measured.centre_ras_mm[axis] for part in parts if part.evidence
    }
    order = sorted(parts, key=lambda part: -heights[part.name])
    apart_mm = heights[order[0].name] - heights[order[1].name]
    confidence = min(part.confidence for part in parts) * min(1.0, 0.5 + apart_mm / (2 * _SURE_APART_MM))
    sentence = f"The centre of the {order[0].spoken} lies {apart_mm:.0f} mm further {_DIRECTIONS[relation]}."
    if question.is_closed:
        return Verdict(order[0] is parts[0], sentence, confidence, parts)
    return Verdict(order[0].spoken, sentence, confidence, parts, names=(order[0].name,))


_DIRECTIONS = {
    Relation.RIGHT_OF: "to the right",
    Relation.LEFT_OF: "to the left",
    Relation.FRONT: "to the front",
    Relation.BEHIND: "to the back",
    Relation.ABOVE: "up",
    Relation.BELOW: "down",
}


def _seen_sentence(part: Part) -> str:
    return f"The {part.spoken} is seen (confidence {part.presence:.2f})."


def _missing_sentence(part: Part) -> str:
    return f"I find no {part.spoken} in this scan; it may lie outside of it, or be missing."


def _presence_confidence(part: Part) -> float:
    return part.presence if part.evidence is not None else 1 - part.presence
