"""A report of a CT: every sentence rests on one mask, and so do its numbers and sides.

What each sentence is to say follows from measurements (`facts`). A language model writes it if there is one,
and what it writes is held against the facts (`writing`); else it is put together by rule (`compose`).
Structures that are not in the scan are not spoken of. Sizes are judged only of organs that are wholly in it.
What has little confidence is hedged.
"""

from collections.abc import Mapping, Sequence

from lib.predict.assessable import why_not_assessable
from lib.predict.compose import composed
from lib.predict.consistency import checked
from lib.predict.evidence import Evidence, Seen, gather
from lib.predict.facts import MAY_HOLD_GAS, PROBABLE_FROM, facts_of, impression_facts, listed
from lib.predict.regions import Look
from lib.predict.writing import WritesSentences, reworded
from lib.text import Finding, Report
from lib.volume import Volume

_CONTRAST_FROM_HU, _NO_CONTRAST_BELOW_HU = 120.0, 70.0
"""Mean of the aorta; blood without contrast medium has 30 to 60 HU."""
_REGIONS = {"neck": 30.0, "chest": 400.0, "abdomen": 200.0, "pelvis": 300.0}
"""Millilitres of its structures from which a region counts as scanned; the lungs' bases are no chest."""


def report_of(
    seen: Mapping[str, Seen],
    volume: Volume,
    *,
    lesions_sought: bool,
    writer: WritesSentences | None = None,
    looks: Mapping[str, Look] | None = None,
) -> tuple[Report, tuple[Evidence, ...]]:
    """The report, and the evidence in the order of the findings' indices.

    Args:
        seen: structures and lesions that are in the scan, by the vocabulary's name.
        volume: the scan.
        lesions_sought: whether lesions would have been seen.
        writer: writes the sentences; None: they are put together by rule.
        looks: what the structures look like, by name, for the writer.
    """
    reason = why_not_assessable(volume)
    if reason is not None:
        return not_assessable(reason), ()
    evidence = gather(seen, volume)
    if not evidence:
        return not_assessable("no structure was found in it"), ()
    said = [
        (finding, one)
        for index, one in enumerate(evidence, start=1)
        if (finding := checked(finding_of(one, index)).finding) is not None
    ]
    kept = [one for _, one in said]
    impression = impression_facts(kept, lesions_sought=lesions_sought)
    report = Report(
        _technique(kept),
        tuple(finding for finding, _ in said),
        tuple(composed(facts) for facts in impression),
    )
    if writer is not None:
        shown = [(looks or {}).get(one.label) for one in kept]
        report = reworded(report, [facts_of(one) for one in kept], impression, shown, writer)
    return report, evidence


def not_assessable(reason: str) -> Report:
    """The report on what is no CT of a patient.

    Args:
        reason: such as "it is blank".
    """
    sentence = f"This image is not assessable: {reason}."
    return Report(sentence, (), (sentence,), is_assessable=False)


def finding_of(one: Evidence, index: int) -> Finding:
    """What is said of a structure or lesion by rule, unchecked.

    Args:
        one: measured.
        index: of its mask.
    """
    measured, diameters = one.measured, one.diameters
    return Finding(
        text=composed(facts_of(one)),
        label=one.label,
        index=index,
        confidence=one.confidence,
        volume_ml=measured.volume_ml,
        mean_hu=measured.mean_hu,
        sd_hu=measured.sd_hu,
        extent_mm=measured.extent_mm,
        centre_ras_mm=measured.centre_ras_mm,
        side=one.side,
        is_partial=measured.is_partial,
        size=one.size,
        length_mm=one.length_mm,
        long_axis_mm=diameters.long_mm if diameters else None,
        short_axis_mm=diameters.short_mm if diameters else None,
        gas_share=measured.gas_share if one.label in MAY_HOLD_GAS else None,
    )


def _technique(evidence: Sequence[Evidence]) -> str:
    volumes: dict[str, float] = {}
    for one in evidence:
        region = one.structure.region
        volumes[region] = volumes.get(region, 0.0) + one.measured.volume_ml
    shown = [
        _extent(region, evidence)
        for region, least_ml in _REGIONS.items()
        if volumes.get(region, 0.0) >= least_ml
    ]
    where = f" of the {listed(shown)}" if shown else ""
    return f"CT{where}{_contrast(evidence)}."


def _extent(region: str, evidence: Sequence[Evidence]) -> str:
    """A chest whose lungs are cut off by the scan's edge, without a windpipe, is its lower end only."""
    cut = any(one.measured.is_partial for one in evidence if one.label.startswith("lung_"))
    has_top = any(one.label == "trachea" for one in evidence)
    return "lower chest" if region == "chest" and cut and not has_top else region


def _contrast(evidence: Sequence[Evidence]) -> str:
    aorta = next((one for one in evidence if one.label == "aorta" and one.confidence >= PROBABLE_FROM), None)
    if aorta is None:
        return ""
    if aorta.measured.mean_hu >= _CONTRAST_FROM_HU:
        return " with contrast medium"
    return " without contrast medium" if aorta.measured.mean_hu < _NO_CONTRAST_BELOW_HU else ""
