"""Filters of slices and directions, and of a mask's neighbours in three dimensions, as exact as scipy's.

Where they look: beyond the first and the last slice is what stands there; directions go round.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, FloatArray

Size = tuple[int, int]
"""How many slices and directions a filter looks at, odd numbers."""


def lowest(values: FloatArray, size: Size) -> FloatArray:
    """The minimum around each value, float32 (slices, directions)."""
    return _within(cv2.erode(_padded(values, size), np.ones(size, np.uint8)), size)


def highest(values: FloatArray, size: Size) -> FloatArray:
    """The maximum around each value, float32 (slices, directions)."""
    return _within(cv2.dilate(_padded(values, size), np.ones(size, np.uint8)), size)


def mean(values: FloatArray, size: Size) -> FloatArray:
    """The mean around each value, float32 (slices, directions)."""
    for axis, width in enumerate(size):
        padded = _padded(values, (width, 1) if axis == 0 else (1, width)).astype(np.float64)
        sums = np.cumsum(np.insert(padded, 0, 0.0, axis=axis), axis=axis)
        high, low = (np.take(sums, range(at, at + values.shape[axis]), axis=axis) for at in (width, 0))
        values = ((high - low) / width).astype(np.float32)
    return values


def followed(seeds: BoolArray, within: BoolArray, steps: int) -> BoolArray:
    """What so many steps from voxel to neighbour lead to from the seeds, bool (slices, rows, columns)."""
    reached = seeds & within
    for _ in range(steps):
        more = reached.copy()
        for axis in range(3):
            ahead, behind = (
                tuple(part if other == axis else slice(None) for other in range(3))
                for part in (slice(1, None), slice(None, -1))
            )
            more[ahead] |= reached[behind]
            more[behind] |= reached[ahead]
        more &= within
        if np.array_equal(more, reached):
            break
        reached = more
    return reached


def highest_near(numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The highest number in the 3 x 3 x 3 voxels around each, below 2**24."""
    flat = np.stack([cv2.dilate(plane.astype(np.float32), np.ones((3, 3), np.uint8)) for plane in numbers])
    out = flat.copy()
    np.maximum(out[1:], flat[:-1], out=out[1:])
    np.maximum(out[:-1], flat[1:], out=out[:-1])
    return out.astype(np.int32)


def _padded(values: FloatArray, size: Size) -> FloatArray:
    slices, directions = (width // 2 for width in size)
    padded = np.pad(values, ((slices, slices), (0, 0)), mode="edge")
    return np.pad(padded, ((0, 0), (directions, directions)), mode="wrap")


def _within(padded: FloatArray, size: Size) -> FloatArray:
    slices, directions = (width // 2 for width in size)
    rows, columns = padded.shape
    return np.asarray(padded[slices : rows - slices, directions : columns - directions], dtype=np.float32)
