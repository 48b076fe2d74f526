"""What resources are put together from: coded terms, quantities, components (hl7.org/fhir/R4/datatypes.html)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydicom.sr.coding import Code

from pulmoscope.report.dicom.codes import SCHEME
from pulmoscope.report.dicom.uids import uid

Plain = dict[str, Any]

OWN = f"urn:oid:{uid('code system')}"
"""The code system of our own terms: those of the DICOM objects' scheme, by the same codes."""
UCUM = "http://unitsofmeasure.org"
_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    SCHEME: OWN,
}
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"


def coding(code: Code) -> Plain:
    """A term."""
    return {"system": _SYSTEMS[code.scheme_designator], "code": code.value, "display": code.meaning}


def concept(code: Code, text: str = "") -> Plain:
    """A CodeableConcept; ``text``: how it reads, where that is not the code's meaning."""
    return {"coding": [coding(code)], "text": text or code.meaning}


def quantity(value: float, unit: Code) -> Plain:
    """A number with its unit, whose code is UCUM's."""
    return {"value": value, "unit": unit.value, "system": UCUM, "code": unit.value}


def figure(name: Code, value: float | None, unit: Code) -> Plain:
    """A component, or what an Observation adds: a number under its name; one that is not known says so."""
    found = {"dataAbsentReason": absent()} if value is None else {"valueQuantity": quantity(value, unit)}
    return {"code": concept(name), **found}


def coded(name: Code, value: Code, text: str = "") -> Plain:
    """The same with a coded answer."""
    return {"code": concept(name), "valueCodeableConcept": concept(value, text)}


def sentence(name: Code, text: str) -> Plain:
    """The same with an answer in words."""
    return {"code": concept(name), "valueString": text}


def absent(code: str = "unknown", text: str = "") -> Plain:
    """Why there is no value."""
    return {"coding": [{"system": _ABSENT, "code": code}], **({"text": text} if text else {})}


def notes(texts: Iterable[str]) -> list[Plain]:
    """Annotations."""
    return [{"text": text} for text in texts]
