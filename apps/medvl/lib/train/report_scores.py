"""Whether a report says what is so: findings, numbers, sides, and the masks that they rest on.

The labeller reads a sentence for the structures that it names (`lib.vocabulary`) and for what it says of
them. A sentence gives each structure the tag "seen", and besides "enlarged", "small", "shorter" or "partly
in the scan" where it says so; a sentence on a lesion gives the tag "lesion" to the structure that it lies
in, or to the side. A sentence that denies something gives no tag. Hedged sentences count as the others.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.predict.consistency import PARTIAL, SIZES, judged_claims, judged_sides
from lib.predict.cropped import CroppedMask
from lib.text import Finding, Size
from lib.vocabulary import Side, load_vocabulary
from lib.vocabulary.lexicon import Item, Kind, lexicon_of, read_items
from lib.vocabulary.structures import Concept

Tag = tuple[str, str]
_DENIED = re.compile(r"\b(no|not|without|absent|denied)\b", re.IGNORECASE)
_STATES = {
    "enlarged": SIZES[Size.ENLARGED],
    "small": SIZES[Size.SMALL],
    "shorter": re.compile(r"\bshorter\b", re.IGNORECASE),
    "partial": PARTIAL,
}
SEEN, LESION = "seen", "lesion"
_NOWHERE = "body"


@dataclass(frozen=True)
class ReportScores:
    """Of one report; None where there is nothing to measure.

    Attributes:
        finding_f1: of the tags that the labeller reads in both reports.
        abnormal_f1: of all tags but "seen".
        numeric_consistency: share of numbers that are the measurement of the mask they are said of.
        laterality: share of sides that are said rightly.
        grounding_dice: mean overlap of the findings' masks with the reference's.
    """

    finding_f1: float
    abnormal_f1: float | None
    numeric_consistency: float | None
    laterality: float | None
    grounding_dice: float | None


def tags_of(sentences: Iterable[str]) -> frozenset[Tag]:
    """What the labeller reads: pairs of structure and state."""
    return frozenset(tag for sentence in sentences for tag in _tags(sentence))


def f1(said: Collection[Tag], right: Collection[Tag]) -> float | None:
    """Of two sets of tags; None if both are empty."""
    if not said and not right:
        return None
    return 2 * len(set(said) & set(right)) / (len(set(said)) + len(set(right)))


def score_report(
    findings: Sequence[Finding],
    masks: Mapping[str, CroppedMask],
    right: Sequence[Finding],
    right_masks: Mapping[str, CroppedMask],
) -> ReportScores:
    """Scores the findings of a report against those of the reference.

    Args:
        findings: with the measurements of the masks they rest on; of a report without masks only text and
            label count, and its numbers are held against the reference's masks.
        masks: label to mask; empty for a report without any.
        right: of the reference.
        right_masks: of the reference.
    """
    said, truth = tags_of(one.text for one in findings), tags_of(one.text for one in right)
    by_label = {one.label: one for one in right}
    own = findings if masks else [_as_reference(one, by_label) for one in findings]
    numbers = [float(ok) for one in own for _, ok in judged_claims(one)]
    sides = [
        float(ok)
        for one in findings
        for _, ok in judged_sides(_in_truth(one, by_label, grounded=bool(masks)))
    ]
    overlaps = [_overlap(masks[one.label], one.label, right_masks) for one in findings if one.label in masks]
    return ReportScores(
        finding_f1=1.0 if (found := f1(said, truth)) is None else found,
        abnormal_f1=f1(_abnormal(said), _abnormal(truth)),
        numeric_consistency=_mean(numbers),
        laterality=_mean(sides),
        grounding_dice=_mean(overlaps),
    )


def _as_reference(finding: Finding, by_label: Mapping[str, Finding]) -> Finding:
    """The sentence with the reference's measurements; with none that can agree where it has none."""
    right = by_label.get(finding.label)
    return replace(right, text=finding.text) if right is not None else finding


def _in_truth(finding: Finding, by_label: Mapping[str, Finding], *, grounded: bool) -> Finding:
    right = by_label.get(finding.label)
    if right is None:
        return finding if grounded else replace(finding, side=None)
    return replace(finding, side=right.side)


def _overlap(mask: CroppedMask, label: str, right: Mapping[str, CroppedMask]) -> float:
    """Dice with the reference's mask of that name; of lesions with the one that fits best."""
    structure = _base(label)
    return max((_dice(mask, other) for name, other in right.items() if _base(name) == structure), default=0.0)


def _base(label: str) -> str:
    """The structure of a numbered lesion."""
    plain = re.sub(r"_\d+$", "", label)
    return plain if load_vocabulary().structure(label) is None else label


def _dice(one: CroppedMask, other: CroppedMask) -> float:
    total = one.count + other.count
    return 2 * one.within(other).count / total if total else 1.0


def _abnormal(tags: Iterable[Tag]) -> set[Tag]:
    return {tag for tag in tags if tag[1] != SEEN}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _tags(sentence: str) -> Iterable[Tag]:
    if _DENIED.search(sentence):
        return
    items = list(read_items(sentence, lexicon_of(load_vocabulary())))
    concepts = [
        (item, _side_of(items, at)) for at, item in enumerate(items) if isinstance(item.meaning, Concept)
    ]
    organs = [name for item, side in concepts for name in _names(item, side)]
    if any(_is_lesion(item) for item, _ in concepts):
        sides = [str(item.meaning) for item in items if isinstance(item.meaning, Side)]
        yield from ((where, LESION) for where in organs[:1] or sides[:1] or [_NOWHERE])
        return
    states = [state for state, said in _STATES.items() if said.search(sentence)]
    for name in organs:
        yield (name, SEEN)
        yield from ((name, state) for state in states)


def _side_of(items: Sequence[Item], at: int) -> Side | None:
    """The side said just before a name."""
    before = items[at - 1] if at else None
    return before.meaning if before is not None and isinstance(before.meaning, Side) else None


def _is_lesion(item: Item) -> bool:
    return isinstance(item.meaning, Concept) and item.meaning.is_lesion


def _names(item: Item, side: Side | None) -> list[str]:
    concept = item.meaning
    if (
        not isinstance(concept, Concept)
        or concept.is_lesion
        or item.kind not in (Kind.CONCEPT, Kind.ADJECTIVE)
    ):
        return []
    if concept.group:
        return [concept.name]
    structures = concept.on(side)
    return [structures[0].name] if len(structures) == 1 else [concept.name]
