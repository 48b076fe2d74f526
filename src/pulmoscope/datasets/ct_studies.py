"""A CT study, prepared for a slice network."""

from __future__ import annotations

from pulmoscope.core.types import Scan, Units
from pulmoscope.preprocess.ct import Bytes, CtPreprocess
from pulmoscope.preprocess.ct_lungs import LungMask, lung_mask


def lungs_of(scan: Scan) -> LungMask | None:
    """The lungs of a study in HU; None for slices that came as pictures."""
    if scan.units is not Units.HU or scan.spacing_mm is None:
        return None
    return lung_mask(scan.pixels, scan.spacing_mm)


def prepared_slices(scan: Scan, preprocess: CtPreprocess) -> Bytes:
    """All steps up to uint8 (slices, size, size), the lungs looked for where the preprocessing wants them."""
    lungs = lungs_of(scan) if preprocess.region == "lungs" else None
    return preprocess.slices(scan.pixels, scan.units, lungs)
