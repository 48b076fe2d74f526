"""What all preprocessing shares: boxes, cutting out, resampling, hiding what lies outside the lungs, normalising."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import Box, Bytes, FloatArray, Voxels

if TYPE_CHECKING:  # it brings OpenCV
    from pulmoscope.segment.ct_lungs import LungMask

FADE = 0.006
"""Standard deviation of the soft edge of what is shown, in sides of the framed image."""

Pixel = TypeVar("Pixel", np.float32, np.uint8)


@dataclass(frozen=True)
class Framed:
    """The region that a network sees, and where it lies in the scan.

    Attributes:
        image: float32 (size, size) in [0, 1].
        box: the region in pixels of the scan; ``image`` is this region, resampled.
        lungs_found: False where the lungs were asked for and not found, so the centre square was taken.
    """

    image: FloatArray
    box: Box
    lungs_found: bool


def centre_square(rows: int, columns: int, edge: float = 0.0) -> Box:
    """The largest centred square, less ``edge`` of its side at every border."""
    side = min(rows, columns)
    inner = max(1, round(side * (1 - 2 * edge)))
    return Box((rows - inner) // 2, (columns - inner) // 2, inner, inner)


def lung_square(lungs: LungMask, margin: float) -> Box:
    """The square around a study's lungs, the same for all slices, within the slice where that is possible.

    Args:
        lungs: of the whole study; where none were found, the box is the whole slice.
        margin: fraction of the lungs' longer side that is added on every side.
    """
    rows, columns = lungs.labels.shape[1:]
    if not lungs.found:
        return Box(0, 0, rows, columns)
    seen = lungs.labels.max(axis=0)
    (top, bottom), (left, right) = (
        (int(inside[0]), int(inside[-1]) + 1)
        for inside in (np.flatnonzero(seen.max(axis=1)), np.flatnonzero(seen.max(axis=0)))
    )
    side = min(round(max(bottom - top, right - left) * (1 + 2 * margin)), rows, columns)
    first_row = min(max((top + bottom - side) // 2, 0), rows - side)
    first_column = min(max((left + right - side) // 2, 0), columns - side)
    return Box(first_row, first_column, side, side)


def crop(pixels: FloatArray, box: Box) -> FloatArray:
    """Cut out a box; what lies outside the image is black."""
    rows, columns = pixels.shape
    top, left = max(0, box.top), max(0, box.left)
    bottom = max(top, min(rows, box.top + box.height))
    right = max(left, min(columns, box.left + box.width))
    inside = pixels[top:bottom, left:right]
    if inside.shape == (box.height, box.width):
        return inside
    whole = np.zeros((box.height, box.width), dtype=np.float32)
    whole[top - box.top : bottom - box.top, left - box.left : right - box.left] = inside
    return whole


def resample(pixels: npt.NDArray[Pixel], size: int) -> npt.NDArray[Pixel]:
    """Resample to (size, size): area averaging when shrinking, so that fine texture does not alias."""
    method = cv2.INTER_AREA if min(pixels.shape) >= size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=method), dtype=pixels.dtype)


def only_within(
    image: FloatArray, hulls: Sequence[npt.NDArray[np.floating[Any]]], room: float, grey: float | None = None
) -> FloatArray:
    """Replace what lies outside convex polygons by one grey, with a soft edge.

    Args:
        image: float32 (size, size).
        hulls: each (points, 2), x and y in sides of the image; they may reach beyond the image.
        room: how far beyond the polygons is still shown, in sides.
        grey: of what is hidden; None: the mean of what is shown.
    """
    size = image.shape[0]
    shown = np.zeros(image.shape, dtype=np.uint8)
    for hull in hulls:
        corners = np.rint(hull * size * 16 - 8).astype(
            np.int32
        )  # OpenCV's fixed point: 4 bits behind the point
        cv2.fillConvexPoly(shown, corners, 255, shift=4)
        cv2.polylines(shown, [corners], True, 255, thickness=1 + 2 * round(room * size), shift=4)
    weight = cv2.GaussianBlur(shown, (0, 0), FADE * size).astype(np.float32) / np.float32(255)
    hidden = np.float32((image * weight).sum() / max(weight.sum(), 1) if grey is None else grey)
    return np.asarray(hidden + (image - hidden) * weight, dtype=np.float32)


def windowed(pixels: Voxels, low: float, high: float) -> Bytes:
    """Scale so that ``low`` becomes 0 and ``high`` 255, and cut off what lies beyond; any shape."""
    scaled = (pixels - np.float32(low)) * np.float32(255 / (high - low))
    return np.asarray(np.rint(np.clip(scaled, 0, 255)), dtype=np.uint8)


def normalised(image: FloatArray, mean: float, std: float, channels: int) -> FloatArray:
    """Normalise (rows, columns) or (channels, rows, columns) to float32 (channels, rows, columns)."""
    normal = (image - np.float32(mean)) / np.float32(std)
    return np.ascontiguousarray(np.broadcast_to(normal, (channels, *normal.shape[-2:])), dtype=np.float32)
