"""Small pictures for pages."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import FloatArray

SIDE = 300
"""Longest side of a thumbnail, px."""


def grey(pixels: FloatArray) -> npt.NDArray[np.uint8]:
    """An X-ray, float32 (rows, columns) in [0, 1], as a picture: uint8 (rows, columns, 3)."""
    levels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


def jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    """A thumbnail of an RGB picture, uint8 (rows, columns, 3)."""
    scale = min(1.0, SIDE / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, content = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return content.tobytes()
