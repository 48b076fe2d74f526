"""A table of values as CSV: wide, a column an analyte with its unit in the header; or long, a row a value."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pulmoscope.core.errors import UnreadableError
from pulmoscope.core.facts import patient_sum
from pulmoscope.core.headers import coded, in_a_header, is_unit, named, plain_name
from pulmoscope.core.types import Flag
from pulmoscope.core.values import Moment
from pulmoscope.values.columns import Column, swapped
from pulmoscope.values.measures import is_missing, measure, method_flags, parsed, sex_of, without_unit
from pulmoscope.values.records import Given, Record, left_out

_PATIENT, _FILE, _SHA256, _TIME, _HOURS = "patient", "file", "sha256", "time", "hours_from_image"
_NAME, _CODE, _VALUE, _UNIT = "name", "code", "value", "unit"
_MEANINGS = {
    "patient_id": _PATIENT,
    "image": _FILE,
    "taken": _TIME,
    "datetime": _TIME,
    "loinc": _CODE,
    "analyte": _NAME,
    **{name: name for name in (_PATIENT, _FILE, _SHA256, _TIME, _HOURS, _NAME, _CODE, _VALUE, _UNIT)},
}
_LINKS = (_PATIENT, _FILE, _SHA256, _TIME, _HOURS)
"""Whose a row is, and of when."""
_ROWS_NAMED = 5
"""Of many rows with the same fault so many are told by their number."""


@dataclass(frozen=True)
class _Table:
    """A header's cells, the rows with their numbers as a spreadsheet counts them, and the meaning of each column."""

    name: str
    header: Sequence[str]
    rows: Sequence[tuple[int, Sequence[str]]]
    meanings: Mapping[str, int]

    def cell(self, row: Sequence[str], meaning: str) -> str:
        """What a row has in the column of a meaning; empty where there is none."""
        return row[self.meanings[meaning]].strip() if meaning in self.meanings else ""


def read_table(name: str, text: str) -> tuple[list[Record], list[Flag]]:
    """The records of a table, and what of it is not read.

    Args:
        name: the file, for messages.

    Raises:
        UnreadableError: it is no table, or what a column means is unclear.
    """
    table, remarks = _read(name, text)
    if _VALUE in table.meanings and {_NAME, _CODE} & table.meanings.keys():
        return _long(table), remarks
    columns, unknown = _columns(table)
    if unknown:
        finding = f"{_numbers('column', unknown)}: no analyte with its unit; left out"
        remarks.append(left_out("unknown-column", finding))
    crossed, flags = swapped(columns, [row for _, row in table.rows])
    kept = [column for column in columns if column not in crossed]
    return [_wide(table, kept, number, row) for number, row in table.rows], [*remarks, *flags]


def _read(name: str, text: str) -> tuple[_Table, list[Flag]]:
    """The cells of a table, without rows that can't be trusted.

    Raises:
        UnreadableError: its cells can't be told apart, or two columns have one name.
    """
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        header, *rest = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)) or [[]]
    except csv.Error:
        raise UnreadableError(name, "values-file", "damaged: its quotes or lines don't fit CSV") from None
    names = [_meaning(cell) or plain_name(cell) for cell in header]
    if again := [place for place, one in enumerate(names, start=1) if one and one in names[: place - 1]]:
        raise UnreadableError(name, "values-columns", f"column {again[0]} means the same as another column")
    meanings = {one: place for place, one in enumerate(names) if one in _MEANINGS.values()}
    rows = [(number, row) for number, row in enumerate(rest, start=2) if any(cell.strip() for cell in row)]
    ragged = [number for number, row in rows if len(row) != len(header)]
    finding, rule = f"{_numbers('row', ragged)}: left out", f"{len(header)} cells in a row, as in the header"
    remarks = [left_out("ragged-row", finding, rule)] if ragged else []
    whole = [(number, row) for number, row in rows if len(row) == len(header)]
    return _Table(name, header, whole, meanings), remarks


def _meaning(cell: str) -> str:
    return _MEANINGS.get(plain_name(cell), "")


def _numbers(what: str, numbers: Sequence[int]) -> str:
    """Some of many numbers, and how many more there are."""
    more = f" and {len(numbers) - _ROWS_NAMED} more" if len(numbers) > _ROWS_NAMED else ""
    return f"{what} {', '.join(map(str, numbers[:_ROWS_NAMED]))}{more}"


