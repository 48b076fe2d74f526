"""The lungs' density, smoothed on the grid that lesions are looked for on: slice by slice, each only where lung is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np

from pulmoscope.core.threads import cores
from pulmoscope.core.types import BoolArray, Bytes, FloatArray, Point, Voxels
from pulmoscope.segment.ct_lung_parts import disc, grid_size

GRID_MM, SLAB_MM = 1.5, 5.0
"""The pixel that is measured on, about; and over how much neighbouring slices are averaged."""

RIM_MM = 2.0
"""So near the outline a voxel is partly chest wall: it takes the density of the lung beside it."""

ROOM_MM = 13.5
"""So far around a slice's lungs the grid is looked at: farther than any disc of the search for lesions reaches."""

_EMPTY_HU = -1000
_TOGETHER = 64
"""So many slices are averaged at a time: the sums of a thousand would take hundreds of MB."""

At = tuple[slice, slice]
"""A part of a slice: its rows and columns."""

_Weighed = tuple[FloatArray, FloatArray]
"""Of a slice on the grid: the sum of densities, and their weight."""


@dataclass(frozen=True)
class Densities:
    """The lungs' density, smoothed, on the grid that is measured on.

    Attributes:
        hu: of each slice, float32, within its ``at``; outside the lungs that of the nearest lung. None without lung.
        at: which part of each slice that is: its lungs, and what is around.
        labels: uint8 (slices, rows, columns): 0 none, 1 the right lung, 2 the left.
        outside: bool likewise: what is no lung; a voxel of lung that was not observed is neither.
        box: which of the scan's rows and columns the grid covers.
        voxel_mm: (slice, row, column).
    """

    hu: Sequence[FloatArray | None]
    at: Sequence[At]
    labels: Bytes
    outside: BoolArray
    box: At
    voxel_mm: Point

    def whole(self, index: int, values: FloatArray, empty: float = _EMPTY_HU) -> FloatArray:
        """Values of a slice's ``at`` on the whole slice, ``empty`` elsewhere."""
        plane = np.full(self.labels.shape[1:], empty, dtype=np.float32)
        plane[self.at[index]] = values
        return plane

    def side(self, index: int, label: int) -> FloatArray:
        """The densities of one lung in a slice."""
        hu = self.hu[index]
        if hu is None:
            return np.empty(0, dtype=np.float32)
        return np.asarray(hu[self.labels[index][self.at[index]] == label])


