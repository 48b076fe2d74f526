"""A FHIR Bundle of ours in plain words; nothing of a patient is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.results import MANUFACTURER

_INDENT = "  "


def bundle_words(bundle: Mapping[str, Any], name: str) -> list[str]:
    """What a Bundle says, in lines: what it holds, its conclusion, and every Observation with its parts.

    Args:
        bundle: as JSON has it.
        name: the file, for messages.

    Raises:
        UnsuitableError: Pulmoscope did not write it.
        Exception: of any class, where it is damaged.
    """
    resources = [entry["resource"] for entry in bundle["entry"]]
    devices = [one for one in resources if one["resourceType"] == "Device"]
    if not devices or any(one.get("manufacturer") != MANUFACTURER for one in devices):
        raise UnsuitableError(
            name, "not-own", "Pulmoscope did not write it, by the manufacturer of its Device"
        )
    held = Counter(one["resourceType"] for one in resources)
    versions = {one["type"]["text"]: one["value"] for one in devices[0].get("version", ())}
    lines = [
        f"FHIR Bundle, by Pulmoscope {versions.get('Pulmoscope', '')}, for research",
        f"Holds           {', '.join(f'{count} {kind}' for kind, count in held.items())}",
    ]
    for one in resources:
        if one["resourceType"] == "DiagnosticReport":
            lines.append(f"Conclusion      {one['conclusion']}")
        if one["resourceType"] == "Observation":
            lines += _observation(one)
    return lines


def _observation(one: Mapping[str, Any]) -> Iterator[str]:
    site = f", {one['bodySite']['text']}" if "bodySite" in one else ""
    value = _value(one)
    yield f"{one['code']['text']}{site}{f': {value}' if value else ''}"
    for part in one.get("component", ()):
        yield f"{_INDENT}{part['code']['text']}: {_value(part) or 'no value'}"
    for note in one.get("note", ()):
        yield f"{_INDENT}{note['text']}"


def _value(holder: Mapping[str, Any]) -> str:
    """A value of whatever kind, or why there is none; empty where nothing is said."""
    if "valueQuantity" in holder:
        quantity = holder["valueQuantity"]
        unit = "" if quantity["unit"] in ("1", "{score}") else f" {quantity['unit']}"
        return f"{quantity['value']:g}{unit}"
    if "valueCodeableConcept" in holder:
        return str(holder["valueCodeableConcept"]["text"])
    if "valueString" in holder:
        return str(holder["valueString"])
    why = holder.get("dataAbsentReason")
    return "" if why is None else str(why.get("text") or f"no value ({why['coding'][0]['code']})")
