"""What is done before and after the lung finder network: its input, and the box that its map gives."""

from __future__ import annotations

import cv2
import numpy as np

from pulmoscope.core.types import Box, FloatArray

FINDER_SIZE = 128
"""Side of the lung finder's square input, px; the whole image is squeezed into it."""


def finder_input(pixels: FloatArray) -> FloatArray:
    """The lung finder's input: float32 (1, FINDER_SIZE, FINDER_SIZE), zero mean and unit spread."""
    small = cv2.resize(pixels, (FINDER_SIZE, FINDER_SIZE), interpolation=cv2.INTER_AREA)
    spread = float(small.std())
    return np.asarray((small - small.mean()) / max(spread, 1e-3), dtype=np.float32)[None]


def lung_box(lungs: FloatArray, rows: int, columns: int, margin: float) -> Box | None:
    """The box around the lungs in an image of (rows, columns), or None where the map holds no plausible lungs.

    Args:
        lungs: lung probability over the whole image, float32, any size.
        margin: share of the box's height and width that is added on every side.
    """
    inside = lungs > 0.5
    if inside.mean() < 0.04:
        return None
    by_row, by_column = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    top, bottom = by_row[0] / inside.shape[0], (by_row[-1] + 1) / inside.shape[0]
    left, right = by_column[0] / inside.shape[1], (by_column[-1] + 1) / inside.shape[1]
    height, width = bottom - top, right - left
    top, left = top - margin * height, left - margin * width
    height, width = height * (1 + 2 * margin), width * (1 + 2 * margin)
    return Box(
        round(top * rows), round(left * columns), max(1, round(height * rows)), max(1, round(width * columns))
    )
