"""From what a file calls an analyte, and a number in some unit, to a value in the analyte's own unit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from pulmoscope.core.analytes import FEMALE, MALE, Analyte, Conversion
from pulmoscope.core.headers import Forms
from pulmoscope.core.types import Flag, FlagLevel
from pulmoscope.values.records import Given, left_out

_NUMBER = re.compile(r"([<>]=?|[≤≥])?\s*([+-]?\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,2})?)")
_BOUNDS = {"≤": "<=", "≥": ">="}
_SEX = {"m": MALE, "male": MALE, "f": FEMALE, "female": FEMALE}
_OTHER_METHODS = {"14805-6": "by pyruvate to lactate, about twice what lactate to pyruvate gives"}
"""LOINC codes whose values are not those of their analyte's usual method, and how they differ."""
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
            rule = "the decimal sign is a point" if "," in number else ""
            return left_out("not-a-number", f"{where}: {name} is no number", rule)
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


def method_flags(codes: Iterable[str], where: str) -> list[Flag]:
    """What to mind of a value with these LOINC codes: how it was measured."""
    return [
        Flag("other-method", FlagLevel.WARN, f"{where}: measured {_OTHER_METHODS[code]}; used as it is")
        for code in codes
        if code in _OTHER_METHODS
    ]


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


def _plain(number: str) -> str:
    """The number of a text without its bound."""
    return number.strip().lstrip("<>=≤≥").strip()
