"""Rows of the spreadsheets that data sets come with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.manifest import read_csv


def read_xlsx(sheet: Path) -> list[list[Any]]:
    """All rows of a workbook's first sheet, header included; empty cells are None.

    Raises:
        DatasetError: not a spreadsheet.
    """
    from zipfile import BadZipFile

    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(sheet, read_only=True, data_only=True)
        try:
            return [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]
        finally:
            book.close()
    except (OSError, BadZipFile, InvalidFileException, KeyError, ValueError, IndexError) as error:
        raise DatasetError(f"{sheet}: must be an .xlsx spreadsheet (found: {error})") from error


def read_rows(file: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file or a spreadsheet with their line numbers; values stripped, columns in lower case.

    Args:
        columns: the columns that must be there, in lower case.

    Raises:
        DatasetError: it can't be read, a column is missing, or a CSV file has no row.
    """
    if file.suffix.lower() != ".xlsx":
        return read_csv(file, columns)
    rows = read_xlsx(file)
    header = [_text(value).lower() for value in rows[0]] if rows else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise DatasetError(
            f"{file}, row 1: needs column {', '.join(missing)} (found: {', '.join(header) or 'an empty sheet'})"
        )
    return [
        (line, dict(zip(header, map(_text, row), strict=False)))
        for line, row in enumerate(rows[1:], start=2)
        if any(row)
    ]


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def read_lines(listing: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        DatasetError: it can't be read, or is not in UTF-8.
    """
    try:
        return listing.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{listing}: must be a text file in UTF-8 (found: {error})") from error


def stem_of(name: str) -> str:
    """A picture's name in lower case, without its suffix; sheets and folders do not always agree on these."""
    return re.sub(r"\.(png|jpe?g)$", "", name.strip().lower())
