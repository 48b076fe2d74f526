"""How much of the lung is dense: measured in HU, nothing is learned.

Aerated lung lies near -850 HU. Ground glass, crazy paving and consolidation are denser, and so are vessels and the
lung's outline, where a pixel is half chest wall: both are left out. From -600 HU on is what studies of interstitial
disease call high attenuation (Lederer et al., «Cigarette smoking is associated with subclinical parenchymal lung
disease», Am J Respir Crit Care Med 180, 2009: -600 to -250 HU); there is no upper end here, as consolidation is as
dense as tissue.
"""

from __future__ import annotations

import cv2
import numpy as np

from pulmoscope.core.types import Bytes, FloatArray, Point, Voxels
from pulmoscope.segment.ct_lung_parts import disc, grid_size

DENSE_HU = -600
"""Aerated lung is lighter."""
GRID_MM = 1.5
"""The pixel that is measured on, about: means of so much lung have little noise."""
EDGE_MM, VESSEL_MM = 3.0, 6.0
"""So near the outline nothing is measured; what is bright and narrower is taken for a vessel."""
LEAST_INSIDE = 0.25
"""Where the edge takes more than the rest of a slice's lung, the fraction is of this much of it."""


def dense_fractions(hu: Voxels, lungs: Bytes, spacing_mm: Point) -> FloatArray:
    """Of each slice's lung, the fraction that is dense.

    Args:
        hu: float32 or int16 (slices, rows, columns).
        lungs: uint8 (slices, rows, columns): 0 is no lung.
        spacing_mm: (slice, row, column).

    Returns:
        float32 (slices,) in [0, 1]; 0 where a slice has no lung.
    """
    return np.array([_share(*pair, spacing_mm) for pair in zip(hu, lungs, strict=True)], dtype=np.float32)


def _share(hu: Voxels, lungs: Bytes, spacing_mm: Point) -> float:
    left, top, width, height = cv2.boundingRect(lungs)
    if not width:
        return 0.0
    room = [round(VESSEL_MM / mm) for mm in spacing_mm[1:]]
    around = np.s_[
        max(0, top - room[0]) : top + height + room[0], max(0, left - room[1]) : left + width + room[1]
    ]
    rows, columns = lungs[around].shape
    size = grid_size(rows, columns, spacing_mm, GRID_MM)
    pixels = cv2.resize(np.asarray(hu[around], dtype=np.float32), size, interpolation=cv2.INTER_AREA)
    lung = cv2.resize((lungs[around] > 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    inside = cv2.erode(
        lung, disc(round(2 * EDGE_MM / GRID_MM)), borderType=cv2.BORDER_CONSTANT, borderValue=1
    )
    without_vessels = cv2.morphologyEx(pixels, cv2.MORPH_OPEN, disc(round(VESSEL_MM / GRID_MM)))
    dense = int(np.count_nonzero((without_vessels > DENSE_HU) & (inside > 0)))
    measured = max(int(np.count_nonzero(inside)), LEAST_INSIDE * int(np.count_nonzero(lung)), 1.0)
    return dense / measured
