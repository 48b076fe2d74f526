"""Values of one time that can't all be true."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from pulmoscope.core.types import Flag
from pulmoscope.core.values import ClinicalValue
from pulmoscope.values.records import left_out

_CELLS = ("neutrophils", "lymphocytes", "monocytes", "eosinophils", "basophils")
_FRACTIONS = tuple(f"{cell}_fraction" for cell in _CELLS)
_MOST_PERCENT = 101.5
"""Of the fractions' sum: each may be rounded."""
_ROUNDED = 1.1
"""By what factor counts may exceed the leukocytes: they are counted and rounded each by itself."""
_OFF = 1.5
"""A count that differs by this factor from leukocytes times fraction is another cell's, or in another unit."""

Numbers = Mapping[str, float]
Rule = Callable[[Numbers], Iterator[tuple[frozenset[str], str, str]]]
"""Of the numbers of one time: names that contradict each other, what was found, and the rule."""


def without_contradictions(values: Sequence[ClinicalValue]) -> tuple[list[ClinicalValue], list[Flag]]:
    """The values without those that contradict each other, and why these were left out.

    Only values that were taken at one time, and are no mere bounds, are held against each other.
    """
    held = list(values)
    flags = []
    for rule in (_pressures, _exchanged, _too_little, _too_much, _too_many):
        for names, flag in _found(rule, held):
            held = [value for value in held if value.name not in names]
            flags.append(flag)
    return held, flags


def _found(rule: Rule, values: Sequence[ClinicalValue]) -> Iterator[tuple[frozenset[str], Flag]]:
    """What a rule finds in the values of each time: which, and why they are left out."""
    times = dict.fromkeys(value.hours for value in values)
    for time in times:
        numbers = {value.name: value.value for value in values if value.hours == time and not value.bound}
        for names, finding, expected in rule(numbers):
            yield names, left_out("contradicting-values", finding, expected)


def _pressures(numbers: Numbers) -> Iterator[tuple[frozenset[str], str, str]]:
    """A diastolic pressure that is no lower than the systolic one."""
    names = ("systolic_pressure", "diastolic_pressure")
    if all(name in numbers for name in names) and numbers[names[0]] <= numbers[names[1]]:
        yield frozenset(names), "systolic and diastolic pressure look swapped", "the systolic one is higher"


def _exchanged(numbers: Numbers) -> Iterator[tuple[frozenset[str], str, str]]:
    """Counts of two kinds of cells that fit the other's fraction, and not their own."""
    if "leukocytes" not in numbers:
        return
    known = [cell for cell in _CELLS if cell in numbers and f"{cell}_fraction" in numbers]
    for place, one in enumerate(known):
        for other in known[place + 1 :]:
            own = [_off(numbers, cell, cell) for cell in (one, other)]
            crossed = [_off(numbers, one, other), _off(numbers, other, one)]
            if min(own) > _OFF and max(crossed) < _ROUNDED:
                names = frozenset({one, other, f"{one}_fraction", f"{other}_fraction"})
                finding = f"{one} and {other} look swapped, in counts or in percent"
                yield names, finding, "a count is the fraction of the leukocytes"


def _off(numbers: Numbers, count: str, fraction: str) -> float:
    """By what factor a count differs from a fraction of the leukocytes; 1 and more."""
    counted, expected = numbers[count], numbers["leukocytes"] * numbers[f"{fraction}_fraction"] / 100
    if min(counted, expected) <= 0:
        return 1.0 if counted == expected else float("inf")
    return max(counted / expected, expected / counted)


def _too_little(numbers: Numbers) -> Iterator[tuple[frozenset[str], str, str]]:
    """Neutrophils and lymphocytes, most of the leukocytes, that come to 1 % at most, as fractions of 1 do."""
    known = [name for name in _FRACTIONS if name in numbers]
    total = sum(numbers[name] for name in known)
    if {"neutrophils_fraction", "lymphocytes_fraction"} <= set(known) and 0 < total <= _MOST_PERCENT / 100:
        finding = f"{', '.join(known)} come to {total:.2f} %, which look like fractions of 1"
        yield frozenset(known), finding, "neutrophils and lymphocytes are most of the leukocytes"


def _too_much(numbers: Numbers) -> Iterator[tuple[frozenset[str], str, str]]:
    """Fractions of the leukocytes that come to more than all of them."""
    known = [name for name in _FRACTIONS if name in numbers]
    total = sum(numbers[name] for name in known)
    if total > _MOST_PERCENT:
        yield frozenset(known), f"{', '.join(known)} come to {total:.1f} %", "100 % of the leukocytes at most"


def _too_many(numbers: Numbers) -> Iterator[tuple[frozenset[str], str, str]]:
    """More cells of some kinds than there are leukocytes."""
    known = [cell for cell in _CELLS if cell in numbers]
    total = sum(numbers[cell] for cell in known)
    if "leukocytes" in numbers and total > numbers["leukocytes"] * _ROUNDED + 0.1:
        finding = f"{', '.join(known)} come to {total:.2f} 10*9/L, leukocytes are {numbers['leukocytes']:.2f}"
        yield frozenset({*known, "leukocytes"}), finding, "no more than the leukocytes"
