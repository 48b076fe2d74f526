"""What the numbers of a CT volume themselves say: whether they are HU, and which slices don't belong."""

from __future__ import annotations

import cv2
import numpy as np

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import FloatArray

AIR_BELOW, TISSUE_FROM, TISSUE_TO = -500, -200, 300
"""HU: what is darker is air or lung; between the others lie fat, muscle, blood and organs."""
LEAST_AIR, LEAST_TISSUE = 0.01, 0.03
"""Share of the voxels."""
LOWEST, HIGHEST = -4096, 32767
"""HU: what lies beyond is no CT number (padding goes down to about -3100, metal up to the limit of 16 bits)."""
SAMPLED = 64
"""About so many rows and columns are compared."""
UNLIKE = 0.15
"""A slice is foreign whose neighbours resemble each other by so much more than it resembles either."""


def check_hu(name: str, volume: FloatArray) -> None:
    """Refuse a volume whose numbers can't be HU: grey levels, normalised values, raw detector values.

    Raises:
        UnsuitableError: too little air, too little tissue, or values beyond those of a CT.
    """
    step = max(1, volume.shape[1] // SAMPLED), max(1, volume.shape[2] // SAMPLED)
    sample = volume[:, :: step[0], :: step[1]]
    low, high = float(sample.min()), float(sample.max())
    found = f"values from {low:.4g} to {high:.4g}"
    if not (low >= LOWEST and high <= HIGHEST):  # nor NaN
        raise UnsuitableError(name, f"CT numbers are HU between {LOWEST} and {HIGHEST}", found)
    air = float(np.mean(sample < AIR_BELOW))
    tissue = float(np.mean((sample >= TISSUE_FROM) & (sample <= TISSUE_TO)))
    if air < LEAST_AIR:
        rule = f"a CT is in HU: at least {100 * LEAST_AIR:.0f} % of it is air, below {AIR_BELOW} HU"
        raise UnsuitableError(name, rule, f"{100 * air:.1f} %, {found}")
    if tissue < LEAST_TISSUE:
        rule = f"a CT is in HU: at least {100 * LEAST_TISSUE:.0f} % of it is tissue, {TISSUE_FROM} to {TISSUE_TO} HU"
        raise UnsuitableError(name, rule, f"{100 * tissue:.1f} %, {found}")


def strangers(volume: FloatArray, known: set[int]) -> list[int]:
    """Slices that resemble neither neighbour although these resemble each other: of another patient, or garbled.

    Args:
        volume: (slices, rows, columns) in order, HU.
        known: places that are left out anyway, and not compared.

    Resemblance is the correlation of the slices, shrunk and clipped to -1000 … 400 HU.
    """
    places = [place for place in range(len(volume)) if place not in known]
    small = np.stack([_small(volume[place]) for place in places]) if len(places) > 2 else np.zeros((0, 1))
    if len(small) < 3:
        return []
    near = (small[:-1] * small[1:]).sum(axis=1)
    across = (small[:-2] * small[2:]).sum(axis=1)
    worst = np.maximum(near[:-1], near[1:])
    return [places[index + 1] for index in np.flatnonzero(across - worst > UNLIKE)]


def _small(pixels: FloatArray) -> FloatArray:
    """A slice as a vector of mean 0 and length 1; all 0 where it is constant."""
    size = (min(SAMPLED, pixels.shape[1]), min(SAMPLED, pixels.shape[0]))
    shrunk = cv2.resize(np.clip(pixels, -1000, 400), size, interpolation=cv2.INTER_AREA).ravel()
    shrunk = shrunk - shrunk.mean()
    length = float(np.linalg.norm(shrunk))
    return np.asarray(shrunk / length if length > 0 else shrunk, dtype=np.float32)
