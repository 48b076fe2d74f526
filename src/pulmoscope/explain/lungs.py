"""How much of a heat map lies within the lungs."""

from __future__ import annotations

import math

import cv2
import numpy as np

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.runtime.model import Prepared
from pulmoscope.segment.xray_lungs import lung_region

SIDE = 512
"""Longest side of the lungs' mask, px: the finder's own map has 80."""


def seen_lungs(prepared: Prepared, rows: int, columns: int) -> BoolArray | None:
    """Where the lung finder sees lungs: bool, at the aspect of an image of (rows, columns), at most 512 px a side.

    Returns:
        None where there is no finder, or it has found no lungs.
    """
    if prepared.lungs is None or not prepared.framed.lungs_found:
        return None
    scale = min(1.0, SIDE / max(rows, columns))
    return lung_region(prepared.lungs, max(1, round(rows * scale)), max(1, round(columns * scale)))


def mass_within(heat: FloatArray, region: BoolArray) -> float:
    """The fraction of a map's mass within a region, 0 to 1; NaN of a map that is 0 everywhere.

    Args:
        heat: float32 (rows, columns), none below 0.
        region: bool, of the same extent, of any size.
    """
    if heat.shape != region.shape:
        heat = np.asarray(cv2.resize(heat, region.shape[::-1], interpolation=cv2.INTER_AREA))
    total = float(heat.sum(dtype=np.float64))
    return float(heat[region].sum(dtype=np.float64)) / total if total > 0 else math.nan
