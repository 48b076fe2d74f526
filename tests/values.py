"""Files of values for tests: tables, and a FHIR R4 Bundle of a synthetic patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pulmoscope.values.read import read_values
from pulmoscope.values.records import Given, ValuesFile

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"


def table(folder: Path, text: str, name: str = "values.csv") -> Path:
    """A table on disk; its lines may be indented."""
    lines = [line.strip() for line in text.strip().splitlines()]
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_text(folder: Path, text: str) -> ValuesFile:
    return read_values(table(folder, text))


def numbers(file: ValuesFile) -> list[dict[str, float]]:
    """Of each record name → value."""
    return [{value.name: value.value for value in record.values} for record in file.records]


def only(file: ValuesFile) -> Given:
    """The only value of a file."""
    (value,) = (value for record in file.records for value in record.values)
    return value


def codes(file: ValuesFile) -> list[str]:
    return [flag.code for flag in file.flags()]


def quantity(value: float, unit: str, **elements: Any) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit, **elements}


def coding(code: str) -> dict[str, Any]:
    return {"coding": [{"system": LOINC, "code": code}]}


def observation(code: str, value: dict[str, Any] | None = None, /, **elements: Any) -> dict[str, Any]:
    """An Observation about the Patient ``p1`` of :func:`bundle`; an element that is None is left out."""
    plain = {
        "resourceType": "Observation",
        "status": "final",
        "code": coding(code),
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2020-03-14T08:00:00+01:00",
        "valueQuantity": value,
        **elements,
    }
    return {key: element for key, element in plain.items() if element is not None}


def patient(**elements: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": "p1",
        "identifier": [{"system": "urn:oid:2.16.840.1.113883.19.5", "value": "SECRET-ID"}],
        "name": [{"family": "Secret", "given": ["Name"]}],
        "gender": "female",
        "birthDate": "1951-07-02",
        **elements,
    }


def bundle(folder: Path, *resources: dict[str, Any]) -> Path:
    """A Bundle with a Patient and what else is given."""
    entries = [{"resource": resource} for resource in (patient(), *resources)]
    return write_bundle(folder, entries)


def write_bundle(folder: Path, entries: list[dict[str, Any]]) -> Path:
    path = folder / "bundle.json"
    plain = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    path.write_text(json.dumps(plain), encoding="utf-8")
    return path
