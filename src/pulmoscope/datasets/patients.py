"""Tables of patients: values, an outcome and a split, a row a patient or a row a time.

::

    patient, split, age_years, sex, ldh_u_l, crp_mg_l, …, died  a row a patient
    patient, hours_from_admission, ldh_u_l, …                   a row a time; the outcome stands in a second table

A column is an analyte of :mod:`pulmoscope.core.analytes` with its unit behind it, as in a file of values. Columns
``xray_extent``, ``xray_opacity``, ``xray_brixia`` and ``ct_percent`` are what an image shows. Columns of a table whose
values were scaled have no unit any more; they are called ``scaled_…`` and join with nothing.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pulmoscope.core.analytes import ANALYTES, FEMALE, MALE, Conversion
from pulmoscope.core.errors import DatasetError
from pulmoscope.core.headers import in_a_header, is_unit
from pulmoscope.core.outcome import OLDEST, SEVERITY
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.core.types import BoolArray
from pulmoscope.datasets.published_tables import HEADERS, SCALED, SCALED_TABLES
from pulmoscope.datasets.splits import assign_splits
from pulmoscope.datasets.table import Sample

PATIENT, SPLIT, HOURS, STAY, SOURCE = "patient", "split", "hours_from_admission", "stay_days", "source"
TRUTH = "true_probability"
"""How columns begin that only simulated records have: the probability that the outcome was drawn with."""
_SEXES = {
    "m": MALE,
    "male": MALE,
    "1": MALE,
    "1.0": MALE,
    "f": FEMALE,
    "female": FEMALE,
    "0": FEMALE,
    "0.0": FEMALE,
}
_DECILES = {"above 90th": 95.0, **{f"{decile}0th": 10.0 * decile for decile in range(1, 10)}}

Row = Mapping[str, str]


@dataclass(frozen=True)
class Window:
    """Which values of a table with a row a time count.

    Attributes:
        hours: taken within so many hours from admission; of several the first counts.
        before_end_hours: taken at least so many hours before the end of the stay; None: it does not matter. Else the
            last of these counts, and ``hours`` does not.
    """

    hours: float = math.inf
    before_end_hours: float | None = None


@dataclass(frozen=True)
class PatientTable:
    """Patients with their values and what became of them.

    Attributes:
        name: of the table, the file's without its ending.
        hospital: whose patients they are.
        outcome: the column of what became of them; empty: that is not read.
        names: of the values, in order of the columns.
        patients, splits: of each row.
        values: float64 (patients, names), in the catalogue's units; NaN where a value is missing.
        happened: whether the outcome was, of each patient.
        stay_days: of each patient, to death or discharge; NaN where it is unknown.
        truth: of simulated records, the probabilities that they were drawn with.
        impossible: analyte → how many values were beyond the catalogue's limits, and count as missing.
        synthetic: whether they are simulated records.
        timed: whether the table has a row a time.
    """

    name: str
    hospital: str
    outcome: str
    names: tuple[str, ...]
    patients: tuple[str, ...]
    splits: tuple[str, ...]
    values: npt.NDArray[np.float64] = field(repr=False)
    happened: BoolArray = field(repr=False)
    stay_days: npt.NDArray[np.float64] = field(repr=False)
    truth: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict, repr=False)
    impossible: Mapping[str, int] = field(default_factory=dict)
    synthetic: bool = False
    timed: bool = False

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all values, outcomes and splits; no name of a patient."""
        digest = hashlib.sha256(repr((self.names, self.splits, self.outcome)).encode())
        digest.update(self.values.tobytes() + self.happened.tobytes())
        return digest.hexdigest()

    def sums(self, names: Sequence[str]) -> dict[str, str]:
        """Of each split, and of ``all``: SHA-256 over these values to six digits, whatever the patients' order.

        It is of many patients at once and holds no ids, so it tells whether tables are the same, and of nobody whether
        he is in one.
        """
        rows = [",".join(f"{value:.6g}" for value in row) for row in self.columns(names)]
        parts = {"all": rows} | {
            split: [row for row, own in zip(rows, self.splits, strict=True) if own == split]
            for split in sorted(set(self.splits))
        }
        return {
            split: hashlib.sha256("\n".join(sorted(part)).encode()).hexdigest()
            for split, part in parts.items()
        }

    def __len__(self) -> int:
        return len(self.patients)

    def where(self, chosen: BoolArray) -> PatientTable:
        """The patients for whom ``chosen`` (patients,) is true."""
        kept = np.flatnonzero(chosen)
        return replace(
            self,
            patients=tuple(self.patients[index] for index in kept),
            splits=tuple(self.splits[index] for index in kept),
            values=self.values[kept],
            happened=self.happened[kept],
            stay_days=self.stay_days[kept],
            truth={name: values[kept] for name, values in self.truth.items()},
        )

    def split(self, *splits: str) -> PatientTable:
        """The patients of these splits; of ``all``, everyone.

        Raises:
            DatasetError: nobody is in them.
        """
        if "all" in splits:
            return self
        chosen = self.where(np.isin(self.splits, splits))
        if not len(chosen):
            raise DatasetError(f"{self.name}: no patient is in the split {' or '.join(splits)}")
        return chosen

    def columns(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """These values (patients, names); NaN where the table does not have them."""
        own = {name: index for index, name in enumerate(self.names)}
        unknown = np.full(len(self), np.nan)
        return np.stack([self.values[:, own[name]] if name in own else unknown for name in names], axis=1)


def read_patients(
    folder: Path, table: str, outcome: str = "", outcomes: str = "", window: Window = Window()
) -> PatientTable:
    """Read a table of patients.

    Args:
        folder: where it lies; or the table itself, then ``table`` is not asked for.
        table: its file name.
        outcome: the column of the outcome, 0 or 1; patients without it are left out. Empty: no outcome is read.
        outcomes: the table that has the outcome, where ``table`` has a row a time.
        window: which values of a table with a row a time count.

    Raises:
        DatasetError: there is no such table or column, or a cell is not what its column holds.
    """
    file = folder if folder.is_file() else folder / table
    rows = _rows(file)
    timed = HOURS in rows[0]
    if timed:
        statics = _rows(file.parent / outcomes) if outcomes else []
        rows = _one_a_patient(rows, {row[PATIENT]: row for row in statics}, window, file, outcome)
    return replace(_table(file, rows, outcome), timed=timed)


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream, restval="")
            rows = list(table)
    except OSError as error:
        raise DatasetError(f"{file}: the table of patients could not be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: is not a table of patients ({error})") from error
    if not rows or PATIENT not in rows[0]:
        raise DatasetError(f"{file}: a table of patients has rows and a column {PATIENT}")
    headers = list(table.fieldnames or ())
    if again := [header for index, header in enumerate(headers) if header in headers[:index]]:
        raise DatasetError(f"{file}: two columns are called {again[0]}")
    if ragged := [number for number, row in enumerate(rows, start=2) if None in row]:
        raise DatasetError(f"{file}: row {ragged[0]} has more cells than the header")
    return rows


