"""Smooth fields of a simulated chest: distances to surfaces on a coarse grid, made fine a slice at a time.

A surface that lies between two coarse points is still found to a fraction of a millimetre, because a distance
changes evenly across it. So a chest is computed at 128 x 128 and drawn at any size with sharp edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import FloatArray

Numbers = npt.NDArray[np.floating]
COARSE = 128
_SPREAD = 0.6


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a drawn volume lie in mm, to the patient's left, back and head.

    Attributes:
        size: rows and columns of the volume.
        pixel_mm: their distance.
        z_mm: float32 (slices), the slices' heights.
        thickness_mm: over how much of z a slice averages.
        turn: how far the patient is turned, rad.
        shift_mm: where the middle of the chest lies from the middle of the image, to the left and to the back.
        lean: shift to the left for each mm of height above ``middle_mm``.
        middle_mm: the height at which leaning shifts nothing.
    """

    size: int
    pixel_mm: float
    z_mm: FloatArray
    thickness_mm: float
    turn: float
    shift_mm: tuple[float, float]
    lean: float
    middle_mm: float

    @property
    def coarse(self) -> int:
        """Rows and columns of the coarse grid."""
        return min(COARSE, self.size)

    def axes(self, count: int) -> tuple[FloatArray, FloatArray]:
        """x and y in the chest's own frame, leaning left aside, at ``count`` x ``count`` points of a slice."""
        step = self.pixel_mm * self.size / count
        line = (np.arange(count, dtype=np.float32) - np.float32((count - 1) / 2)) * np.float32(step)
        x, y = line[None, :] - self.shift_mm[0], line[:, None] - self.shift_mm[1]
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        return _f32(cos * x + sin * y), _f32(-sin * x + cos * y)

    def frame(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """x, y, z of the coarse grid in the chest's own frame; (slices, n, n), (1, n, n), (slices, 1, 1)."""
        x, y = self.axes(self.coarse)
        z = self.z_mm[:, None, None]
        return _f32(x[None] - self.lean * (z - self.middle_mm)), y[None], z

    def pixels(self, points_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Columns and rows (float64 (n, 2)) of points (n, 3) in the chest's own frame."""
        x = points_mm[:, 0] + self.lean * (points_mm[:, 2] - self.middle_mm)
        y = points_mm[:, 1]
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        placed = np.stack(
            [cos * x - sin * y + self.shift_mm[0], sin * x + cos * y + self.shift_mm[1]], axis=1
        )
        return np.asarray(placed / self.pixel_mm + (self.size - 1) / 2)

    def fine(self, coarse: FloatArray) -> FloatArray:
        """One slice of a coarse field at the volume's own size."""
        if coarse.shape[0] == self.size:
            return coarse
        return _f32(cv2.resize(coarse, (self.size, self.size), interpolation=cv2.INTER_LINEAR))

    def edge(self, coarse: FloatArray, width_mm: float = 0.0) -> FloatArray:
        """How much of each pixel lies inside a surface, 0 … 1, from one slice of coarse distances (inside < 0)."""
        return cover(self.fine(coarse), max(width_mm, self.pixel_mm))


def cover(distance_mm: Numbers, width_mm: float) -> FloatArray:
    """1 inside, 0 outside, an even ramp of ``width_mm`` across the surface."""
    return _f32(np.clip(0.5 - distance_mm / np.float32(width_mm), 0, 1))


def radial(*axes: tuple[Numbers, Numbers | float], power: float = 2.0) -> FloatArray:
    """Distance along the ray from the centre to a (super)ellipsoid, negative inside.

    Args:
        axes: for each axis the offset from the centre and the half axis, mm.
        power: 2 for an ellipse, more for one with fuller corners.
    """
    squares = sum(np.square(offset) for offset, _ in axes) + np.float32(1e-2)
    if power == 2.0:
        relative = np.sqrt(sum(np.square(offset / half) for offset, half in axes) + np.float32(1e-6))
    else:
        relative = sum(
            (np.abs(offset) + np.float32(0.1)) ** power / half**power for offset, half in axes
        ) ** (1 / power)
    return _f32(np.sqrt(squares) * (1 - 1 / relative))


def smoothstep(value: Numbers | float, low: float, high: float) -> FloatArray:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((np.asarray(value, dtype=np.float32) - low) / (high - low), 0, 1)
    return _f32(t * t * (3 - 2 * t))


def bumps(rng: np.random.Generator, grid: Grid, size_mm: float) -> FloatArray:
    """Smooth noise in space with bumps of about ``size_mm``; zero mean, unit spread; float32 (slices, n, n).

    Laid out over a fixed box, so that neither the number of slices nor the field of view changes what is drawn.
    """
    side = 2 + int(np.ceil(520 / size_mm))
    layers = 4 + int(np.ceil(420 / size_mm))
    knots = rng.standard_normal((layers, side, side), dtype=np.float32)
    x, y = grid.axes(grid.coarse)
    columns, rows = _f32((x + 260) / size_mm), _f32((y + 260) / size_mm)
    heights = np.clip((grid.z_mm + 70) / size_mm, 0, layers - 3.001)
    first, last = int(heights.min()), int(heights.max()) + 3
    planes = np.stack(
        [
            cv2.remap(knots[k], columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
            for k in range(first, last + 1)
        ]
    )
    below = heights.astype(np.intp) - first
    t = (heights - np.floor(heights)).astype(np.float32)[:, None, None]
    # cubic B-spline: no flat steps between the layers
    field = planes[below] * ((1 - t) ** 3 / 6)
    field += planes[below + 1] * ((3 * t**3 - 6 * t**2 + 4) / 6)
    field += planes[below + 2] * ((-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6)
    field += planes[below + 3] * (t**3 / 6)
    # Interpolation evens out; unit spread is what the callers reckon with.
    return _f32(field / np.float32(_SPREAD))


def _f32(values: npt.ArrayLike) -> FloatArray:
    return np.asarray(values, dtype=np.float32)
