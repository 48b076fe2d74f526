"""Masks that are empty nearly everywhere."""

from __future__ import annotations

import math
import mmap

import numpy as np
import numpy.typing as npt


def sparse_zeros(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Zeros, uint8, that take memory only around what is written.

    ``numpy.zeros`` asks the system for pages of 2 MiB, so that a mask of a thousand slices takes 250 MiB as soon as
    every slice has something; in pages of 4 KiB the lungs take half, and lesions a tenth.
    """
    return np.frombuffer(mmap.mmap(-1, max(1, math.prod(shape))), np.uint8, math.prod(shape)).reshape(shape)
