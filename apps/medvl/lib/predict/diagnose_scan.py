"""The diagnosis of a CT in four steps, from the measurements that its report rests on."""

from lib.mask import Mask
from lib.predict.named import SegmentsByName
from lib.predict.report_scan import ScanReport, evidence_mask, report_scan
from lib.text import Diagnosis, Finding, Steps
from lib.volume import Volume

CT = "ct"
NORMAL = "no abnormality of what was measured"


def diagnose_ct(volume: Volume, by_name: SegmentsByName) -> tuple[Diagnosis, Mask]:
    """The diagnosis, and the masks that it rests on.

    Args:
        volume: any scan.
        by_name: finds structures.
    """
    scan = report_scan(volume, by_name)
    return diagnosis_of(scan), evidence_mask(scan, volume)


def diagnosis_of(scan: ScanReport) -> Diagnosis:
    """The four steps that a report's findings come to."""
    report = scan.report
    if not report.is_assessable:
        steps = Steps(
            modality=report.technique,
            analysis="Nothing was looked for in it.",
            considerations="No condition was considered.",
            diagnosis="No diagnosis.",
        )
        return Diagnosis(steps, None, None, (), (), 0.0, 0, is_assessable=False)
    abnormal = [finding for finding in report.findings if finding.is_abnormal]
    considered = tuple((_named(finding), finding.confidence) for finding in abnormal)
    steps = Steps(
        modality=f"The scan is a CT. {report.technique}",
        analysis=" ".join(finding.text for finding in report.findings) or "No structure was found.",
        considerations=_considerations(considered),
        diagnosis=" ".join(report.impression),
    )
    best = max(considered, key=lambda one: one[1], default=None)
    seen = [finding.confidence for finding in report.findings]
    return Diagnosis(
        steps=steps,
        modality=CT,
        condition=best[0] if best else (NORMAL if seen else None),
        considered=considered,
        findings=tuple(finding.as_json() for finding in report.findings),
        confidence=best[1] if best else (sum(seen) / len(seen) if seen else 0.0),
    )


def _considerations(considered: tuple[tuple[str, float], ...]) -> str:
    if not considered:
        return (
            "Nothing measured is outside of the usual range of adults; what has no mask was not considered."
        )
    said = ", ".join(f"{name} ({share:.2f})" for name, share in considered)
    return f"Considered were, with the confidence of their masks: {said}."


def _named(finding: Finding) -> str:
    label = finding.label.replace("_", " ")
    return label if finding.size is None else f"{finding.size} {label}"