def _one_a_patient(
    rows: Sequence[Row], statics: Mapping[str, Row], window: Window, file: Path, outcome: str
) -> list[dict[str, str]]:
    """A row a patient of those that have a value in the window: the first, or the last before the end of the stay."""
    last = window.before_end_hours is not None
    times = [_number(row[HOURS], file, HOURS) for row in rows]
    kept = _lasting(next(iter(statics.values()), {}), outcome)
    found: dict[str, dict[str, str]] = {}
    timed = [index for index in range(len(rows)) if not math.isnan(times[index])]
    for index in sorted(timed, key=lambda index: -times[index] if last else times[index]):
        row = rows[index]
        static = statics.get(row[PATIENT], {})
        own = {header: static.get(header, "") for header in kept}
        if window.before_end_hours is not None:
            end = 24 * _number(own.get(STAY, ""), file, STAY)
            if not times[index] <= end - window.before_end_hours:
                continue
        elif not times[index] <= window.hours:
            continue
        patient = found.setdefault(row[PATIENT], own)
        for header, text in row.items():
            patient[header] = patient.get(header) or text
    for patient in found.values():
        del patient[HOURS]
    if not found:
        raise DatasetError(f"{file}: no value was taken in the time that is asked for")
    return [found[name] for name in sorted(found)]


def _lasting(headers: Iterable[str], outcome: str) -> list[str]:
    """Columns of what is the same at all times: no values but age and sex."""
    kept = {PATIENT, SPLIT, STAY, SOURCE, outcome}
    return [
        header
        for header in headers
        if header in kept or ((found := _analyte(header)) is not None and found[0] in ("age", "sex"))
    ]


