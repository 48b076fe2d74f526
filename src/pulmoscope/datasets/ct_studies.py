"""CT studies of a table, with what it says of their slices."""

from __future__ import annotations

from pathlib import Path

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import Scan
from pulmoscope.datasets.infected import NONE, infected_slices
from pulmoscope.io import read_scan

DROPPING = frozenset(
    {
        "bad-slice",
        "broken-files",
        "duplicate-positions",
        "foreign-slice",
        "incomplete-slices",
        "mixed-series",
        "several-acquisitions",
    }
)
"""Flags of a reader that has left slices out."""


def read_labelled(path: Path, infected: str) -> Scan:
    """Read a study of a table; ``infected``: its slice labels, which go by place (see :class:`Sample`).

    Raises:
        InputError: it can't be read, or slices were left out, so that labels would be put on the wrong ones.
    """
    scan = read_scan(path, "ct")
    dropped = [flag.code for flag in scan.remarks if flag.code in DROPPING]
    if infected.strip() not in ("", NONE) and dropped:
        finding = f"slices were left out: {', '.join(dropped)}"
        raise UnsuitableError(
            path, "slices-left-out", finding, "a study with labelled slices has all of them"
        )
    return scan


def infected_of(path: Path, infected: str, count: int) -> tuple[bool, ...] | None:
    """For each of the ``count`` slices of a table's study whether it shows infection; None where unknown.

    Raises:
        UnsuitableError: the text names slices that the study doesn't have, or is written wrongly.
    """
    try:
        return infected_slices(infected, count)
    except ValueError as error:
        raise UnsuitableError(path, "slice-labels", str(error)) from error
