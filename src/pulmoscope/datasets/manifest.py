"""The layout ``manifest``: one CSV file that names every image."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import csv_text, write_text
from pulmoscope.datasets.infected import infected_ranges
from pulmoscope.datasets.table import SPLITS, Boxes, Sample, SampleTable

NAME = "manifest.csv"
BOXES = "boxes.csv"
COLUMNS = ("file", "label", "split", "patient", "source")
_OPTIONAL = ("infected", "hospital")
_PATIENT = ("age", "sex", "view")
"""Optional columns with what is known of the patient and the projection."""
_SEX = {"f": "female", "female": "female", "w": "female", "m": "male", "male": "male"}
_UNKNOWN = frozenset({"", "unknown", "u", "na", "n/a", "nan", "none"})
OLDEST = 130
"""Years; what is more is no age."""
_UNREAD = {"": False, "yes": True}
"""What the optional column ``unread`` may say."""
LUNGS = ("mask", "lungs", "lung_mask")
"""Columns that may name an image's lung mask; the first that does counts."""
LESIONS = ("lesions", "lesion_mask", "ggo", "consolidation")
"""Columns that may name masks of what is diseased; in each, several are separated by semicolons."""
BOX_COLUMNS = ("file", "x0", "y0", "x1", "y1")


def recognise(path: Path) -> bool:
    """A CSV file, or a folder with a ``manifest.csv``."""
    return (path.is_file() and path.suffix.lower() == ".csv") or (path / NAME).is_file()


def read(path: Path) -> SampleTable:
    """Read a manifest; files are relative to it, or absolute. ``boxes.csv`` beside it names boxes around opacities.

    Raises:
        DatasetError: a column is missing, the table is empty, a file is named twice, a split has another name
            than train, val, test or all, unread is not yes or empty, infected slices are not written like
            ``12-40,45``, or a box is no box.
    """
    file = path / NAME if path.is_dir() else path
    rows = read_csv(file, COLUMNS)
    boxes, ignored = _boxes_beside(file.with_name(BOXES))
    samples: list[Sample] = []
    seen: dict[str, int] = {}
    for line, row in rows:
        named: dict[str, Any] = {name: row[name] for name in (*COLUMNS, *_OPTIONAL) if name in row}
        unread = row.get("unread", "")
        if unread not in _UNREAD:
            raise DatasetError(f"{file}, line {line}: unread must be yes or empty (found: {unread})")
        sample = Sample(
            **named,
            **patient_facts(row),
            mask=next((row[name] for name in LUNGS if row.get(name)), ""),
            unread=_UNREAD[unread],
            boxes=boxes.get(row["file"], ()),
            lesions=tuple(
                path.strip() for name in LESIONS for path in row.get(name, "").split(";") if path.strip()
            ),
        )
        if not sample.file:
            raise DatasetError(f"{file}, line {line}: column file must not be empty")
        if sample.split not in SPLITS:
            raise DatasetError(
                f"{file}, line {line}: split must be train, val, test, all or empty (found: {sample.split})"
            )
        if sample.file in seen:
            raise DatasetError(
                f"{file}, line {line}: a file is named once (found: {sample.file} also in line {seen[sample.file]})"
            )
        try:
            infected_ranges(sample.infected)
        except ValueError as error:
            raise DatasetError(f"{file}, line {line}: {error}") from error
        seen[sample.file] = line
        samples.append(sample)
    warnings = [*_warnings(samples), *ignored]
    if strange := [name for name in boxes if name not in seen]:
        warnings.append(f"{BOXES}: {len(strange)} files are not in {file.name}, e.g. {strange[0]}")
    return SampleTable(file.parent, "manifest", tuple(samples), tuple(warnings))


def patient_facts(row: Mapping[str, str]) -> dict[str, Any]:
    """Age, sex and view of a row, as :class:`Sample` has them; what is no such value is not known.

    >>> patient_facts({"age": "62", "sex": "F", "view": "ap"})
    {'age': 62.0, 'sex': 'female', 'view': 'AP'}
    >>> patient_facts({"age": "about 60", "sex": "unknown"})
    {'age': None, 'sex': '', 'view': ''}
    """
    age, sex, view = (row.get(name, "") for name in _PATIENT)
    try:
        years = float(age)
    except ValueError:
        years = math.nan
    return {
        "age": years if 0 <= years <= OLDEST else None,
        "sex": "" if sex.lower() in _UNKNOWN else _SEX.get(sex.lower(), sex),
        "view": "" if view.lower() in _UNKNOWN else view.upper(),
    }


