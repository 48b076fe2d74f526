"""A CT before any model reads it: searched for missing data, which are filled in, and its lungs found."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import BoolArray, FloatArray, Scan, Units
from pulmoscope.quality.filled import FilledScan, fill_missing
from pulmoscope.segment.lungs import lungs_of

if TYPE_CHECKING:  # it brings OpenCV
    from pulmoscope.segment.ct_lungs import LungMask


@dataclass(frozen=True)
class SeenCt:
    """A CT, as every model is shown it.

    Attributes:
        raw: as it was read.
        search: what is missing, and the scan with that filled in.
        lungs: found in the filled scan; None for slices that came as pictures.
    """

    raw: Scan
    search: FilledScan
    lungs: LungMask | None

    @property
    def scan(self) -> Scan:
        """What is missing filled in."""
        return self.search.scan

    @property
    def missing(self) -> BoolArray | None:
        """What was not measured, bool (slices, rows, columns); None where nothing is missing."""
        return self.search.mask

    @cached_property
    def raw_lungs(self) -> LungMask | None:
        """The lungs as they are found where nothing is filled in."""
        return self.lungs if self.missing is None else lungs_of(self.raw)

    @cached_property
    def dense(self) -> FloatArray | None:
        """Of each slice's lung the fraction that is dense, float32 (slices,); None where no lungs can be looked for."""
        if self.lungs is None:
            return None
        from pulmoscope.segment.ct_dense import dense_fractions

        assert self.scan.spacing_mm is not None  # as there are lungs
        return dense_fractions(self.scan.pixels, self.lungs.labels, self.scan.spacing_mm)

    def changed(self, change: Callable[[FloatArray], FloatArray]) -> SeenCt:
        """The same CT with other values; its lungs, and what is missing, are where they were found before."""
        raw = replace(self.raw, pixels=change(np.asarray(self.raw.pixels, dtype=np.float32)))
        filled = raw
        if self.scan is not self.raw:
            filled = replace(self.scan, pixels=change(np.asarray(self.scan.pixels, dtype=np.float32)))
        other = SeenCt(raw, replace(self.search, scan=filled), self.lungs)
        vars(other)["raw_lungs"] = self.raw_lungs  # or they would be looked for again
        return other


def in_hu(scan: Scan, wanted: str) -> Scan:
    """The scan, where it can be measured.

    Args:
        wanted: what needs it, for the message.

    Raises:
        UnsuitableError: it is an X-ray, or its slices came as pictures, which have no HU.
    """
    if scan.units is not Units.HU or scan.spacing_mm is None:
        rule = f"{wanted} needs a CT in HU with known spacing"
        raise UnsuitableError(scan.source, "without-hu", "its values are grey levels, not HU", rule)
    return scan


def look_at(scan: Scan) -> SeenCt:
    """Search a CT for missing data, fill them, and find the lungs.

    Raises:
        UnsuitableError: nothing was measured.
    """
    with ThreadPoolExecutor(1) as aside:
        # Nothing is missing nearly always: then these are the lungs. Both leave a core idle in places.
        found = aside.submit(lungs_of, scan)
        search = fill_missing(scan)
        lungs = found.result()
    seen = SeenCt(scan, search, lungs if search.missing is None else lungs_of(search.scan))
    vars(seen)["raw_lungs"] = lungs  # or they would be looked for again
    return seen
