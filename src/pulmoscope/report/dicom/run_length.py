"""Pixels as RLE Lossless (PS3.5 annex G): every viewer reads it, and it takes a tenth of the time of JPEG-LS.

highdicom would have pydicom encode, which has GDCM encode, and that ends the whole process on some widths.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from pulmoscope.core.types import Bytes

_HEADER = struct.Struct("<16I")
"""How many segments there are, and where each begins."""


def set_frames(dataset: Dataset, frames: Sequence[bytes]) -> None:
    """Give an object that highdicom made uncompressed its pixels: frames as :func:`encoded` makes them."""
    dataset.PixelData = encapsulate(list(frames))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = RLELossless


def encoded(frame: Bytes) -> bytes:
    """One frame, uint8 (rows, columns): a single segment, each row packed by itself."""
    packed = imagecodecs.packbits_encode(np.ascontiguousarray(frame))
    return _HEADER.pack(1, _HEADER.size, *[0] * 14) + packed + b"\0" * (len(packed) % 2)
