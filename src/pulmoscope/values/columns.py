"""The columns of a wide table, and whether two of them were swapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from pulmoscope.core.types import Flag
from pulmoscope.values.measures import Measure, parsed
from pulmoscope.values.records import left_out

_LEAST_ROWS = 10
"""So many rows tell lymphocytes from neutrophils: one patient's may be the other way round."""
_MOST = 0.8
"""The fraction of a column's values that must tell that it is another one's."""


@dataclass(frozen=True)
class Column:
    """A column of a wide table.

    Attributes:
        place: counted from 0.
        measure: what it holds.
    """

    place: int
    measure: Measure


def swapped(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> tuple[list[Column], list[Flag]]:
    """The columns that hold another's values, and a flag for each two.

    Two were swapped where most values of each are impossible in their own column and possible in the other's; or where
    most patients have more lymphocytes than neutrophils, which adults have not.
    """
    found: list[Column] = []
    flags = []
    by_name = {column.measure.analyte.name: column for column in columns}
    strange = [column for column in columns if _fitting(column, column, rows) <= 1 - _MOST]
    pairs = [
        (one, other)
        for one, other in combinations(strange, 2)
        if min(_fitting(one, other, rows), _fitting(other, one, rows)) >= _MOST
    ]
    for part in ("", "_fraction"):
        fewer, more = by_name.get(f"lymphocytes{part}"), by_name.get(f"neutrophils{part}")
        if fewer is not None and more is not None and _crossed(fewer, more, rows):
            pairs.append((fewer, more))
    for one, other in pairs:
        found += [one, other]
        names = " and ".join(column.measure.analyte.name for column in (one, other))
        finding = f"columns {one.place + 1} and {other.place + 1}, {names}, look swapped; both are left out"
        flags.append(left_out("swapped-columns", finding))
    return found, flags


def _fitting(of: Column, into: Column, rows: Sequence[Sequence[str]]) -> float:
    """The fraction of a column's values that are possible in a column; 1 where it has none."""
    values = [value for row in rows if (value := _value(of, row)) is not None]
    return sum(map(into.measure.fits, values)) / len(values) if values else 1.0


def _crossed(fewer: Column, more: Column, rows: Sequence[Sequence[str]]) -> bool:
    """Whether in most rows there is more of what there should be less of."""
    pairs = list(_pairs(fewer, more, rows))
    higher = sum(less > greater for less, greater in pairs)
    return len(pairs) >= _LEAST_ROWS and higher >= _MOST * len(pairs)


def _pairs(one: Column, other: Column, rows: Sequence[Sequence[str]]) -> Iterator[tuple[float, float]]:
    for row in rows:
        first, second = _value(one, row), _value(other, row)
        if first is not None and second is not None:
            yield one.measure.number(first), other.measure.number(second)


def _value(column: Column, row: Sequence[str]) -> Fraction | None:
    read = parsed(row[column.place])
    return None if read is None else read[1]
