"""How well a mask agrees with one that is true: Dice, and how far their surfaces lie apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage, spatial

from pulmoscope.core.types import BoolArray, Point

Counts = npt.NDArray[np.int64]
"""Voxels of each slice: (slices,)."""


class SurfaceDistance(NamedTuple):
    """How far two surfaces lie apart.

    Attributes:
        mean_mm: the average symmetric surface distance (Heimann et al., IEEE Trans Med Imaging 28, 2009, equation 4).
        hd95_mm: the larger of the two directed 95th percentiles, the 95 % Hausdorff distance (Maier-Hein et al., Nat
            Methods 21, 2024, «Metrics reloaded»).
    """

    mean_mm: float
    hd95_mm: float


@dataclass(frozen=True)
class Overlap:
    """Two masks of one scan, counted slice by slice.

    Attributes:
        true, measured, both: how many voxels each has, and how many they share.
        distance: of their surfaces; None where one of them is empty.
    """

    true: Counts
    measured: Counts
    both: Counts
    distance: SurfaceDistance | None

    @property
    def dice(self) -> float:
        """Of all slices together; NaN where nothing is true."""
        return float(dice(self.both.sum(), self.true.sum(), self.measured.sum()))

    @property
    def slice_dice(self) -> npt.NDArray[np.float64]:
        """Of each slice, (slices,); NaN where nothing is true."""
        return dice(self.both, self.true, self.measured)


def overlap(measured: BoolArray, true: BoolArray, spacing_mm: Point) -> Overlap:
    """Compare two masks, bool (slices, rows, columns) each.

    Args:
        spacing_mm: (slice, row, column).
    """
    return Overlap(
        true=slice_counts(true),
        measured=slice_counts(measured),
        both=slice_counts(true & measured),
        distance=surface_distance(measured, true, spacing_mm),
    )


def slice_counts(mask: BoolArray) -> Counts:
    """How many voxels of each slice a mask has."""
    return np.asarray(np.count_nonzero(mask, axis=(1, 2)), dtype=np.int64)


def dice(both: npt.ArrayLike, true: npt.ArrayLike, measured: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Dice's coefficient from counts: what two masks share by their mean size; NaN where nothing is true.

    >>> float(dice(3, 4, 8))
    0.5
    """
    known = np.asarray(true, dtype=np.float64)
    size = known + np.asarray(measured)
    return np.asarray(np.divide(2 * np.asarray(both), size, out=np.full(size.shape, np.nan), where=known > 0))


def surface_distance(one: BoolArray, other: BoolArray, spacing_mm: Point) -> SurfaceDistance | None:
    """How far the surfaces of two masks lie apart, from voxel centre to voxel centre; None where one is empty.

    The surface are the voxels that share a face with the outside, and those at the border of the scan.
    """
    if not (one.any() and other.any()):
        return None
    points, others = (_surface(mask) * np.array(spacing_mm) for mask in (one, other))
    there, _ = spatial.KDTree(others).query(points)
    back, _ = spatial.KDTree(points).query(others)
    mean = (there.sum() + back.sum()) / (len(there) + len(back))
    return SurfaceDistance(float(mean), float(max(np.percentile(there, 95), np.percentile(back, 95))))


def _surface(mask: BoolArray) -> npt.NDArray[np.intp]:
    """The indices (n, 3) of a mask's outermost voxels."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    inside = mask[box]
    found = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    return np.asarray(found + [side.start for side in box])