def _columns(table: _Table) -> tuple[list[Column], list[int]]:
    """The columns of a wide table that hold values, and the places, from 1, of those that nobody knows.

    Raises:
        UnreadableError: an analyte has no unit, or one that it is not measured in; or there is no analyte.
    """
    columns, unknown = [], []
    for place, cell in enumerate(table.header):
        if not cell.strip() or _meaning(cell) in _LINKS:
            continue
        forms, unit = in_a_header(cell)
        found = (measure(forms, unit) if unit else without_unit(forms)) if forms else None
        if found is not None:
            columns.append(Column(place, found))
        elif forms and (not unit or is_unit(unit) or "[" in cell or "(" in cell):
            analyte = forms[0][0]
            what = "a unit that it is not measured in" if unit else "no unit in the header"
            finding, rule = (
                f"column {place + 1}, {analyte.name}: {what}",
                f"such as {analyte.name} [{analyte.unit}]",
            )
            raise UnreadableError(table.name, "values-unit", finding, rule)
        else:
            unknown.append(place + 1)
    names = Counter(column.measure.analyte.name for column in columns)
    if again := [name for name, count in names.items() if count > 1]:
        raise UnreadableError(table.name, "values-columns", f"{len(again) + 1} columns hold {again[0]}")
    if not columns:
        rule = "a column an analyte, such as crp_mg_l; or columns name or code, value and unit"
        raise UnreadableError(table.name, "values-columns", "no column holds a value that is known", rule)
    return columns, unknown


def _wide(table: _Table, columns: Sequence[Column], number: int, row: Sequence[str]) -> Record:
    """The record of a row."""
    record, taken, hours, flags = _whose(table, number, row)
    values: list[Given] = []
    for column in () if flags else columns:
        cell = row[column.place].strip()
        if is_missing(cell):
            continue
        where = f"row {number}"
        found = (
            sex_of(cell, where) if column.measure.analyte.name == "sex" else column.measure.given(cell, where)
        )
        if isinstance(found, Flag):
            flags.append(found)
        else:
            values.append(replace(found, taken=taken, hours=hours))
    return replace(record, values=tuple(values), flags=tuple(flags))


def _whose(
    table: _Table, number: int, row: Sequence[str]
) -> tuple[Record, Moment | None, float | None, list[Flag]]:
    """Whose a row is, when it was taken, how far from the image, and what of that is no time: then it can't be used."""
    flags: list[Flag] = []
    patient, file, sha256, taken, hours = (_known(table.cell(row, meaning)) for meaning in _LINKS)
    moment = Moment.of(taken)
    if moment is None and taken:
        rule = "such as 2020-03-14 or 2020-03-14T10:30"
        flags.append(left_out("not-a-time", f"row {number}: its time can't be read; left out", rule))
    from_image = parsed(hours)
    if hours and (from_image is None or from_image[0]):
        flags.append(left_out("not-a-time", f"row {number}: hours_from_image is no number; left out"))
    record = Record(frozenset({patient_sum(patient)} if patient else ()), file, sha256.lower())
    return record, moment, None if from_image is None else float(from_image[1]), flags


def _known(cell: str) -> str:
    """A cell; empty where it says that there is nothing: «NA» is no patient."""
    return "" if is_missing(cell) else cell


def _long(table: _Table) -> list[Record]:
    """The records of a long table: of each patient and image one; the whole table is one where no row says whose."""
    held: dict[Record, tuple[list[Given], list[Flag]]] = {}
    for number, row in table.rows:
        record, taken, hours, flags = _whose(table, number, row)
        values, all_flags = held.setdefault(record, ([], []))
        all_flags += flags
        if flags or is_missing(table.cell(row, _VALUE)):
            continue
        found = _value(table, number, row)
        if isinstance(found, Flag):
            all_flags.append(found)
        else:
            values.append(replace(found, taken=taken, hours=hours))
            all_flags += method_flags([table.cell(row, _CODE)], f"row {number}")
    return [
        replace(record, values=tuple(values), flags=tuple(flags)) for record, (values, flags) in held.items()
    ]


def _value(table: _Table, number: int, row: Sequence[str]) -> Given | Flag:
    """The value of a long table's row."""
    where, name, code = f"row {number}", table.cell(row, _NAME), table.cell(row, _CODE)
    by_name, by_code = named(name), coded(code)
    if by_name and by_code and by_code[0][0].name not in {analyte.name for analyte, _ in by_name}:
        return left_out("unknown-analyte", f"{where}: name and code are of two analytes")
    forms = by_code or by_name
    if not forms:
        return left_out("unknown-analyte", f"{where}: neither a name nor a LOINC code of the catalogue")
    if forms[0][0].name == "sex":
        return sex_of(table.cell(row, _VALUE), where)
    unit = table.cell(row, _UNIT)
    found = measure(forms, unit) if unit else without_unit(forms)
    if found is None:
        analyte = forms[0][0]
        what = "a unit that it is not measured in" if unit else "no unit"
        return left_out("wrong-unit", f"{where}: {analyte.name} has {what}", f"such as {analyte.unit}")
    return found.given(table.cell(row, _VALUE), where)
