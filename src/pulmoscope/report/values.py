"""The values of an image's patient, for ``diagnosis.json``, the page and the terminal.

Ages of 90 and more are told as «90 or more»: the older ages identify (HIPAA Safe Harbor, 45 CFR 164.514(b)(2)(i)(C)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pulmoscope.core.analytes import ANALYTES, MALE
from pulmoscope.core.outcome import OLDEST
from pulmoscope.core.values import ClinicalValue, LinkedValues

LINKS = {
    "patient": "Linked by the patient's id",
    "file": "Linked by the image's file",
    "only": "Linked as the only patient of the file, beside the only image",
    "none": "Nothing of the file is linked to this image",
}


@dataclass(frozen=True)
class Shown:
    """A value as the page shows it; ``mark``: beside the laboratory's own range, ``high``, ``low`` or empty."""

    title: str
    text: str
    range: str
    mark: str
    given: str
    when: str


def values_json(linked: LinkedValues) -> dict[str, Any]:
    """What ``diagnosis.json`` holds under ``values``."""
    return {
        "link": linked.link,
        **linked.settings,
        "used": [_value(value) for value in map(_shareable, linked.values)],
        "flags": [
            {"code": flag.code, "level": flag.level.value, "finding": flag.finding, "rule": flag.rule}
            for flag in linked.flags
        ],
    }


def values_shown(linked: LinkedValues | None) -> dict[str, Any] | None:
    """What ``values.html`` needs; None where no values were asked about."""
    if linked is None:
        return None
    rows = [_shown(value) for value in map(_shareable, linked.values)]
    return {
        "rows": rows,
        "ranges": any(row.range for row in rows),
        "flags": linked.flags,
        "link": LINKS[linked.link],
        "before": linked.settings["hours_before"],
        "after": linked.settings["hours_after"],
    }


def value_lines(plain: Mapping[str, Any] | None) -> list[str]:
    """The values of a ``diagnosis.json`` for a terminal: how many are used, and what is to be minded."""
    if plain is None:
        return []
    count = len(plain["used"])
    names = ", ".join(value["name"] for value in plain["used"])
    line = f"Values          {count} used{f': {names}' if names else ''}"
    return [line, *(f"                {_sentence(flag)}" for flag in plain["flags"])]


def _sentence(flag: Mapping[str, str]) -> str:
    rule = f" ({flag['rule']})" if flag["rule"] else ""
    return f"{flag['code'].replace('-', ' ').capitalize()}: {flag['finding']}{rule}"


def _shareable(value: ClinicalValue) -> ClinicalValue:
    """The same, an age of 90 and more without the years beyond."""
    if value.name != "age" or value.value < OLDEST:
        return value
    return ClinicalValue("age", OLDEST, "90 a or more", bound=">=", from_header=value.from_header)


def _value(value: ClinicalValue) -> dict[str, Any]:
    return {
        "name": value.name,
        "value": _rounded(value.value),
        "unit": ANALYTES[value.name].unit,
        "bound": value.bound or None,
        "given": value.given,
        "hours": None if value.hours is None else round(value.hours, 2),
        "reference": None
        if value.low is None and value.high is None
        else [None if end is None else _rounded(end) for end in (value.low, value.high)],
        "source": "header" if value.from_header else "file",
    }


def _rounded(number: float) -> float:
    """Six significant digits: more than any laboratory gives."""
    return float(f"{number:.6g}")


def _shown(value: ClinicalValue) -> Shown:
    analyte = ANALYTES[value.name]
    unit = "" if analyte.unit == "1" else f" {UNITS.get(analyte.unit, analyte.unit)}"
    text = f"{value.bound} {value_words(value.name, value.value, unit)}".strip()
    known = "" if value.low is None and value.high is None else f"{_range(value)}{unit}"
    source = "the image's header" if value.from_header else value.given
    return Shown(analyte.title, text, known, _mark(value), source, _when(value))


UNITS = {
    "a": "years",
    "10*9/L": "10⁹/L",
    "10*12/L": "10¹²/L",
    "umol/L": "µmol/L",
    "ug/L": "µg/L",
    "mm[Hg]": "mmHg",
    "Cel": "°C",
    "/min": "a minute",
    "mL/min": "mL/min/1.73 m²",
}
"""UCUM's codes as people write them."""


def value_words(name: str, number: float, unit: str) -> str:
    """A value with its unit, which begins with a space where there is one."""
    if name == "sex":
        return "male" if number == MALE else "female"
    return f"{_digits(number)}{unit}"


def _digits(number: float) -> str:
    """Up to four significant digits, never as a power of ten."""
    return f"{float(f'{number:.4g}'):,.12g}"


def _range(value: ClinicalValue) -> str:
    if value.low is None:
        return f"up to {_digits(value.high or 0)}"
    return (
        f"from {_digits(value.low)}"
        if value.high is None
        else f"{_digits(value.low)} to {_digits(value.high)}"
    )


def _mark(value: ClinicalValue) -> str:
    """Where a value lies beside the laboratory's range; a bound only where it tells."""
    if value.high is not None and value.value > value.high and value.bound not in ("<", "<="):
        return "high"
    if value.low is not None and value.value < value.low and value.bound not in (">", ">="):
        return "low"
    return ""


def _when(value: ClinicalValue) -> str:
    if value.hours is None:
        return "" if value.name in ("age", "sex") else "not known"
    if abs(value.hours) < 0.5:
        return "at the image"
    return f"{abs(value.hours):.0f} h {'before' if value.hours < 0 else 'after'}"
