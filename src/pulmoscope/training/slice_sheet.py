"""A sheet of slices side by side, as PNG: what a network draws can only be judged by eye."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pulmoscope.core.files import write_bytes
from pulmoscope.core.types import FloatArray

GAP = 2
"""Pixels between two slices."""


def write_sheet(slices: FloatArray, columns: int, file: Path) -> None:
    """Write slices (n, side, side) in [0, 1] row by row, black to white, with so many columns."""
    count, side, _ = slices.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (side + GAP) + GAP, columns * (side + GAP) + GAP), 255, dtype=np.uint8)
    for index, image in enumerate(slices):
        row, column = divmod(index, columns)
        top, left = GAP + row * (side + GAP), GAP + column * (side + GAP)
        sheet[top : top + side, left : left + side] = np.rint(np.clip(image, 0, 1) * 255)
    written, content = cv2.imencode(".png", sheet)
    assert written
    write_bytes(file, content.tobytes())
