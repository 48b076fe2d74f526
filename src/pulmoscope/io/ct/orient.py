"""Turning a volume so that its slices run to the head, its rows to the back and its columns to the patient's left.

Axes are exchanged and reversed, never resampled: every voxel keeps its value and its place in the patient.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import cast

import numpy as np

from pulmoscope.core.types import Geometry, Point, Voxels

OFF = 0.25
"""Fraction of the smallest side of a voxel by which a mask's voxels may lie beside the scan's: rounding, no more."""


def orient(pixels: Voxels, geometry: Geometry) -> tuple[Voxels, Geometry, bool]:
    """Bring a volume to the orientation that all scans have (LPS, slices axial).

    Args:
        pixels: (slices, rows, columns) as stored.
        geometry: where they lie.

    Returns:
        The volume, contiguous; its geometry; whether its slices now come in the reverse order. Where the slices were
        stored along another axis than the body's, there is no such order: False.
    """
    steps = np.array([geometry.slice_step_mm, geometry.row_step_mm, geometry.column_step_mm])
    units = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    wanted = (2, 1, 0)  # the patient's axis along which slices, rows, columns are to run: z, y, x
    order = max(
        permutations(range(3)),
        key=lambda axes: sum(abs(units[axis, patient]) for axis, patient in zip(axes, wanted, strict=True)),
    )
    pixels, steps = pixels.transpose(order), steps[list(order)]
    origin = np.array(geometry.origin_mm)
    reversed_axes = []
    for axis, patient in enumerate(wanted):
        if steps[axis, patient] < 0:
            origin = origin + steps[axis] * (pixels.shape[axis] - 1)
            steps[axis] = -steps[axis]
            reversed_axes.append(axis)
    turned = np.flip(pixels, tuple(reversed_axes)) if reversed_axes else pixels
    oriented = Geometry(_point(origin), _point(steps[0]), _point(steps[1]), _point(steps[2]))
    return cast("Voxels", np.ascontiguousarray(turned)), oriented, 0 in reversed_axes and order[0] == 0


def corners(placed: Geometry, shape: tuple[int, ...]) -> np.typing.NDArray[np.float64]:
    """Where the eight outermost voxels of a volume (slices, rows, columns) lie: (8, 3) in mm."""
    steps = np.array([placed.slice_step_mm, placed.row_step_mm, placed.column_step_mm])
    return np.array(
        [placed.origin_mm + index @ steps for index in product(*((0, count - 1) for count in shape))]
    )


def _point(values: np.typing.NDArray[np.float64]) -> Point:
    x, y, z = (float(value) + 0.0 for value in values)
    return x, y, z