def _table(file: Path, rows: Sequence[Row], outcome: str) -> PatientTable:
    if outcome:
        if outcome not in rows[0]:
            raise DatasetError(f"{file}: has no column {outcome} for the outcome")
        rows = [row for row in rows if row[outcome].strip()]
        several = [name for name, count in Counter(row[PATIENT] for row in rows).items() if count > 1]
        if several:
            raise DatasetError(
                f"{file}: has several rows for {len(several)} patients; one row a patient, or a column {HOURS}"
            )
    columns = dict(_columns(rows[0] if rows else {}, file, outcome))
    values = np.array(
        [[_value(row[header], header, name, file) for header, (name, _) in columns.items()] for row in rows]
    ).reshape(len(rows), len(columns))
    for index, (_, conversion) in enumerate(columns.values()):
        if conversion is not None:
            values[:, index] = values[:, index] * float(conversion.factor) + float(conversion.offset)
    names = tuple(name for name, _ in columns.values())
    impossible = _without_impossible(names, values)
    happened = np.array(
        [_happened(row[outcome], file, outcome) if outcome else False for row in rows], dtype=bool
    )
    sources = {row.get(SOURCE, "") for row in rows} - {""}
    truth = [name for name in (rows[0] if rows else ()) if name.startswith(TRUTH)]
    return PatientTable(
        file.stem,
        "several" if len(sources) > 1 else next(iter(sources), file.stem),
        outcome,
        names,
        tuple(row[PATIENT] for row in rows),
        _splits(rows, happened),
        values,
        happened,
        np.array([_number(row.get(STAY, ""), file, STAY) for row in rows]),
        {name: np.array([_number(row[name], file, name) for row in rows]) for name in truth},
        impossible,
        SYNTHETIC_SOURCE in sources,
    )


def _without_impossible(names: Sequence[str], values: npt.NDArray[np.float64]) -> dict[str, int]:
    """Make values beyond the limits of their analyte missing, in place; how many there were of each.

    The oldest patients become of the age :data:`~pulmoscope.core.outcome.OLDEST`.
    """
    counts = {}
    for index, name in enumerate(names):
        if name in ANALYTES:
            low, high = ANALYTES[name].low, ANALYTES[name].high
        elif name in SEVERITY:
            low, high = 0.0, SEVERITY[name][2]
        else:
            continue
        beyond = (values[:, index] < low) | (values[:, index] > high)
        values[beyond, index] = np.nan
        if name == "age":
            values[:, index] = np.minimum(values[:, index], OLDEST)
        if beyond.any():
            counts[name] = int(beyond.sum())
    return counts


def _columns(headers: Row, file: Path, outcome: str) -> Iterator[tuple[str, tuple[str, Conversion | None]]]:
    """Each header of a value with the value's name and how it becomes one of the catalogue's unit."""
    scaled, names = SCALED_TABLES.get(file.stem, ()), HEADERS.get(file.stem, {})
    known: set[str] = set()
    for header in headers:
        if header == outcome or header in (PATIENT, SPLIT, HOURS, STAY, SOURCE):
            continue
        if header in scaled:
            found: tuple[str, Conversion | None] | None = (SCALED + header, None)
        elif scaled:
            continue
        else:
            found = (header, None) if header in SEVERITY else _analyte(names.get(header, header), file)
        if found is None:
            continue
        if found[0] in known:
            raise DatasetError(f"{file}: two columns hold {found[0]} (the second: {header})")
        known.add(found[0])
        yield header, found


def _analyte(header: str, file: Path | None = None) -> tuple[str, Conversion] | None:
    """The analyte that a header names, and its unit's conversion; None where it names none.

    Raises:
        DatasetError: it names one without its unit, or with one that it is not measured in; where ``file`` is given.
    """
    forms, unit = in_a_header(header)
    for analyte, form in forms:
        conversion = analyte.conversion(form, unit or "1") if unit or not analyte.needs_unit else None
        if conversion is not None:
            return analyte.name, conversion
    if file is not None and forms and (not unit or is_unit(unit)):
        raise DatasetError(f"{file}: {header} needs a unit that {forms[0][0].name} is measured in")
    return None


def _value(text: str, header: str, name: str, file: Path) -> float:
    cell = text.strip().lower()
    if name == "sex" and cell:
        if cell not in _SEXES:
            raise DatasetError(f"{file}: {header} is M or F, and in a cell it is neither")
        return _SEXES[cell]
    return _DECILES[cell] if cell in _DECILES else _number(text, file, header)


def _number(text: str, file: Path, header: str) -> float:
    """NaN of an empty cell, and of infinity: beyond what the test measures.

    What a cell holds instead of a number is not told: where cells have moved, it may be a name.
    """
    try:
        value = float(text) if text.strip() else math.nan
    except ValueError:
        raise DatasetError(f"{file}: {header} is a number, and a cell holds none") from None
    return value if math.isfinite(value) else math.nan


def _happened(text: str, file: Path, header: str) -> bool:
    value = _number(text, file, header)
    if value not in (0, 1):
        raise DatasetError(f"{file}: {header} is what is predicted, 0 or 1, and a cell holds neither")
    return bool(value)


def _splits(rows: Sequence[Row], happened: BoolArray) -> tuple[str, ...]:
    """The table's own; where it has none, drawn by patient, each outcome shared out."""
    if rows and SPLIT in rows[0]:
        return tuple(row[SPLIT].strip() for row in rows)
    samples = [
        Sample(row[PATIENT], str(outcome), "", row[PATIENT], "")
        for row, outcome in zip(rows, happened, strict=True)
    ]
    return tuple(sample.split for sample in assign_splits(samples))
