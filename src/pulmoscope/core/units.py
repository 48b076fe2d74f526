"""Units of what is measured in a patient, by their UCUM codes, with exact factors.

UCUM is the Unified Code for Units of Measure (ucum.org), in which FHIR writes units. Only what laboratories and
monitors give for the analytes of :mod:`pulmoscope.core.analytes` is here; a factor is a fraction, so that nothing is
lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Unit:
    """A unit, and how its values become those of the first unit of its kind: value · factor + offset.

    Attributes:
        code: by UCUM, where upper and lower case differ.
        factor, offset: exact.
        spellings: other ways that tables write it, in lower case.
    """

    code: str
    factor: Fraction
    offset: Fraction = Fraction(0)
    spellings: tuple[str, ...] = ()

    def written(self) -> Iterator[str]:
        """Every way to write it, by :func:`plain_spelling`."""
        for text in (self.code, *self.spellings):
            yield plain_spelling(text)


Kind = tuple[Unit, ...]
"""Units of one quantity; the first is what the others are converted to."""


_SIGNS = {"µ": "u", "μ": "u", "¹²": "*12", "²": "2", "³": "*3", "⁶": "*6", "⁹": "*9", "%": "pct", "°": "deg_"}
"""How tables write what UCUM writes in ASCII; both signs for micro."""


def plain_spelling(text: str) -> str:
    """A unit as tables write it, in one way: lower case, µ as u, every run of other signs as ``_``.

    >>> plain_spelling("µg/mL"), plain_spelling("x 10^9/L"), plain_spelling("mm[Hg]"), plain_spelling("%")
    ('ug_ml', '10_9_l', 'mm_hg', 'pct')
    """
    for sign, plain in _SIGNS.items():
        text = text.replace(sign, plain)
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"^\s*[x×]\s*(?=10)", "", text.lower())).strip("_")


def without_annotations(code: str) -> str:
    """A UCUM code without what stands in curly brackets, which says what was counted and changes no value.

    But for ``{DDU}``, a unit of D-dimer about half as large as ``{FEU}``: with it a code is none of these units.

    >>> without_annotations("10*3/uL{cells}"), without_annotations("{beats}/min"), without_annotations("{INR}")
    ('10*3/uL', '/min', '1')
    """
    bare = re.sub(r"[/.]?\{(?!DDU)[^}]*\}$|\{(?!DDU)[^}]*\}", "", code.strip())
    return bare.replace("10^", "10*").replace("1/", "/", 1) if bare else "1"


def find(units: Kind, text: str, *, ucum: bool = False) -> Unit | None:
    """The unit that a text names; None: none of these.

    Args:
        ucum: the text is a code of UCUM, in which ``mg`` and ``Mg`` differ, and ``l`` and ``L`` do not; else it may be
            as tables write it, as no two units of a kind differ by case alone.
    """
    code = re.sub(r"(^|/)([dmuf]?)l$", r"\1\2L", without_annotations(text))
    for unit in units:
        if unit.code == code:
            return unit
    spelling = plain_spelling(code)
    return None if ucum else next((unit for unit in units if spelling in unit.written()), None)


def _over(amounts: dict[str, Fraction], volumes: tuple[str, ...] = ("L", "dL", "mL")) -> Kind:
    """Amounts per volume; the first amount per litre is the first."""
    litres = {"L": Fraction(1), "dL": Fraction(1, 10), "mL": Fraction(1, 1000), "uL": Fraction(1, 10**6)}
    return tuple(
        Unit(f"{amount}/{volume}", factor / litres[volume])
        for amount, factor in amounts.items()
        for volume in volumes
    )


_TENTHS = {"": 0, "m": 3, "u": 6, "n": 9, "p": 12}


def _prefixed(unit: str) -> dict[str, Fraction]:
    return {f"{prefix}{unit}": Fraction(1, 10**tenths) for prefix, tenths in _TENTHS.items()}


MASS = _over(_prefixed("g"))
"""Mass in a volume, g/L."""
AMOUNT = _over(_prefixed("mol"))
"""Molecules in a volume, mol/L."""
IONS = (*AMOUNT, Unit("meq/L", Fraction(1, 1000)))
"""Ions of one charge in a volume, mol/L."""
ENZYME = (
    *_over(
        {"U": Fraction(1), "[IU]": Fraction(1), "[iU]": Fraction(1), "mU": Fraction(1, 1000)}, ("L", "mL")
    ),
    Unit("kat/L", Fraction(60 * 10**6)),
    Unit("ukat/L", Fraction(60)),
    Unit("nkat/L", Fraction(60, 1000)),
)
"""Activity of an enzyme in a volume, U/L; 1 U turns over 1 µmol a minute, 1 kat 1 mol a second."""
CELLS = (
    Unit("10*9/L", Fraction(1), spellings=("g/l", "giga/l", "10e9/l")),
    Unit("10*12/L", Fraction(1000), spellings=("t/l", "tera/l", "10e12/l")),
    Unit("10*6/L", Fraction(1, 1000), spellings=("10e6/l",)),
    Unit("/L", Fraction(1, 10**9), spellings=("per_l",)),
    Unit("10*3/uL", Fraction(1), spellings=("10e3/ul", "k/ul", "10*3/mm3")),
    Unit("10*6/uL", Fraction(1000), spellings=("10e6/ul", "m/ul", "10*6/mm3")),
    Unit("/uL", Fraction(1, 1000), spellings=("per_ul", "cells/ul", "per_mm3", "/mm3")),
    Unit("10*6/mL", Fraction(1), spellings=("10e6/ml",)),
    Unit("10*3/mL", Fraction(1, 1000), spellings=("10e3/ml",)),
)
"""Cells in a volume, 10⁹/L; in column names ``g_l`` is giga, ``t_l`` tera."""
FRACTION = (
    Unit("%", Fraction(1), spellings=("percent",)),
    Unit("1", Fraction(100), spellings=("fraction", "ratio")),
    Unit("L/L", Fraction(100)),
)
"""Part of a whole, %."""
NUMBER = (Unit("1", Fraction(1), spellings=("ratio",)),)
"""A number without a unit."""
PRESSURE = (
    Unit("mm[Hg]", Fraction(1), spellings=("mmhg", "torr")),
    Unit("kPa", Fraction(10**7, 1333220)),
)
"""Pressure, mm[Hg]: by UCUM 133.322 Pa."""
TEMPERATURE = (
    Unit("Cel", Fraction(1), spellings=("c", "°c", "celsius")),
    Unit("[degF]", Fraction(5, 9), Fraction(-160, 9), spellings=("f", "°f", "fahrenheit")),
    Unit("K", Fraction(1), Fraction(-27315, 100), spellings=("kelvin",)),
)
"""Temperature, Cel."""
RATE = (
    Unit("/min", Fraction(1), spellings=("per_min", "min", "bpm", "beats_per_min", "breaths_per_min")),
    Unit("/s", Fraction(60), spellings=("per_s",)),
)
"""Events in a minute."""
SEDIMENTATION = (Unit("mm/h", Fraction(1), spellings=("mm/hr", "mm/1h")),)
"""Fall of cells, mm/h."""
SECONDS = (
    Unit("s", Fraction(1), spellings=("sec", "seconds")),
    Unit("min", Fraction(60), spellings=("minutes",)),
)
"""Time, s."""
CELL_VOLUME = (Unit("fL", Fraction(1)), Unit("um3", Fraction(1)))
"""Volume of a cell, fL."""
CELL_MASS = (Unit("pg", Fraction(1)),)
"""Mass in a cell, pg."""
FILTRATION = (
    Unit("mL/min", Fraction(1), spellings=("ml/min/1.73", "ml/min/173", "ml/min/1.73m2", "ml/min/1.73 m2")),
)
"""Filtration of a body of 1.73 m², mL/min."""
AGE = (
    Unit("a", Fraction(1), spellings=("years", "year", "yr", "y")),
    Unit("mo", Fraction(1, 12), spellings=("months", "month")),
    Unit("wk", Fraction(28, 1461), spellings=("weeks", "week")),
    Unit("d", Fraction(4, 1461), spellings=("days", "day")),
)
"""Time since birth, a: by UCUM 365.25 d."""
