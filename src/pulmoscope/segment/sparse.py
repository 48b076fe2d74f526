"""Masks that are empty nearly everywhere."""

from __future__ import annotations

import math
import mmap
import sys
from contextlib import suppress

import numpy as np
import numpy.typing as npt


def sparse_zeros(shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Zeros, uint8, that take memory only around what is written.

    On Linux ``numpy.zeros`` asks for pages of 2 MiB, so that a mask of a thousand slices takes 250 MiB as soon as every
    slice has something; in pages of 4 KiB the lungs take half, and lesions a tenth.
    """
    size = math.prod(shape)
    if sys.platform != "linux" or not size:
        return np.zeros(shape, dtype=np.uint8)
    pages = mmap.mmap(
        -1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    )  # shared ones fill as they are read
    with suppress(OSError):  # a kernel without large pages
        pages.madvise(mmap.MADV_NOHUGEPAGE)  # some systems give them unasked
    return np.frombuffer(pages, np.uint8, size).reshape(shape)
