"""A CT on a coarse grid, for checks that look at the whole of it: every slice, pixels of about 3 mm.

What is body and what is air is told by the study's own values, wherever its scale begins: a study whose values are
shifted has the same outline.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from pulmoscope.core.types import BoolArray, Bytes, FloatArray, Point, Voxels

PIXEL_MM = 3.0
"""A pixel of the grid is about as wide."""
LEAST_PIXELS = 32
"""A grid has at least so many rows and columns, where the scan has."""
THIN = 3
"""Pixels of the grid: what is thinner is no body but table, blanket or tube."""
APART_HU = 300.0
"""Air and tissue lie further apart than this, however the scale is stretched, or there are no two such things."""
_BINS, _SOME_VALUES, _SOME_SLICES = 256, 200_000, 24


@dataclass(frozen=True)
class CoarseCt:
    """A CT on a coarse grid.

    Attributes:
        values: float32 (slices, rows, columns), means of the scan's values.
        constant: bool, alike: where all those values are equal, as what a program fills in is.
        voxel_mm: (slice, row, column).
    """

    values: FloatArray
    constant: BoolArray
    voxel_mm: Point

    @cached_property
    def threshold(self) -> float | None:
        """The value between air and tissue (Otsu, IEEE Trans SMC 9, 1979); None where there are no two such things."""
        measured = self.values[~self.constant]
        if not measured.size:
            return None
        measured = measured[:: max(1, measured.size // _SOME_VALUES)]
        low, high = np.percentile(measured, [0.5, 99])
        if not high - low > APART_HU:
            return None
        counts, edges = np.histogram(measured, bins=_BINS, range=(low, high))
        middles = (edges[1:] + edges[:-1]) / 2
        below = np.cumsum(counts)
        above = below[-1] - below
        sums = np.cumsum(counts * middles)
        with np.errstate(invalid="ignore", divide="ignore"):
            dark, bright = sums / below, (sums[-1] - sums) / above
            between = np.nan_to_num(below * above * np.square(bright - dark))
        at = int(between.argmax())
        return float(edges[at + 1]) if bright[at] - dark[at] > APART_HU else None

    @cached_property
    def tissue(self) -> BoolArray:
        """What is denser than air and lung."""
        if self.threshold is None:
            return np.zeros(self.values.shape, dtype=np.bool_)
        return np.asarray(self.values > self.threshold)

    @cached_property
    def solid(self) -> Bytes:
        """Tissue that is not thin: body and arms, without table, blanket and tubes; uint8."""
        kernel = np.ones((THIN, THIN), np.uint8)
        return np.stack(
            [cv2.morphologyEx(plane, cv2.MORPH_OPEN, kernel) for plane in self.tissue.view(np.uint8)]
        )

    @cached_property
    def body(self) -> BoolArray:
        """The patient's trunk in each slice: the largest outline of tissue, filled, lungs included."""
        kernel = np.ones((THIN, THIN), np.uint8)
        filled = (_largest(plane) for plane in self.tissue.view(np.uint8))
        opened = (cv2.morphologyEx(plane, cv2.MORPH_OPEN, kernel) for plane in filled)
        return np.stack([_largest(plane) for plane in opened]).astype(np.bool_)

    @cached_property
    def outside(self) -> BoolArray:
        """Air around the patient for certain: farther than two pixels from the convex outline of all tissue.

        Lungs that the image's border cuts open lie within that outline.
        """
        kernel = np.ones((5, 5), np.uint8)
        around = np.stack(
            [cv2.dilate(_hull(plane), kernel) == 0 for plane in self.solid | self.body.view(np.uint8)]
        )
        return around & ~self.tissue & ~self.constant

    @cached_property
    def cut(self) -> float:
        """The fraction of the image's border that the body, or what hangs on to it, reaches."""
        edges = (self.solid[:, 0], self.solid[:, -1], self.solid[:, :, 0], self.solid[:, :, -1])
        return sum(int(np.count_nonzero(edge)) for edge in edges) / max(1, sum(edge.size for edge in edges))

    @cached_property
    def noise(self) -> float:
        """How much tissue differs from pixel to pixel: the s.d. that noise of the same median difference has."""
        some = slice(None, None, max(1, len(self.values) // _SOME_SLICES))
        values, tissue = self.values[some], self.tissue[some] & self.body[some]
        both = tissue[:, :, 1:] & tissue[:, :, :-1]
        differences = np.abs(values[:, :, 1:] - values[:, :, :-1])[both]
        return float(np.median(differences)) / _MEDIAN_OF_DIFFERENCE if differences.size else 0.0

    @cached_property
    def airy(self) -> BoolArray:
        """Air and lung within the body."""
        return self.body & ~self.tissue

    def on_grid(self, mask: Bytes) -> BoolArray:
        """Where a mask of the scan's own grid is not 0, on the coarse one."""
        _, rows, columns = self.values.shape
        down, across = mask.shape[1] // rows, mask.shape[2] // columns
        return np.asarray(mask[:, down // 2 :: down, across // 2 :: across][:, :rows, :columns] > 0)


def coarse(pixels: Voxels, spacing_mm: Point) -> CoarseCt:
    """A scan on the coarse grid.

    Args:
        pixels: float32 or int16 (slices, rows, columns).
        spacing_mm: (slice, row, column).
    """
    _, rows, columns = pixels.shape
    step = max(1, min(round(PIXEL_MM / min(spacing_mm[1:])), min(rows, columns) // LEAST_PIXELS))
    rows, columns = rows // step, columns // step
    within = pixels[:, : rows * step, : columns * step]
    values = np.empty((len(pixels), rows, columns), dtype=np.float32)
    constant = np.empty(values.shape, dtype=np.bool_)
    for index, plane in enumerate(within):
        exact = np.asarray(plane, dtype=np.float32)
        values[index] = cv2.resize(exact, (columns, rows), interpolation=cv2.INTER_AREA)
        if step == 1:
            constant[index] = _like_its_neighbours(values[index])
            continue
        # Two of a cell's pixels that equal its mean: measured values hardly ever do.
        corner, middle = exact[::step, ::step], exact[step // 2 :: step, step // 2 :: step]
        constant[index] = np.abs(values[index] - corner) < _ROUNDING
        constant[index] &= np.abs(values[index] - middle) < _ROUNDING
    return CoarseCt(values, constant, (spacing_mm[0], spacing_mm[1] * step, spacing_mm[2] * step))


_ROUNDING = 0.02
_MEDIAN_OF_DIFFERENCE = 0.954  # of two normal values of s.d. 1, without sign


def _like_its_neighbours(plane: FloatArray) -> BoolArray:
    """Where a pixel equals those around it."""
    kernel = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.erode(plane, kernel) == cv2.dilate(plane, kernel))


def _largest(plane: Bytes) -> Bytes:
    """The largest outline, filled."""
    outlines, _ = cv2.findContours(plane, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = np.zeros(plane.shape, dtype=np.uint8)
    if outlines:
        cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return filled


def _hull(plane: Bytes) -> Bytes:
    """The convex hull of what is in a slice."""
    hull = np.zeros(plane.shape, dtype=np.uint8)
    outlines, _ = cv2.findContours(plane, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if outlines:
        cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(outlines)), 1)
    return hull
