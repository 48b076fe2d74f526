"""An image under its heat map, as a picture."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

from pulmoscope.core.results import RESULT, RESULT_KEY
from pulmoscope.core.types import Bytes, FloatArray


def overlay(pixels: FloatArray, heat: FloatArray, opacity: float = 0.45) -> Bytes:
    """Lay a heat map over a grey image.

    The colours are matplotlib's inferno: equal steps of heat look equal, also to colour-blind eyes and in grey print.
    The more heat, the less transparent: where there is none, the image is untouched.

    Args:
        pixels: float32 (rows, columns) in [0, 1].
        heat: float32 (rows, columns) in [0, 1].
        opacity: of the greatest heat, 0 to 1.

    Returns:
        uint8 (rows, columns, 3), red, green, blue.
    """
    heat = np.clip(heat, 0, 1)
    levels = np.rint(heat * 255).astype(np.uint8)
    colour = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    grey, weight = np.clip(pixels, 0, 1) * np.float32(255), heat * np.float32(opacity)
    mixed = np.empty(colour.shape, dtype=np.uint8)
    for channel in range(3):  # one by one: a third of the memory at a time
        one = colour[..., 2 - channel] - grey  # OpenCV has blue first
        one *= weight
        one += grey
        mixed[..., channel] = np.rint(one, out=one)
    return mixed


_HEADER_ENDS = 33
"""Bytes of a PNG's signature and its first chunk (PNG specification, 5.2 and 11.2.1)."""


def png(image: Bytes) -> bytes:
    """Encode uint8 (rows, columns) or (rows, columns, 3: red, green, blue) as PNG, whose text says that it is ours.

    Such a picture is refused as an input: it is a result, no radiograph.
    """
    stored = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    content = bytes(cv2.imencode(".png", stored)[1])
    text = b"tEXt" + RESULT_KEY.encode() + b"\0" + RESULT.encode()
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return content[:_HEADER_ENDS] + chunk + content[_HEADER_ENDS:]
