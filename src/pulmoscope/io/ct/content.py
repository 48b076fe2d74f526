"""What the numbers of a CT volume themselves say: whether they are HU, and which slices don't belong."""

from __future__ import annotations

import cv2
import numpy as np

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import FloatArray, Voxels

AIR_FROM, AIR_TO, TISSUE_FROM, TISSUE_TO = -1200, -500, -200, 300
"""HU: between the first two lie air and lung (padding lies below), between the others fat, muscle, blood and organs."""
LEAST_AIR, LEAST_TISSUE = 0.01, 0.03
"""Fraction of the voxels."""
LOWEST, HIGHEST = -4096, 32767
"""HU: what lies beyond is no CT number (padding goes down to about -3100, metal up to the limit of 16 bits)."""
SAMPLED = 64
"""About so many rows and columns are compared."""
UNLIKE = 0.08
"""A slice is foreign whose neighbours resemble each other by so much more than it resembles either. Of three real
series, at 2 to 16 mm, they never do; a slice of another of them reaches 0.15 to 0.7, one mirrored 0.06 to 0.3."""
BREAK = 0.2
"""Between two neighbours that resemble each other by so much less than those around them lies the seam of two bodies
(the first and the last slice are foreign then). In the same series: at most 0.1, at 16 mm."""


def check_hu(name: str, volume: Voxels) -> None:
    """Refuse a volume whose numbers can't be HU: grey levels, normalised values, raw detector values.

    Raises:
        UnsuitableError: too little air, too little tissue, or values beyond those of a CT.
    """
    low, high = float(volume.min()), float(volume.max())  # every voxel: one NaN makes a network's answer NaN
    finding = f"its values run from {low:.4g} to {high:.4g}"
    if not (low >= LOWEST and high <= HIGHEST):  # nor NaN
        raise UnsuitableError(name, "not-hu", finding, f"a CT is in HU, between {LOWEST} and {HIGHEST}")
    step = max(1, volume.shape[1] // SAMPLED), max(1, volume.shape[2] // SAMPLED)
    sample = volume[:, :: step[0], :: step[1]]
    air = float(np.mean((sample >= AIR_FROM) & (sample < AIR_TO)))
    tissue = float(np.mean((sample >= TISSUE_FROM) & (sample <= TISSUE_TO)))
    if air < LEAST_AIR:
        rule = f"a CT is in HU: at least {100 * LEAST_AIR:.0f} % of it is air, {AIR_FROM} to {AIR_TO} HU"
        raise UnsuitableError(name, "not-hu", f"{100 * air:.1f} % of the volume is air; {finding}", rule)
    if tissue < LEAST_TISSUE:
        rule = f"a CT is in HU: at least {100 * LEAST_TISSUE:.0f} % of it is tissue, {TISSUE_FROM} to {TISSUE_TO} HU"
        raise UnsuitableError(
            name, "not-hu", f"{100 * tissue:.1f} % of the volume is tissue; {finding}", rule
        )


def strangers(volume: Voxels, known: set[int]) -> tuple[list[int], int]:
    """Slices that resemble neither neighbour although these resemble each other: of another patient, or garbled.

    Args:
        volume: (slices, rows, columns), HU.
        known: slices that are left out anyway, and not compared.

    Returns:
        Their places, and how many breaks are left between neighbours: seams of two bodies' slices.

    Resemblance is the correlation of the slices, shrunk and clipped to -1000 … 400 HU.
    """
    indices = [slice_index for slice_index in range(len(volume)) if slice_index not in known]
    if len(indices) < 5:
        return [], 0
    small = np.stack([_small(volume[slice_index]) for slice_index in indices])
    near = (small[:-1] * small[1:]).sum(axis=1)
    across = (small[:-2] * small[2:]).sum(axis=1)
    odd = [int(index) + 1 for index in np.flatnonzero(across - np.maximum(near[:-1], near[1:]) > UNLIKE)]
    # An end has one neighbour only, and is foreign where it resembles that one much less than the next two do.
    last = len(indices) - 1
    if near[1] - near[0] > BREAK and 1 not in odd:
        odd.append(0)
    if near[-2] - near[-1] > BREAK and last - 1 not in odd:
        odd.append(last)
    left = np.delete(small, odd, axis=0)
    near = (left[:-1] * left[1:]).sum(axis=1)
    around = [np.median(near[max(0, index - 3) : index + 4]) for index in range(len(near))]
    return [indices[index] for index in sorted(odd)], int((around - near > BREAK).sum())


def _small(pixels: Voxels) -> FloatArray:
    """A slice as a vector of mean 0 and length 1; all 0 where it is constant."""
    size = (min(SAMPLED, pixels.shape[1]), min(SAMPLED, pixels.shape[0]))
    shrunk = cv2.resize(
        np.clip(pixels, -1000, 400).astype(np.float32), size, interpolation=cv2.INTER_AREA
    ).ravel()
    shrunk = shrunk - shrunk.mean()
    length = float(np.linalg.norm(shrunk))
    return np.asarray(shrunk / length if length > 0 else shrunk, dtype=np.float32)
