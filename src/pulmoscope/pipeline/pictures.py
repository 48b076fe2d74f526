"""Small pictures for pages."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import FloatArray


def shrunk(pixels: FloatArray, side: int) -> FloatArray:
    """An image, float32 (rows, columns), at most ``side`` px long; a smaller one as it is."""
    rows, columns = pixels.shape
    scale = side / max(rows, columns)
    if scale >= 1:
        return pixels
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def grey(pixels: FloatArray) -> npt.NDArray[np.uint8]:
    """An X-ray, float32 (rows, columns) in [0, 1], as a picture: uint8 (rows, columns)."""
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    """A picture, grey (rows, columns) or RGB (rows, columns, 3), as JPEG."""
    blue_first = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])
