"""Reports as DICOM structured reports: TID 1500, a measurement group (TID 1411) for each finding.

Each group refers to the finding's segment of a DICOM SEG. The sentences stand beside the numbers as comments,
and after them the impression and the whole report as plain text; both templates may be extended so (PS3.16).
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import highdicom
import pydicom
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import generate_uid

from lib.errors import InputError
from lib.formats.array import readable
from lib.formats.atomic import write_atomically
from lib.formats.dicom_seg import MANUFACTURER, NOTICE, SegHeader, derived_uid
from lib.formats.dicom_seg_codes import Code, SegmentDescription
from lib.formats.dicom_series import DicomSeries
from lib.text import Finding, Report

_SR_SERIES_NUMBER = 9100
_CT_REPORT = DicomCode("25045-6", "LN", "CT unspecified body region")
_HOUNSFIELD = DicomCode("[hnsf'U]", "UCUM", "Hounsfield unit")
_MILLILITRE = DicomCode("ml", "UCUM", "milliliter")
_MILLIMETRE = DicomCode("mm", "UCUM", "millimeter")
_VOLUME = DicomCode("118565006", "SCT", "Volume")
_LENGTH = DicomCode("410668003", "SCT", "Length")
_LONG_AXIS = DicomCode("103339001", "SCT", "Long Axis")
_SHORT_AXIS = DicomCode("103340004", "SCT", "Short Axis")
_MEAN = DicomCode("373098007", "SCT", "Mean")
_SPREAD = DicomCode("386136009", "SCT", "Standard Deviation")
_COMMENT = DicomCode("121106", "DCM", "Comment")
_IMPRESSIONS = DicomCode("121072", "DCM", "Impressions")
_IMPRESSION = DicomCode("121073", "DCM", "Impression")


def write_dicom_sr(
    report: Report,
    segments: Sequence[SegmentDescription],
    seg: Path,
    series: DicomSeries,
    path: Path,
    header: SegHeader,
) -> None:
    """Write a report as a Comprehensive 3D SR; findings without a segment are left out.

    Args:
        report: with findings.
        segments: of the SEG, named as the findings' masks.
        seg: the SEG that was written.
        series: that it was drawn on.
        path: of the new file, which is there whole or not at all.
        header: what drew the masks.

    Raises:
        InputError: no finding has a segment.
        VolumeError: the SEG cannot be read.
    """
    with readable("DICOM SEG"):
        segmentation = pydicom.dcmread(seg, stop_before_pixels=True)
    numbered = {segment.name: segment for segment in segments}
    groups = [
        _group(finding, numbered[finding.label], segmentation, series)
        for finding in report.findings
        if finding.label in numbered
    ]
    if not groups:
        raise InputError("A structured report needs a finding with a mask, and this report has none.")
    content = sr.MeasurementReport(
        observation_context=_observed_by(header, segmentation),
        procedure_reported=_CT_REPORT,
        imaging_measurements=groups,
    )
    notice = f"{NOTICE.capitalize()}."
    content[0].ContentSequence.append(_impressions([*report.impression, notice]))
    content[0].ContentSequence.append(_narrative(f"{report.text}\n{notice}"))
    document = sr.Comprehensive3DSR(
        evidence=[segmentation, *series.headers],
        content=content,
        series_instance_uid=generate_uid(prefix=None),
        series_number=_SR_SERIES_NUMBER,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer=MANUFACTURER,
        series_description=f"{MANUFACTURER} report",
    )
    buffer = BytesIO()
    document.save_as(buffer, write_like_original=False)
    write_atomically(path, buffer.getvalue())


def _observed_by(header: SegHeader, segmentation: pydicom.Dataset) -> sr.ObservationContext:
    name = header.algorithm.name if header.algorithm else MANUFACTURER
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid(MANUFACTURER, name, header.version),
        name=name,
        manufacturer_name=MANUFACTURER,
        model_name=MANUFACTURER,
        serial_number=str(segmentation.get("DeviceSerialNumber") or header.version),
    )
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )


def _group(
    finding: Finding, segment: SegmentDescription, segmentation: pydicom.Dataset, series: DicomSeries
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """The measurements of one finding, its sentence, and what they were made on."""
    code = segment.code
    site, side = (code.region, code.region_modifier) if code.region else (code.type, code.modifier)
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=derived_uid(series.uid, segment.name), identifier=segment.name
        ),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=segment.number,
            source_series=sr.SourceSeriesForSegmentation(series.uid),
        ),
        finding_category=_coded(code.category),
        finding_type=_coded(code.type),
        finding_sites=[sr.FindingSite(_coded(site), laterality=_coded(side) if side else None)],
        measurements=list(_measurements(finding)),
    )
    group[0].ContentSequence.append(
        sr.TextContentItem(
            name=_COMMENT, value=finding.text, relationship_type=sr.RelationshipTypeValues.CONTAINS
        )
    )
    return group


def _measurements(finding: Finding) -> Iterator[sr.Measurement]:
    yield sr.Measurement(name=_VOLUME, value=round(finding.volume_ml, 3), unit=_MILLILITRE)
    for derivation, value in ((_MEAN, finding.mean_hu), (_SPREAD, finding.sd_hu)):
        yield sr.Measurement(
            name=codes.DCM.AttenuationCoefficient,
            value=round(value, 2),
            unit=_HOUNSFIELD,
            derivation=derivation,
        )
    lengths = (
        (_LENGTH, finding.length_mm),
        (_LONG_AXIS, finding.long_axis_mm),
        (_SHORT_AXIS, finding.short_axis_mm),
    )
    for name, length in lengths:
        if length is not None:
            yield sr.Measurement(name=name, value=round(length, 2), unit=_MILLIMETRE)


def _impressions(sentences: Sequence[str]) -> sr.ContainerContentItem:
    container = sr.ContainerContentItem(
        name=_IMPRESSIONS, relationship_type=sr.RelationshipTypeValues.CONTAINS
    )
    container.ContentSequence = sr.ContentSequence(
        [
            sr.TextContentItem(
                name=_IMPRESSION, value=sentence, relationship_type=sr.RelationshipTypeValues.CONTAINS
            )
            for sentence in sentences
        ]
    )
    return container


def _narrative(text: str) -> sr.TextContentItem:
    """The whole report for those who read text only; lines end as DICOM's do (PS3.5 section 6.1.3)."""
    return sr.TextContentItem(
        name=codes.DCM.NarrativeSummary,
        value=text.replace("\n", "\r\n"),
        relationship_type=sr.RelationshipTypeValues.CONTAINS,
    )


def _coded(code: Code) -> highdicom.sr.CodedConcept:
    return highdicom.sr.CodedConcept(code.value, code.scheme, code.meaning)
