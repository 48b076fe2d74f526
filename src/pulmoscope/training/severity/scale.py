"""How the learnt votes standardise the slices' vectors."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pulmoscope.runtime.votes import DENSITIES

LEAST_FEATURE = 0.01
"""Of the median feature's spread."""
LEAST_DENSITY = 0.005
"""A fraction of the lung."""

Float = TypeVar("Float", np.float32, np.float64)


def scale_of(rows: npt.NDArray[Float]) -> tuple[npt.NDArray[Float], npt.NDArray[Float]]:
    """Mean and spread of every column of vectors (n, maps + densities).

    A spread is never taken for less than the two constants say: what hardly varies in training, a dead feature or lung
    denser than bone, would decide alone where it is there for once.
    """
    mean, spread = np.asarray(rows.mean(axis=0)), np.asarray(rows.std(axis=0))
    least = np.full_like(spread, LEAST_DENSITY)
    least[:-DENSITIES] = LEAST_FEATURE * np.median(spread[:-DENSITIES]) or 1
    return mean, np.maximum(spread, least)
