"""Reports as FHIR R4: a DiagnosticReport that contains an Observation for each finding.

It names no patient: whoever sends it on knows which one it is about. What is contained needs no server.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lib.formats.dicom_seg_codes import SCT, Code, StructureCode, structure_key
from lib.text import Finding, Report

_SYSTEMS = {SCT: "http://snomed.info/sct", "DCM": "http://dicom.nema.org/resources/ontology/DCM"}
_LOINC, _UCUM = "http://loinc.org", "http://unitsofmeasure.org"
_RADIOLOGY = {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}
_CT_STUDY = {"system": _LOINC, "code": "25045-6", "display": "CT unspecified body region"}
_PRELIMINARY = "preliminary"
"""Nobody has verified it."""
_FINDING = Code("404684003", "Clinical finding")


def diagnostic_report(report: Report, codes: Mapping[str, StructureCode], notice: str) -> dict[str, Any]:
    """The report as a FHIR resource, ready for `json.dumps`.

    Args:
        report: assessable or not.
        codes: what the findings' labels mean.
        notice: that stands before the conclusion.
    """
    observations = [_observation(finding, codes) for finding in report.findings]
    document: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "status": _PRELIMINARY,
        "category": [{"coding": [_RADIOLOGY]}],
        "code": {"coding": [_CT_STUDY]},
        "conclusion": " ".join([f"{notice.capitalize()}.", report.technique, *report.impression]),
    }
    if observations:
        document["contained"] = observations
        document["result"] = [{"reference": f"#{one['id']}"} for one in observations]
    return document


def _observation(finding: Finding, codes: Mapping[str, StructureCode]) -> dict[str, Any]:
    observation: dict[str, Any] = {
        "resourceType": "Observation",
        "id": f"finding-{finding.index}",
        "status": _PRELIMINARY,
        "code": {"coding": [_coding(_FINDING)], "text": finding.label},
        "valueString": finding.text,
        "component": list(_components(finding)),
    }
    code = codes.get(structure_key(finding.label))
    if code is not None:
        site = code.region or code.type
        observation["bodySite"] = {"coding": [_coding(site)], "text": finding.label.replace("_", " ")}
    return observation


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


def _quantity(name: Code, value: float, unit: str) -> dict[str, Any]:
    return {
        "code": {"coding": [_coding(name)]},
        "valueQuantity": {"value": round(value, 3), "unit": unit, "system": _UCUM, "code": unit},
    }


def _coding(code: Code) -> dict[str, str]:
    return {"system": _SYSTEMS[code.scheme], "code": code.value, "display": code.meaning}
