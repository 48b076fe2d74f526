"""From what a file calls an analyte, and a number in some unit, to a value in the analyte's own unit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache

from pulmoscope.core.analytes import ANALYTES, FEMALE, MALE, Analyte, Conversion, Form
from pulmoscope.core.types import Flag
from pulmoscope.values.records import Given, left_out

Forms = tuple[tuple[Analyte, Form], ...]

_NUMBER = re.compile(r"([<>]=?|[≤≥])?\s*([+-]?\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,2})?)")
_BOUNDS = {"≤": "<=", "≥": ">="}
_SEX = {"m": MALE, "male": MALE, "f": FEMALE, "female": FEMALE}
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-", ".", "?", "unknown"})


@dataclass(frozen=True)
class Measure:
    """What a column or a coded value stands for."""

    analyte: Analyte
    conversion: Conversion

    def number(self, value: Fraction) -> float:
        """A value in the analyte's unit."""
        return float(self.conversion(value))

    def fits(self, value: Fraction) -> bool:
        """Whether a value is possible."""
        return self.analyte.low <= self.number(value) <= self.analyte.high

    def given(self, number: str, where: str) -> Given | Flag:
        """A value as a file has it, or why it is not used."""
        name, unit = self.analyte.name, self.conversion.unit.code
        read = parsed(number)
        if read is None:
            return left_out("not-a-number", f"{where}: {name} is no number")
        bound, value = read
        text = f"{bound}{_plain(number)}{'' if unit == '1' else f' {unit}'}"
        if not self.fits(value):
            return left_out("impossible-value", f"{where}: {name} {text}{self._hint(value)}", self.limits)
        return Given(name, self.number(value), text, where, bound)

    @property
    def limits(self) -> str:
        """The values that are possible."""
        unit = "" if self.analyte.unit == "1" else f" {self.analyte.unit}"
        return f"{self.analyte.low:,.12g} to {self.analyte.high:,.12g}{unit}"

    def _hint(self, value: Fraction) -> str:
        """What a value too small for a percentage may be."""
        fraction = self.conversion.unit.code == "%" and 0 < value <= 1
        return ", which looks like a fraction of 1" if fraction else ""


def is_missing(text: str) -> bool:
    """Whether a cell says that there is no value."""
    return text.strip().lower() in _MISSING


@lru_cache(2**16)
def parsed(text: str) -> tuple[str, Fraction] | None:
    """The bound and the number that a text is; None: it is none."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    return _BOUNDS.get(match[1], match[1] or ""), Fraction(match[2])


def sex_of(text: str, where: str) -> Given | Flag:
    """The sex that a text names in letters: numbers mean different things in different places."""
    value = _SEX.get(text.strip().lower())
    if value is None:
        return left_out("not-a-sex", f"{where}: sex is neither male nor female", "m, male, f or female")
    return Given("sex", value, "male" if value == MALE else "female", where)


def named(name: str) -> Forms:
    """The forms of analytes that a table's name may mean; the unit tells which."""
    return _names().get(plain_name(name), ())


def coded(code: str) -> Forms:
    """The form of an analyte that a LOINC code means; empty: none of the catalogue."""
    return _codes().get(code.strip(), ())


def measure(forms: Forms, unit: str, *, ucum: bool = False) -> Measure | None:
    """What values of one of these forms in a unit are; None: the unit is of none of them.

    Args:
        ucum: the unit is a code of UCUM, and not as tables write it.
    """
    for analyte, form in forms:
        if (conversion := analyte.conversion(form, unit, ucum=ucum)) is not None:
            return Measure(analyte, conversion)
    return None


def without_unit(forms: Forms) -> Measure | None:
    """What values without a unit are; None where that is unclear."""
    plain = tuple(pair for pair in forms if not pair[0].needs_unit)
    return measure(plain, "1")


def in_a_header(text: str) -> tuple[Forms, str]:
    """The forms and the unit that a column's header names: ``crp_mg_l``, ``crp [mg/L]``, ``crp (mg/L)`` or ``crp``.

    The unit is empty where the header names none; the forms are empty where it names no analyte.
    """
    bracket = re.fullmatch(r"\s*(.+?)\s*[\[(](.*)[\])]\s*", text)
    if bracket and (forms := named(bracket[1])):
        return forms, bracket[2].strip()
    plain = plain_name(text)
    if plain in _names():
        return _names()[plain], ""
    parts = plain.split("_")
    for count in range(len(parts) - 1, 0, -1):
        if forms := _names().get("_".join(parts[:count]), ()):
            return forms, "_".join(parts[count:])
    return (), ""


@cache
def is_unit(text: str) -> bool:
    """Whether a text is a unit of any analyte."""
    return any(
        analyte.conversion(form, text) is not None for analyte in ANALYTES.values() for form in analyte.forms
    )


def plain_name(text: str) -> str:
    """A name in one way of writing: lower case, signs as ``_``."""
    return re.sub(r"[^a-z0-9%]+", "_", text.lower()).strip("_")


def _plain(number: str) -> str:
    """The number of a text without its bound."""
    return number.strip().lstrip("<>=≤≥").strip()


@cache
def _names() -> Mapping[str, Forms]:
    return _index((name, (analyte, form)) for analyte, form in _all() for name in form.names)


@cache
def _codes() -> Mapping[str, Forms]:
    return _index((code, (analyte, form)) for analyte, form in _all() for code in form.loinc)


def _all() -> Iterable[tuple[Analyte, Form]]:
    return ((analyte, form) for analyte in ANALYTES.values() for form in analyte.forms)


def _index(pairs: Iterable[tuple[str, tuple[Analyte, Form]]]) -> Mapping[str, Forms]:
    index: dict[str, Forms] = {}
    for key, pair in pairs:
        index[key] = (*index.get(key, ()), pair)
    return index
