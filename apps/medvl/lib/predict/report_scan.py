"""From a scan to its report and the masks that it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lib.mask import Mask
from lib.predict.assessable import why_not_assessable
from lib.predict.cropped import CroppedMask, painted
from lib.predict.evidence import Evidence, Seen
from lib.predict.named import NamedMask, SegmentsByName
from lib.predict.regions import Look, ShowsLooks
from lib.predict.report import not_assessable, report_of
from lib.predict.writing import WritesSentences
from lib.text import Report
from lib.vocabulary import StructureKind, load_vocabulary
from lib.volume import Volume


@dataclass(frozen=True, eq=False)
class ScanReport:
    """A report with its evidence.

    Attributes:
        report: what is said.
        evidence: what it rests on, in the order of the findings' indices.
    """

    report: Report
    evidence: tuple[Evidence, ...]

    @property
    def masks(self) -> dict[str, CroppedMask]:
        """Label to mask, in the order of the indices."""
        return {one.label: one.mask for one in self.evidence}


def report_scan(volume: Volume, by_name: SegmentsByName, writer: WritesSentences | None = None) -> ScanReport:
    """Finds all structures that the weights know, measures them and reports on them.

    An image that cannot be assessed gets a report that says so; nothing is looked for in it.

    Args:
        volume: any scan or picture.
        by_name: finds structures.
        writer: writes the sentences; None: they are put together by rule.
    """
    reason = why_not_assessable(volume)
    if reason is not None:
        return ScanReport(not_assessable(reason), ())
    found = by_name.segment_names(volume, by_name.names)
    looks = by_name.looks(volume) if writer is not None and isinstance(by_name, ShowsLooks) else {}
    sought = seeks_lesions(by_name.names)
    return report_from_masks(seen_in(found), volume, lesions_sought=sought, writer=writer, looks=looks)


def report_from_masks(
    seen: Mapping[str, Seen],
    volume: Volume,
    *,
    lesions_sought: bool,
    writer: WritesSentences | None = None,
    looks: Mapping[str, Look] | None = None,
) -> ScanReport:
    """As `report_scan`, of structures that have been found before."""
    return ScanReport(*report_of(seen, volume, lesions_sought=lesions_sought, writer=writer, looks=looks))


def seen_in(found: Mapping[str, NamedMask]) -> dict[str, Seen]:
    """What is taken to be in the scan."""
    return {name: Seen(one.mask, one.confidence) for name, one in found.items() if one.is_present}


def seeks_lesions(names: tuple[str, ...]) -> bool:
    """Whether any of the structures is a lesion."""
    structures = [load_vocabulary().structure(name) for name in names]
    return any(one is not None and one.kind is StructureKind.LESION for one in structures)


def evidence_mask(scan: ScanReport, volume: Volume) -> Mask:
    """The label map beside the report; empty and without labels where there is no evidence."""
    if not scan.evidence:
        return Mask(np.zeros(volume.shape, dtype=np.uint8), volume.affine, {})
    confidence = {one.label: one.confidence for one in scan.evidence}
    return painted(scan.masks, volume.shape, volume.affine, confidence)
