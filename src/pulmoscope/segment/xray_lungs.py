"""What is done before and after the lung finder network: its input, its map, and the box and hull of that map."""

from __future__ import annotations

import cv2
import numpy as np

from pulmoscope.core.order import percentiles
from pulmoscope.core.types import BoolArray, Box, FloatArray

FINDER_SIZE = 80
"""Side of the lung finder's square input, px."""

LEAST_SHARE = 0.06
"""Lungs that cover less of the image than this are no lungs (healthy radiographs: 0.2 to 0.4)."""

FLATTEST = 0.8
"""Least height of the box, in widths: a dense lower zone hides the lungs' base from the finder, not from us."""


def finder_input(pixels: FloatArray) -> FloatArray:
    """The lung finder's input: float32 (1, FINDER_SIZE, FINDER_SIZE) in [0, 1].

    The whole image at its own aspect, black beside it, its grey values stretched from the 1st to the 99th percentile.
    """
    return squared(pixels, FINDER_SIZE)


def squared(pixels: FloatArray, side: int) -> FloatArray:
    """A whole image at its own aspect in a black square, stretched: float32 (1, side, side) in [0, 1]."""
    rows, columns = pixels.shape
    top, left, height, width = _letterbox(rows, columns, side)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    low, high = percentiles(small, (1, 99))
    canvas = np.zeros((1, side, side), dtype=np.float32)
    canvas[0, top : top + height, left : left + width] = np.clip((small - low) / max(high - low, 0.03), 0, 1)
    return canvas


def finder_map(probability: FloatArray, rows: int, columns: int) -> FloatArray:
    """Cut the part of the finder's answer (FINDER_SIZE, FINDER_SIZE) that shows the image of (rows, columns)."""
    top, left, height, width = _letterbox(rows, columns, FINDER_SIZE)
    return probability[top : top + height, left : left + width]


def lung_box(lungs: FloatArray, rows: int, columns: int, margin: float) -> Box | None:
    """The box around the lungs in an image of (rows, columns), or None where the map holds no plausible lungs.

    Args:
        lungs: lung probability over the whole image, float32, any size.
        rows, columns: of the image that the box is for.
        margin: fraction of the lungs' height and width that is added on every side, within the image.
    """
    inside = _largest_parts(lungs > 0.5)
    if inside.mean() <= LEAST_SHARE:
        return None
    by_row, by_column = inside.sum(axis=1), inside.sum(axis=0)
    (top, bottom), (left, right) = _span(by_row), _span(by_column)
    height, width = bottom - top + 1, right - left + 1
    right_lung = float(by_column[: int(np.ceil((left + right) / 2))].sum() / by_column.sum())
    plausible = (
        width > 0.30 * inside.shape[1]
        and height > 0.25 * inside.shape[0]
        and 0.55 < (width / inside.shape[1] * columns) / (height / inside.shape[0] * rows) < 2.4
        and 0.15 < right_lung < 0.85
    )
    if not plausible:
        return None
    down, across = rows / inside.shape[0], columns / inside.shape[1]
    first_row = max(0, round((top - margin * height) * down))
    first_column = max(0, round((left - margin * width) * across))
    last_column = min(columns, round((right + 1 + margin * width) * across))
    last_row = round((bottom + 1 + margin * height) * down)
    last_row = min(rows, max(last_row, first_row + round(FLATTEST * (last_column - first_column))))
    return Box(first_row, first_column, last_row - first_row, last_column - first_column)


def lung_hull(lungs: FloatArray, rows: int, columns: int) -> FloatArray:
    """The convex hull of both lungs, heart and spine between them included, in an image of (rows, columns).

    Args:
        lungs: as for :func:`lung_box`, which must have found lungs in it.

    Returns:
        float32 (points, 2): x and y in pixels of the image.
    """
    inside = _largest_parts(lungs > 0.5)
    y, x = np.nonzero(inside)
    corners = np.concatenate(
        [np.stack((x + right, y + below), axis=1) for right in (0, 1) for below in (0, 1)]
    )
    hull = cv2.convexHull(corners.astype(np.float32))[:, 0] * (
        columns / inside.shape[1],
        rows / inside.shape[0],
    )
    (left, top), (right, bottom) = hull.min(axis=0), hull.max(axis=0)
    stretch = max(1.0, FLATTEST * (right - left) / (bottom - top))
    hull[:, 1] = top + (hull[:, 1] - top) * stretch
    return np.asarray(hull, dtype=np.float32)


def lung_area(lungs: FloatArray, rows: int, columns: int, room: float) -> BoolArray | None:
    """Both lungs and ``room`` around them in an image of (rows, columns), or None where the map holds no lungs.

    Args:
        lungs: as for :func:`lung_box`.
        room: how far the area reaches beyond the lungs, in shorter sides of the image.
    """
    if lung_box(lungs, rows, columns, 0.0) is None:
        return None
    inside = _largest_parts(lungs > 0.5).astype(np.float32)
    area = cv2.resize(inside, (columns, rows), interpolation=cv2.INTER_LINEAR) > 0.5
    radius = round(room * min(rows, columns))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(area.astype(np.uint8), disc), dtype=np.bool_)


def lung_region(lungs: FloatArray, rows: int, columns: int) -> BoolArray:
    """The lungs themselves in an image of (rows, columns): bool (rows, columns).

    Args:
        lungs: as for :func:`lung_box`, which must have found lungs in it.
    """
    kept = np.where(_largest_parts(lungs > 0.5), lungs, 0).astype(np.float32)
    return np.asarray(cv2.resize(kept, (columns, rows), interpolation=cv2.INTER_LINEAR) > 0.5)


def _letterbox(rows: int, columns: int, side: int) -> tuple[int, int, int, int]:
    """Where the image lies in the square: top, left, height, width."""
    scale = side / max(rows, columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    return (side - height) // 2, (side - width) // 2, height, width


def _largest_parts(inside: np.ndarray) -> np.ndarray:
    """Keep the two largest connected parts, the second only if it is no crumb."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    if count <= 2:
        return inside
    kept = [1 + part for part in np.argsort(-areas)[:2] if areas[part] >= 0.15 * areas.max()]
    chosen = np.zeros(count, dtype=bool)
    chosen[kept] = True
    return np.asarray(chosen[labels])


def _span(counts: np.ndarray) -> tuple[float, float]:
    """The 1st and 99th percentile of positions, given how many there are at each: ``np.quantile``, but quicker."""
    limits = np.array([0.01, 0.99]) * (counts.sum() - 1)
    below = np.floor(limits)
    reached = counts.cumsum()
    lower = np.searchsorted(reached, below, side="right")
    upper = np.searchsorted(reached, np.ceil(limits), side="right")
    low, high = lower + (upper - lower) * (limits - below)
    return float(low), float(high)