def densities(hu: Voxels, labels: Bytes, spacing_mm: Point, missing: BoolArray | None = None) -> Densities:
    """Smooth the lungs' density; what lies outside them doesn't weigh in.

    Args:
        hu: float32 or int16 (slices, rows, columns), feet to head.
        labels: uint8 likewise: 0 none, 1 right, 2 left; not 0 everywhere.
        spacing_mm: (slice, row, column).
        missing: bool likewise: voxels that were not observed; they don't weigh in either.
    """
    everywhere = labels
    labels = labels if missing is None else np.where(missing, np.uint8(0), labels)
    box = _box(_seen(labels), [round(4 * GRID_MM / mm) + 1 for mm in spacing_mm[1:]])
    rows, columns = (part.stop - part.start for part in box)
    size = grid_size(rows, columns, spacing_mm, GRID_MM)
    voxel_mm = (spacing_mm[0], spacing_mm[1] * rows / size[1], spacing_mm[2] * columns / size[0])
    small = np.zeros((len(hu), size[1], size[0]), dtype=np.uint8)
    outside = np.ones(small.shape, dtype=bool)
    rim = disc(2 * max(1, round(RIM_MM / spacing_mm[1])) + 1)

    def shrink(index: int) -> _Weighed | None:
        if missing is not None:
            seen = cv2.resize(everywhere[index][box], size, interpolation=cv2.INTER_NEAREST)
            outside[index] = seen == 0
        lung = labels[index][box]
        inside = (lung > 0).view(np.uint8)
        if not inside.any():
            return None
        small[index] = cv2.resize(lung, size, interpolation=cv2.INTER_NEAREST)
        if missing is None:
            outside[index] = small[index] == 0
        inner = cv2.erode(inside, rim, borderType=cv2.BORDER_CONSTANT, borderValue=1)
        inner = inner if inner.any() else inside
        weighed = np.clip(hu[index][box], -1050, 150).astype(np.float32) * inner
        weight = cv2.resize(inner.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        return cv2.resize(weighed, size, interpolation=cv2.INTER_AREA), weight

    def blur(sums: Sequence[_Weighed | None], index: int) -> tuple[FloatArray | None, At]:
        if not small[index].any():
            return None, (slice(0), slice(0))
        near = cv2.dilate(small[index], np.ones((5, 5), dtype=np.uint8)) > 0
        total, weight = _slab(sums, voxel_mm[0])
        at = around(near, round(ROOM_MM / min(voxel_mm[1:])) + 1)
        return means(total, weight, near)[at].copy(), at

    smooth, at = zip(*_in_slabs(shrink, blur, len(hu), int(SLAB_MM / 2 / voxel_mm[0])), strict=True)
    return Densities(smooth, at, small, outside, box, voxel_mm)


def means(total: FloatArray, weight: FloatArray, wanted: BoolArray) -> FloatArray:
    """Means over some 3 mm of what has a weight, and where nothing near has one, over more; elsewhere -1000.

    Args:
        total: float32 (rows, columns): the values times their weights.
        weight: likewise.
        wanted: bool likewise, where a mean is wanted.
    """
    out, left = np.full_like(total, _EMPTY_HU), wanted.copy()
    for sigma in (0.7, 1.5, 4.0, 12.0):
        if not left.any():
            break
        at = around(left, round(4 * sigma) + 1)  # OpenCV's blur sees no farther
        weights = cv2.GaussianBlur(weight[at], (0, 0), sigma)
        new = left[at] & (weights > (0.15 if sigma < 12 else 1e-6))
        out[at][new] = cv2.GaussianBlur(total[at], (0, 0), sigma)[new] / weights[new]
        left[at][new] = False
    return out


def around(mask: BoolArray, room: int) -> At:
    """The rows and columns of a slice where there is anything, and so many pixels around."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (
        slice(max(0, top - room), top + height + room),
        slice(max(0, left - room), left + width + room),
    )


def each(work: Callable[[int], None], count: int) -> None:
    """Do the slices, in threads."""
    with ThreadPoolExecutor(cores()) as threads:
        list(threads.map(work, range(count)))


def _in_slabs(
    shrink: Callable[[int], _Weighed | None],
    blur: Callable[[Sequence[_Weighed | None], int], tuple[FloatArray | None, At]],
    count: int,
    reach: int,
) -> Iterable[tuple[FloatArray | None, At]]:
    """Shrink all slices, in threads, and blur each with so many neighbours; the sums of few are in memory at a time."""
    sums: dict[int, _Weighed | None] = {}
    done = []
    with ThreadPoolExecutor(cores()) as threads:
        for start in range(0, count, _TOGETHER):
            stop = min(start + _TOGETHER, count)
            sums = {index: sums[index] for index in sums if index >= start - reach}
            new = [index for index in range(start, min(stop + reach, count)) if index not in sums]
            sums.update(zip(new, threads.map(shrink, new), strict=True))
            near = [[sums.get(other) for other in _outwards(index, reach)] for index in range(start, stop)]
            done.append(list(threads.map(blur, near, range(start, stop))))
    return chain.from_iterable(done)


def _outwards(index: int, reach: int) -> list[int]:
    """A slice, and its neighbours in pairs, the nearest first."""
    return [index, *(index + side * step for step in range(1, reach + 1) for side in (-1, 1))]


def _slab(sums: Sequence[_Weighed | None], slice_mm: float) -> _Weighed:
    """A slice with its neighbours within half of :data:`SLAB_MM`, the nearer the more."""
    own = next(one for one in sums if one is not None)
    total, weight = (np.zeros_like(part) for part in own)
    for index, one in enumerate(sums):
        if one is not None:
            fraction = np.float32(1 - (index + 1) // 2 * slice_mm / (SLAB_MM / 2 + slice_mm))
            total += fraction * one[0]
            weight += fraction * one[1]
    return total, weight


def _seen(labels: Bytes) -> BoolArray:
    """Where any slice has lung, bool (rows, columns)."""
    seen = np.zeros(labels.shape[1:], dtype=np.uint8)
    for plane in labels:
        np.maximum(seen, plane, out=seen)
    return seen > 0


def _box(there: BoolArray, room: list[int]) -> At:
    """The rows and columns where there is anything, and some around."""
    parts = []
    for axis, spare in zip((0, 1), room, strict=True):
        inside = np.flatnonzero(there.any(axis=1 - axis))
        parts.append(
            slice(max(0, int(inside[0]) - spare), min(there.shape[axis], int(inside[-1]) + 1 + spare))
        )
    return parts[0], parts[1]
