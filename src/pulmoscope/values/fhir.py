"""A FHIR R4 Bundle of values: Patient and Observation resources (hl7.org/fhir/R4).

Read as plain JSON: numbers keep their decimals. What changes the meaning of a resource in ways that are not known here
(``modifierExtension``) leaves it out, as the specification asks (2.1.0.15).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from pulmoscope.core.errors import UnreadableError
from pulmoscope.core.facts import patient_sum
from pulmoscope.core.headers import Forms, coded
from pulmoscope.core.types import Flag
from pulmoscope.core.values import Moment
from pulmoscope.values.measures import Measure, measure, method_flags, parsed, sex_of, without_unit
from pulmoscope.values.records import Given, Record, left_out

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
_USED = frozenset({"final", "amended", "corrected", "preliminary"})
"""Statuses of an Observation that has a value and counts."""

Plain = Mapping[str, Any]


@dataclass(frozen=True)
class _Entry:
    """A resource of a Bundle, its number counted from 1, and its full URL."""

    number: int
    resource: Plain
    url: str

    @property
    def where(self) -> str:
        return f"entry {self.number}"


def read_bundle(name: str, text: str) -> tuple[list[Record], list[Flag]]:
    """The records of a Bundle, one a patient, and what of it is not read.

    Args:
        name: the file, for messages.

    Raises:
        UnreadableError: it is no Bundle of R4.
    """
    entries = list(_entries(name, text))
    records: dict[str, Record] = {}
    remarks: list[Flag] = []
    for entry in entries:
        if entry.resource["resourceType"] == "Patient":
            records |= dict.fromkeys(_keys(entry), _patient(entry))
    held: dict[int, tuple[list[Given], list[Flag]]] = {id(one): ([], []) for one in records.values()}
    unknown: Counter[str] = Counter()
    for entry in entries:
        if entry.resource["resourceType"] != "Observation":
            continue
        record = records.get(_reference(entry.resource))
        if record is None:
            finding = f"{entry.where}: its subject is no Patient of the Bundle; left out"
            remarks.append(left_out("unknown-subject", finding))
            continue
        values, flags = held[id(record)]
        for found in _observation(entry, unknown):
            if isinstance(found, Flag):
                flags.append(found)
            else:
                values.append(found)
    if unknown:
        finding = f"{unknown.total()} values of {len(unknown)} codes: not in the catalogue; left out"
        remarks.append(left_out("unknown-code", finding))
    distinct = {id(record): record for record in records.values()}
    return [
        replace(record, values=(*record.values, *held[key][0]), flags=(*record.flags, *held[key][1]))
        for key, record in distinct.items()
    ], remarks


def _entries(name: str, text: str) -> Iterator[_Entry]:
    """The resources of a Bundle.

    Raises:
        UnreadableError: the text is no JSON, or no Bundle.
    """
    try:
        bundle = json.loads(text, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError, InvalidOperation):  # the last: a number beyond what Decimal holds
        raise UnreadableError(name, "values-file", "damaged: it is no JSON") from None
    entries = bundle.get("entry", []) if isinstance(bundle, dict) else None
    if entries is None or bundle.get("resourceType") != "Bundle" or not isinstance(entries, list):
        raise UnreadableError(
            name, "values-file", "JSON, but no FHIR Bundle", "one resource Bundle, by FHIR R4"
        )
    for number, entry in enumerate(entries, start=1):
        resource = _dict(_dict(entry).get("resource"))
        if isinstance(resource.get("resourceType"), str):
            yield _Entry(number, resource, str(_dict(entry).get("fullUrl", "")))


def _no_number(text: str) -> None:
    raise ValueError(text)


def _keys(entry: _Entry) -> set[str]:
    """What references may call a resource."""
    local = f"{entry.resource['resourceType']}/{entry.resource['id']}" if entry.resource.get("id") else ""
    return {key for key in (entry.url, local) if key}


def _reference(resource: Plain) -> str:
    """The key of an Observation's subject: as written, or of an absolute address its last two parts."""
    reference = str(_dict(resource.get("subject")).get("reference", ""))
    whole = reference.partition("/_history/")[0]
    parts = whole.split("/")
    return "/".join(parts[-2:]) if "Patient" in parts[-2:-1] else whole


def _patient(entry: _Entry) -> Record:
    """Whose values an Observation about this Patient holds."""
    resource = entry.resource
    ids = [_dict(one).get("value") for one in _list(resource.get("identifier"))] + [resource.get("id")]
    values, flags = [], []
    if resource.get("gender") in ("male", "female"):
        sex = sex_of(str(resource["gender"]), entry.where)
        assert isinstance(sex, Given)
        values.append(sex)
    try:
        born = date.fromisoformat(str(resource.get("birthDate", "")))
    except ValueError:  # a year or a month is no day
        born = None
    if "modifierExtension" in resource:
        flags.append(left_out("modified-meaning", f"{entry.where}: a modifierExtension that is not known"))
        values, born = [], None
    known = frozenset(found for one in ids if one and (found := patient_sum(str(one))))
    return Record(known, born=born, values=tuple(values), flags=tuple(flags))


