"""A CT study, prepared for a slice network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import Scan, Units
from pulmoscope.datasets.infected import NONE, infected_slices
from pulmoscope.io import read_scan
from pulmoscope.preprocess.ct import Bytes, CtPreprocess

if TYPE_CHECKING:  # scipy takes half a second
    from pulmoscope.preprocess.ct_lungs import LungMask

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


def lungs_of(scan: Scan) -> LungMask | None:
    """The lungs of a study in HU; None for slices that came as pictures."""
    if scan.units is not Units.HU or scan.spacing_mm is None:
        return None
    from pulmoscope.preprocess.ct_lungs import lung_mask

    return lung_mask(scan.pixels, scan.spacing_mm)


def prepared_slices(scan: Scan, preprocess: CtPreprocess) -> Bytes:
    """All steps up to uint8 (slices, size, size), the lungs looked for where the preprocessing wants them."""
    lungs = lungs_of(scan) if preprocess.region == "lungs" else None
    return preprocess.slices(scan.pixels, scan.units, lungs)
