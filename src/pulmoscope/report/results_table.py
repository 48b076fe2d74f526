"""A run as a table for spreadsheets: ``results.csv``, one line an input, in the order of ``index.json``."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pulmoscope.core.files import growing

COLUMNS = (
    "input",
    "outcome",
    "modality",
    "label",
    "probability",
    "decision",
    "reason",
    "not_ruled_out",
    "quality",
    "flags",
    "percent_affected",
    "percent_low",
    "percent_high",
    "grade",
    "geographic_extent",
    "opacity",
    "brixia",
    "values",
    "model",
    "model_version",
    "code",
    "finding",
    "rule",
    "report",
)
"""What they mean: ``docs/results-table.md``. New ones are added at the end."""

MARK = b"input,outcome,modality,label,probability,decision,"
"""How every version's table begins."""

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a cell begins that a spreadsheet may compute (OWASP, «CSV Injection»)."""


@contextmanager
def table(path: Path) -> Iterator[Callable[[str], None]]:
    """The table of a run, in place once the block ends: gives what adds an input's :func:`line`.

    Lines go to the disk as they come, so that a table of any length needs no memory.

    Raises:
        ResourceError: the disk is full or the folder can't be written.
    """
    with growing(path) as add:
        add(_line(COLUMNS))
        yield add


def line(entry: Mapping[str, Any], plain: Mapping[str, Any] | None) -> str:
    """The line of one input, ended as RFC 4180 says.

    Args:
        entry: the input in ``index.json``.
        plain: its ``diagnosis.json``; None where it was refused.
    """
    cells = {**entry, **(entry.get("severity") or {}), **({} if plain is None else _more(plain))}
    return _line([_cell(cells.get(column)) for column in COLUMNS])


def _more(plain: Mapping[str, Any]) -> dict[str, Any]:
    """What the index leaves to ``diagnosis.json``."""
    prediction, fitting = plain["prediction"], plain["prediction"].get("set")
    low, high = (plain["severity"] or {}).get("interval") or (None, None)
    flags = [*plain["quality"]["flags"], *plain["limits"]]
    return {
        "reason": prediction["reason"],
        "not_ruled_out": None if fitting is None else "; ".join(fitting["classes"]),
        "flags": "; ".join(dict.fromkeys(flag["code"] for flag in flags)),
        "percent_low": low,
        "percent_high": high,
        "model_version": plain["model"]["version"],
    }


def _cell(value: Any) -> str:
    """A value as text that no spreadsheet computes: an apostrophe stands before what begins as a formula does."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def _line(cells: Sequence[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\r\n").writerow(cells)
    return stream.getvalue()