def _observation(entry: _Entry, unknown: Counter[str]) -> Iterator[Given | Flag]:
    """The values of an Observation and of its components; codes that nobody knows are counted."""
    resource = entry.resource
    if str(resource.get("status")) not in _USED:
        yield left_out("not-valid", f"{entry.where}: by its status no valid result; left out")
        return
    if "modifierExtension" in resource:
        yield left_out("modified-meaning", f"{entry.where}: a modifierExtension that is not known; left out")
        return
    taken = _taken(entry)
    for part in (resource, *map(_dict, _list(resource.get("component")))):
        if "dataAbsentReason" in part or not any(key.startswith("value") for key in part):
            continue
        found = _value(entry.where, part, unknown)
        if isinstance(found, Given):
            yield taken if isinstance(taken, Flag) else replace(found, taken=taken)
            yield from method_flags(_codes(part), entry.where)
        elif found is not None:
            yield found


def _taken(entry: _Entry) -> Moment | Flag | None:
    """When an Observation was made, of a period from its start to its end; None where it does not say."""
    given = [value for key, value in entry.resource.items() if key.startswith("effective")]
    if not given:
        return None
    period = _dict(given[0])
    texts = [period[key] for key in ("start", "end") if key in period] if period else given
    moments = [moment for text in texts if (moment := Moment.of(str(text))) is not None]
    if len(given) > 1 or not moments or len(moments) < len(texts) or moments[-1].end < moments[0].start:
        rule = "a date or time, or a period of them"
        return left_out("not-a-time", f"{entry.where}: its time can't be read; left out", rule)
    return Moment(moments[0].start, moments[-1].end, moments[0].zone)


def _value(where: str, part: Plain, unknown: Counter[str]) -> Given | Flag | None:
    """The value of an Observation or a component; None where its code is none of the catalogue."""
    codes = _codes(part)
    forms = {pairs[0][0].name: pairs for code in codes if (pairs := coded(code))}
    if not forms:
        unknown[codes[0] if codes else ""] += 1
        return None
    if len(forms) > 1:
        return left_out("unknown-analyte", f"{where}: its codes are of {' and '.join(forms)}; left out")
    ((name, pairs),) = forms.items()
    quantity = _dict(part.get("valueQuantity"))
    if isinstance(quantity.get("value"), bool) or not isinstance(quantity.get("value"), int | Decimal):
        return left_out("not-a-number", f"{where}: {name} has no quantity")
    found = _measure(pairs, quantity)
    if found is None:
        unit = f"such as {pairs[0][0].unit}, a code of UCUM"
        return left_out("wrong-unit", f"{where}: {name} has no unit that it is measured in", unit)
    given = found.given(f"{quantity.get('comparator', '')}{quantity['value']}", where)
    return _with_range(given, found, pairs, part) if isinstance(given, Given) else given


def _codes(part: Plain) -> list[str]:
    """The LOINC codes of an Observation or a component."""
    return [
        str(one.get("code", ""))
        for one in map(_dict, _list(_dict(part.get("code")).get("coding")))
        if one.get("system") == LOINC
    ]


def _measure(pairs: Forms, quantity: Plain) -> Measure | None:
    """What a quantity is by its unit: the code of UCUM, or where it has no code of any system the unit in words."""
    system, code = quantity.get("system"), quantity.get("code")
    if system is not None and system != UCUM:
        return None
    if code is not None:
        return measure(pairs, str(code), ucum=True)
    unit = str(quantity.get("unit", ""))
    return measure(pairs, unit) if unit else without_unit(pairs)


def _with_range(given: Given, found: Measure, pairs: Forms, part: Plain) -> Given:
    """A value with the reference range that the laboratory gives for it, where it gives one."""
    ranges = [_dict(one) for one in _list(part.get("referenceRange"))]
    if len(ranges) != 1 or "appliesTo" in ranges[0] or "age" in ranges[0]:
        return given
    ends = []
    for key in ("low", "high"):
        quantity = _dict(ranges[0].get(key))
        of_unit = _measure(pairs, quantity) if "code" in quantity or "unit" in quantity else found
        number = parsed(str(quantity.get("value", "")))
        ends.append(None if of_unit is None or number is None else of_unit.number(number[1]))
    return replace(given, low=ends[0], high=ends[1])


def _dict(value: Any) -> Plain:
    """A JSON object; an empty one for anything else, as files may hold anything."""
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