def _boxes_beside(file: Path) -> tuple[dict[str, Boxes], list[str]]:
    """The boxes beside a manifest; a table of another kind that has their name is ignored, with a warning."""
    try:
        return read_boxes(file), []
    except _NoTableError as error:
        return {}, [f"{BOXES} is ignored: {error}"]


def _warnings(samples: Sequence[Sample]) -> list[str]:
    """What the reader of the table should know about its gaps."""
    warnings = patient_warnings(samples)
    unlabelled = sum(not sample.label for sample in samples)
    if unlabelled:
        warnings.append(f"no label: {unlabelled} of {len(samples)} images")
    unsplit = sum(not sample.split for sample in samples)
    if 0 < unsplit < len(samples):
        warnings.append(f"no split: {unsplit} of {len(samples)} images belong to no split and are left aside")
    return warnings


def patient_warnings(samples: Sequence[Sample]) -> list[str]:
    """A line when patients are unknown: then splits can't be known to be by patient."""
    unknown = sum(not sample.patient for sample in samples)
    if not unknown:
        return []
    return [
        f"no patient ids: {unknown} of {len(samples)} images; a patient may be in two splits without being seen"
    ]


def write(path: Path, samples: Sequence[Sample]) -> None:
    """Write a manifest atomically.

    Raises:
        ResourceError: it can't be written.
    """
    optional = ("mask", *_OPTIONAL, "unread", *_PATIENT, "lesions")
    columns = [
        *COLUMNS,
        *(name for name in optional if any(_cell(getattr(sample, name)) for sample in samples)),
    ]
    rows = ([_cell(getattr(sample, name)) for name in columns] for sample in samples)
    write_text(path, csv_text(columns, rows))


def _cell(value: str | bool | float | tuple[str, ...] | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, tuple):
        return ";".join(value)
    return "" if value is None else value if isinstance(value, str) else f"{value:g}"


def write_table(path: Path, table: SampleTable) -> None:
    """Write a table as a manifest: files below the manifest's folder relative to it, all others absolute.

    Raises:
        ResourceError: it can't be written.
    """
    write(path, _placed(table, path.parent))


def _placed(table: SampleTable, folder: Path) -> list[Sample]:
    """The samples with their files as a manifest in this folder names them."""
    root, folder = table.root.resolve(), folder.resolve()

    def place(file: str) -> str:
        whole = root / file
        return whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else str(whole)

    return [
        replace(
            sample,
            file=place(sample.file),
            mask=place(sample.mask) if sample.mask else "",
            lesions=tuple(map(place, sample.lesions)),
        )
        for sample in table
    ]


class _NoTableError(DatasetError):
    """A file is not a table with the columns that were asked for."""


def read_csv(file: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with their line numbers; values stripped, columns in lower case.

    Raises:
        DatasetError: not a CSV in UTF-8, a column is missing, there is no row, or a row is short or long.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = [name.strip().lower() for name in next(reader, [])]
            missing = [name for name in columns if name not in header]
            if missing:
                present = ", ".join(header) or "an empty file"
                raise _NoTableError(f"{file}, line 1: needs column {', '.join(missing)} (found: {present})")
            rows = []
            for values in reader:
                if not any(values):
                    continue
                if len(values) != len(header):
                    raise DatasetError(
                        f"{file}, line {reader.line_num}: a row has as many values as the header, {len(header)} "
                        f"(found: {len(values)})"
                    )
                row = dict(zip(header, (value.strip() for value in values), strict=True))
                rows.append((reader.line_num, row))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _NoTableError(f"{file}: must be a CSV file in UTF-8 (found: {error})") from error
    if not rows:
        raise _NoTableError(f"{file}: a table has at least one row below its header (found: none)")
    return rows


def read_boxes(file: Path) -> dict[str, Boxes]:
    """Readers' boxes by file, in pixels of the image as it is stored; none where the list is not there.

    Raises:
        DatasetError: a column is missing, a value is no number, or a box has no area.
    """
    if not file.is_file():
        return {}
    boxes: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    for line, row in read_csv(file, BOX_COLUMNS):
        try:
            left, top, right, bottom = (float(row[name]) for name in BOX_COLUMNS[1:])
        except ValueError as error:
            raise DatasetError(f"{file}, line {line}: a box is four numbers ({error})") from error
        if not (-math.inf < left < right < math.inf and -math.inf < top < bottom < math.inf):
            raise DatasetError(
                f"{file}, line {line}: a box goes from left to right and from top to bottom "
                f"(found: {left:g}, {top:g}, {right:g}, {bottom:g})"
            )
        boxes[row["file"]].append((left, top, right, bottom))
    return {name: tuple(listed) for name, listed in boxes.items()}
