"""A scan as the severity system sees it: searched for damage and standardised; one way for training and diagnosis."""

from __future__ import annotations

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import Scan
from pulmoscope.preprocess.ct_standard import Standardisation, StandardStudy
from pulmoscope.quality.imputation import FILLS, impute, imputer
from pulmoscope.quality.missing import Missing, find_missing
from pulmoscope.segment.ct_lungs import LungMask, lung_mask


def searched_lungs(scan: Scan) -> tuple[Missing, LungMask]:
    """What is missing of a scan in HU, and its lungs, looked for where that is filled.

    Raises:
        UnsuitableError: nothing is left.
    """
    assert scan.spacing_mm is not None
    missing = find_missing(scan.pixels, scan.spacing_mm)
    filled = scan.pixels
    if missing.mask.all():
        raise UnsuitableError(scan.source, "blank", "the CT is empty: every slice has one value")
    if missing.slices:
        filled = impute(scan.pixels, missing.mask, imputer(FILLS))
    return missing, lung_mask(filled, scan.spacing_mm)


def standard_study(scan: Scan, preprocess: Standardisation, *, search: bool) -> StandardStudy:
    """The standardised slices of a scan in HU, unrepaired, and which of their pixels are missing.

    Args:
        search: whether missing regions are looked for; otherwise nothing counts as missing.
    """
    assert scan.spacing_mm is not None
    if not search:
        lungs = lung_mask(scan.pixels, scan.spacing_mm)
        return preprocess.apply(scan.pixels, scan.spacing_mm, lungs)
    missing, lungs = searched_lungs(scan)
    return preprocess.apply(scan.pixels, scan.spacing_mm, lungs, missing.mask)
