"""A CT whose missing data are looked for and filled in: one way for training, measuring and diagnosis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import BoolArray, Scan, Units
from pulmoscope.preprocess.ct_standard import Standardisation, StandardStudy
from pulmoscope.quality.imputation import FILLS, impute, imputer
from pulmoscope.quality.missing import Missing, find_missing
from pulmoscope.segment.lungs import lungs_of


@dataclass(frozen=True)
class FilledScan:
    """A CT that was searched for missing data.

    Attributes:
        scan: what is missing filled in.
        missing: None where nothing is missing, or where it could not be searched: pictures.
        searched: whether it was searched.
    """

    scan: Scan
    missing: Missing | None
    searched: bool

    @property
    def mask(self) -> BoolArray | None:
        """What was not measured, bool (slices, rows, columns); None where nothing is missing."""
        return None if self.missing is None else self.missing.mask

    def slice_fraction(self, index: int) -> float | None:
        """Of a slice's body, the fraction that is missing; None where it was not searched."""
        if not self.searched:
            return None
        return 0.0 if self.missing is None else self.missing.body_fraction([index])


def fill_missing(scan: Scan) -> FilledScan:
    """Look for missing data in a CT in HU, and fill them.

    Raises:
        UnsuitableError: nothing is left.
    """
    if scan.units is not Units.HU or scan.spacing_mm is None:
        return FilledScan(scan, None, searched=False)
    missing = find_missing(scan.pixels, scan.spacing_mm)
    if not missing.slices:
        return FilledScan(scan, None, searched=True)
    if missing.mask.all():
        raise UnsuitableError(scan.source, "blank", "the CT is empty: every slice has one value")
    filled = impute(np.asarray(scan.pixels, dtype=np.float32), missing.mask, imputer(FILLS))
    return FilledScan(replace(scan, pixels=filled), missing, searched=True)


def standard_study(scan: Scan, preprocess: Standardisation, *, search: bool) -> StandardStudy:
    """The standardised slices of a scan in HU, unrepaired, and which of their pixels are missing.

    Args:
        search: whether missing regions are looked for; otherwise nothing counts as missing.

    Raises:
        UnsuitableError: nothing is left.
    """
    assert scan.spacing_mm is not None
    filled = fill_missing(scan) if search else FilledScan(scan, None, searched=False)
    lungs = lungs_of(filled.scan)
    assert lungs is not None  # as the scan is in HU
    return preprocess.apply(scan.pixels, scan.spacing_mm, lungs, filled.mask)
