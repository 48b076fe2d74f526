"""The lungs of a CT study, where they can be looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pulmoscope.core.types import Scan, Units

if TYPE_CHECKING:  # it brings OpenCV
    from pulmoscope.segment.ct_lungs import LungMask


def lungs_of(scan: Scan) -> LungMask | None:
    """The lungs of a study in HU; None for slices that came as pictures."""
    if scan.units is not Units.HU or scan.spacing_mm is None:
        return None
    from pulmoscope.segment.ct_lungs import lung_mask

    return lung_mask(scan.pixels, scan.spacing_mm)
