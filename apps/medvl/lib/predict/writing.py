"""Sentences written by the language model, each held against its facts before it is returned.

A sentence whose numbers or side are not those of its facts is put right; one that names another structure,
hedges, denies or judges otherwise, leaves out a number or tells of gas that the mask does not hold is
replaced by the sentence that is put together by rule.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from lib.errors import WeightsError
from lib.model.report_writer import REPORTS, ReportWriter, load_report_writer
from lib.predict.compose import composed
from lib.predict.consistency import SIDE, claims_in, problems_of
from lib.predict.facts import Facts
from lib.predict.meaning import Meaning, meaning_of, number_of
from lib.predict.regions import Look
from lib.text import Finding, Report, Wording

logger = logging.getLogger(__name__)

NOT_INSTALLED = (
    f"These sentences were put together by rule; the language model that writes reports is not installed "
    f"(medvl weights fetch smollm2-135m {REPORTS})."
)


@runtime_checkable
class WritesSentences(Protocol):
    """Anything that writes a sentence from facts."""

    def write(self, facts: Sequence[Facts], looks: Sequence[Look | None]) -> list[str] | None:
        """A sentence for each; None where nothing can be written."""
        ...


class LazyWriter:
    """The language model that writes reports, loaded when it is needed first, then kept. Thread-safe.

    Args:
        weights_dir: where `medvl weights fetch` put it.
    """

    def __init__(self, weights_dir: Path) -> None:
        self._weights_dir = weights_dir
        self._lock = threading.Lock()
        self._writer: ReportWriter | None = None
        self._is_missing = False

    def write(self, facts: Sequence[Facts], looks: Sequence[Look | None]) -> list[str] | None:
        """A sentence for each; None where the weights are not fetched."""
        writer = self._loaded()
        if writer is None:
            return None
        return [answer.text for answer in writer.write_all([one.line for one in facts], looks)]

    def _loaded(self) -> ReportWriter | None:
        with self._lock:
            if self._writer is None and not self._is_missing:
                try:
                    self._writer = load_report_writer(self._weights_dir)
                except WeightsError as error:
                    logger.info("reports are put together by rule: %s", error)
                    self._is_missing = True
            return self._writer


def reworded(
    report: Report,
    findings: Sequence[Facts],
    impression: Sequence[Facts],
    looks: Sequence[Look | None],
    writer: WritesSentences,
) -> Report:
    """A report with sentences that were written instead of put together, where they hold.

    Args:
        report: put together by rule.
        findings: facts of its findings, in their order.
        impression: facts of its impression's sentences.
        looks: of the findings' structures.
        writer: writes.
    """
    texts = writer.write([*findings, *impression], [*looks, *(None for _ in impression)])
    if texts is None:
        return replace(report, remark=NOT_INSTALLED)
    count = len(findings)
    said = tuple(
        _as_finding(finding, text, facts)
        for finding, text, facts in zip(report.findings, texts[:count], findings, strict=True)
    )
    closing = [settled(text, facts) for text, facts in zip(texts[count:], impression, strict=True)]
    return replace(
        report,
        findings=said,
        impression=tuple(text for text, _ in closing),
        impression_wording=tuple(wording for _, wording in closing),
    )


def settled(text: str, facts: Facts) -> tuple[str, Wording]:
    """A written sentence as it may be returned, and how it came about.

    Args:
        text: as it was written.
        facts: that it was to say.
    """
    plain = " ".join(text.split())
    by_rule = composed(facts)
    right = meaning_of(by_rule)
    if _may_stand(plain, right):
        return plain, Wording.WRITTEN
    repaired = _with_side(_with_numbers(plain, right), right)
    if _may_stand(repaired, right):
        return repaired, Wording.REPAIRED
    return by_rule, Wording.COMPOSED


def _as_finding(finding: Finding, text: str, facts: Facts) -> Finding:
    """The finding with a written sentence, if its own measurements bear it."""
    sentence, wording = settled(text, facts)
    said = replace(finding, text=sentence, wording=wording)
    return finding if problems_of(said) else said


def _may_stand(sentence: str, right: Meaning) -> bool:
    """One sentence, whole, that says what it should."""
    is_whole = sentence.endswith(".") and sentence[:1] == sentence[:1].upper() and ". " not in sentence
    return is_whole and meaning_of(sentence) == right


def _with_numbers(sentence: str, right: Meaning) -> str:
    """Numbers of which there is one of their unit in both become what they should be."""
    found = [(number_of(claim, sentence), claim.span) for claim in claims_in(sentence)]
    for (pair, digits, unit), (begin, end) in reversed(found):
        own = [number for number, _ in found if (number[0], number[2]) == (pair, unit)]
        wanted = [number for number in right.numbers if (number[0], number[2]) == (pair, unit)]
        if len(own) == len(wanted) == 1 and wanted[0][1] != digits:
            sentence = f"{sentence[:begin]}{wanted[0][1]}{sentence[end:]}"
    return sentence


def _with_side(sentence: str, right: Meaning) -> str:
    """The one side that is meant, wherever another is said."""
    if len(right.sides) != 1:
        return sentence
    side = str(next(iter(right.sides)))
    return SIDE.sub(lambda said: side.capitalize() if said.group()[0].isupper() else side, sentence)
