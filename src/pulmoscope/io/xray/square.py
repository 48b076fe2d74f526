"""Pixels that are taller than wide, or wider than tall, become square: a chest keeps its shape.

What an image says of its pixels' shape is believed, for each format as its standard means it:

- DICOM: PixelSpacing and its like, else PixelAspectRatio (PS3.3 10.7.1 and C.7.6.3.1.7).
- PNG: pHYs, with a unit or without, which «specifies the aspect ratio only» (PNG specification, 11.3.4.3).
- TIFF: XResolution and YResolution, with ResolutionUnit «none» meant for just this (TIFF 6.0, page 38).
- JPEG: JFIF's densities, where unit 0 means the aspect ratio (JFIF 1.02, page 5). Exif's resolutions are not: they are
  a camera's or an editor's idea of a print.

BMP and WebP are not: what stands in the one is often rubbish, the other has nothing.
"""

from __future__ import annotations

import numpy as np

from pulmoscope.core.types import Flag, FlagLevel, FloatArray
from pulmoscope.io.xray.picture import MOST_PIXELS

SQUARE = 0.02
"""So much may a pixel differ from a square and be taken for one: rounded spacings, a detector's own stretch."""

Spacing = tuple[float, float]


def squared_size(rows: int, columns: int, ratio: float) -> tuple[int, int]:
    """The size (rows, columns) that an image has with square pixels; its own where they are square, or nearly so.

    The finer of the two distances is kept, so that nothing is lost; the coarser one where the image would become larger
    than the reader's limit.

    Args:
        rows, columns: as stored.
        ratio: a pixel's height / its width.
    """
    if max(ratio, 1 / ratio) <= 1 + SQUARE:
        return rows, columns
    taller, narrower = (round(rows * ratio), columns), (rows, round(columns / ratio))
    larger, smaller = (taller, narrower) if ratio > 1 else (narrower, taller)
    return larger if larger[0] * larger[1] <= MOST_PIXELS else smaller


def squared(
    pixels: FloatArray, ratio: float, spacing_mm: Spacing | None = None
) -> tuple[FloatArray, Spacing | None, tuple[Flag, ...]]:
    """Resample an image to square pixels: averaged over areas where it gets smaller, linear where it gets larger.

    Args:
        pixels: float32 (rows, columns) in [0, 1].
        ratio: a pixel's height / its width.
        spacing_mm: (row, column) distance of the pixels.

    Returns:
        The image at :func:`squared_size`, the distances there, and the flag ``resampled``; image and distances as they
        came, and no flag, where the pixels are square.
    """
    rows, columns = pixels.shape
    size = squared_size(rows, columns, ratio)
    if size == (rows, columns):
        return pixels, spacing_mm, ()
    import cv2  # a tenth of a second, for a rare kind of file

    shrinks = size[0] < rows or size[1] < columns
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resampled = cv2.resize(np.ascontiguousarray(pixels), (size[1], size[0]), interpolation=way)
    if spacing_mm is not None:
        spacing_mm = spacing_mm[0] * rows / size[0], spacing_mm[1] * columns / size[1]
    sizes = f"{rows} x {columns} became {size[0]} x {size[1]}"
    finding = f"pixels {ratio:.3g} times as tall as wide were made square: {sizes}"
    return np.asarray(resampled, dtype=np.float32), spacing_mm, (Flag("resampled", FlagLevel.INFO, finding),)
