"""Drawn CT slices: an elliptic body with two lungs in it, in any window."""

from __future__ import annotations

import cv2
import numpy as np

from pulmoscope.core.types import FloatArray

AIR, LUNG, TISSUE, LESION = -1000.0, -850.0, 40.0, -500.0
LEFT, RIGHT = (60, 75), (140, 75)
"""The lungs' centres, x and y; their half axes are LUNG_AXES."""
LUNG_AXES = (28, 42)
ROWS, COLUMNS = 150, 200


def slice_hu(lesion: bool = False) -> FloatArray:
    """A slice in HU, float32 (ROWS, COLUMNS): air, body, lungs; with ``lesion`` a patch in the lung on the left."""
    hu = np.full((ROWS, COLUMNS), AIR, dtype=np.float32)
    cv2.ellipse(hu, (100, 75), (92, 66), 0, 0, 360, TISSUE, cv2.FILLED)
    for centre in (LEFT, RIGHT):
        cv2.ellipse(hu, centre, LUNG_AXES, 0, 0, 360, LUNG, cv2.FILLED)
    if lesion:
        cv2.circle(hu, (60, 95), 10, LESION, cv2.FILLED)
    return hu


def windowed(hu: FloatArray, level: float, width: float) -> FloatArray:
    """A picture of the slice, float32 in [0, 1]."""
    return np.clip((hu - (level - width / 2)) / width, 0, 1).astype(np.float32)
