"""Reports as FHIR R4: a DiagnosticReport that contains an Observation for each finding.

It names no patient: whoever sends it on knows which one it is about. What is contained needs no server.
"""

import base64
import html
from collections.abc import Iterator, Mapping
from typing import Any

from lib.formats.dicom_seg import MANUFACTURER, Algorithm
from lib.formats.dicom_seg_codes import ABNORMALITY, SCT, Code, StructureCode, structure_key
from lib.text import Finding, Report

_SYSTEMS = {SCT: "http://snomed.info/sct", "DCM": "http://dicom.nema.org/resources/ontology/DCM"}
_LOINC, _UCUM = "http://loinc.org", "http://unitsofmeasure.org"
_DICOM_UID, _OID = "urn:dicom:uid", "urn:oid:"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_RADIOLOGY = {"system": f"{_TERMINOLOGY}/v2-0074", "code": "RAD", "display": "Radiology"}
_IMAGING = {"system": f"{_TERMINOLOGY}/observation-category", "code": "imaging", "display": "Imaging"}
_CT_STUDY = {"system": _LOINC, "code": "25045-6", "display": "CT unspecified body region"}
_PRELIMINARY = "preliminary"
"""Nobody has verified it."""
_FINDING = Code("404684003", "Clinical finding")
_LATERALITY = "272741003"
"""The attribute of SNOMED CT that states a side."""
_DEVICE = "model"


def diagnostic_report(
    report: Report,
    codes: Mapping[str, StructureCode],
    notice: str,
    model: Algorithm,
    study_uid: str | None = None,
) -> dict[str, Any]:
    """The report as a FHIR resource, ready for `json.dumps`.

    Args:
        report: assessable or not.
        codes: what the findings' labels mean.
        notice: that stands before the conclusion.
        model: what drew the masks.
        study_uid: StudyInstanceUID of the images; None where they have none.
    """
    observations = [_observation(finding, codes) for finding in report.findings]
    said = report.impression or (report.technique,)
    document: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "text": {"status": "generated", "div": _narrative(report, notice)},
        "status": _PRELIMINARY,
        "category": [{"coding": [_RADIOLOGY]}],
        "code": {"coding": [_CT_STUDY]},
        "conclusion": " ".join([f"{notice.capitalize()}.", *said]),
        "presentedForm": [_plain_text(report, notice)],
    }
    if study_uid:
        identifier = {"system": _DICOM_UID, "value": f"{_OID}{study_uid}"}
        document["imagingStudy"] = [{"type": "ImagingStudy", "identifier": identifier}]
    if observations:
        document["contained"] = [_device(model), *observations]
        document["result"] = [{"reference": f"#{one['id']}"} for one in observations]
    return document


def _narrative(report: Report, notice: str) -> str:
    lines = [f"{notice.capitalize()}.", *report.text.splitlines()]
    paragraphs = "".join(f"<p>{html.escape(line, quote=False)}</p>" for line in lines)
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'


def _plain_text(report: Report, notice: str) -> dict[str, str]:
    text = f"{report.text}\n{notice.capitalize()}.\n"
    return {
        "contentType": "text/plain; charset=utf-8",
        "language": "en",
        "data": base64.b64encode(text.encode("utf-8")).decode("ascii"),
        "title": "Report",
    }


def _device(model: Algorithm) -> dict[str, Any]:
    """What measured, and with which weights."""
    versions = [{"type": {"text": "program"}, "value": model.version}]
    if model.weights_sha256:
        versions.append({"type": {"text": "sha256 of the weights"}, "value": model.weights_sha256})
    return {
        "resourceType": "Device",
        "id": _DEVICE,
        "manufacturer": MANUFACTURER,
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "version": versions,
    }


def _observation(finding: Finding, codes: Mapping[str, StructureCode]) -> dict[str, Any]:
    observation: dict[str, Any] = {
        "resourceType": "Observation",
        "id": f"finding-{finding.index}",
        "status": _PRELIMINARY,
        "category": [{"coding": [_IMAGING]}],
        "code": {"coding": [_coding(_FINDING)], "text": finding.label.replace("_", " ")},
        "device": {"reference": f"#{_DEVICE}"},
        "component": list(_components(finding)),
    }
    code = codes.get(structure_key(finding.label))
    if code is not None and code.category == ABNORMALITY:
        observation["valueCodeableConcept"] = {"coding": [_coding(code.type)], "text": finding.text}
    else:
        observation["valueString"] = finding.text
    site = _body_site(code)
    return observation | ({"bodySite": site} if site else {})


def _body_site(code: StructureCode | None) -> dict[str, Any] | None:
    """Where it is; a side is stated by a SNOMED CT expression, beside the structure's own code."""
    if code is None:
        return None
    if code.region is not None:
        site, side = code.region, code.region_modifier
    elif code.category != ABNORMALITY:
        site, side = code.type, code.modifier
    else:
        return None
    if side is None:
        return {"coding": [_coding(site)], "text": site.meaning}
    named = f"{side.meaning} {site.meaning.lower()}"
    sided = Code(f"{site.value}:{_LATERALITY}={side.value}", named)
    return {"coding": [_coding(site), _coding(sided)], "text": named}


def _components(finding: Finding) -> Iterator[dict[str, Any]]:
    yield _quantity(Code("118565006", "Volume"), finding.volume_ml, "mL")
    yield _quantity(Code("112031", "Attenuation Coefficient", "DCM"), finding.mean_hu, "[hnsf'U]")
    lengths = (
        (Code("410668003", "Length"), finding.length_mm),
        (Code("103339001", "Long axis"), finding.long_axis_mm),
        (Code("103340004", "Short axis"), finding.short_axis_mm),
    )
    for name, length in lengths:
        if length is not None:
            yield _quantity(name, length, "mm")
    yield {"code": {"text": "Confidence"}, "valueQuantity": _measured(finding.confidence, "1")}


def _quantity(name: Code, value: float, unit: str) -> dict[str, Any]:
    return {"code": {"coding": [_coding(name)]}, "valueQuantity": _measured(value, unit)}


def _measured(value: float, unit: str) -> dict[str, Any]:
    return {"value": round(value, 3), "unit": unit, "system": _UCUM, "code": unit}


def _coding(code: Code) -> dict[str, str]:
    return {"system": _SYSTEMS[code.scheme], "code": code.value, "display": code.meaning}
