"""The lungs of a CT slice that came as a picture: found by grey alone, as a picture has no Hounsfield units.

Lungs are dark parts within a bright body. What is dark and reaches a corner is the air around the body; what is left of
the dark is lungs, if it is large enough. Each lung is then taken with its convex hull, so that vessels and consolidated
parts, which are as bright as the body, lie within.
"""

from __future__ import annotations

import cv2
import numpy as np

from pulmoscope.core.types import BoolArray, Box, Bytes, FloatArray

SEARCH_SIDE = 256
"""The longest side of the picture that is searched, px: finer detail says nothing about where the lungs are."""

LEAST_SHARE = 0.02
"""Lungs that cover less of the picture than this are none: gas in the bowel, a windpipe alone."""

LEAST_PART = 0.12
"""Dark parts smaller than this fraction of the largest are no lungs: windpipe, gas in the stomach."""

CORNER = 0.05
"""How near to a corner the air around a body comes and lungs do not, in shorter sides."""

FULL = 0.7
"""Lungs fill their hulls at least so far (healthy ones: 0.8 and more), or another threshold is tried, too."""

LEAST_OF_FIRST = 0.35
"""Lungs of a second, darker threshold are at least so large a fraction of the first's."""

TABLE = 0.012
"""Half the thickness of a table's walls, in longer sides."""

ENCLOSED = 0.5
"""The fraction of a dark part's rim that lies at the body: less, and it is a gap beside the body or in the table."""

CROPPED = 0.08
"""Less air around the body than this fraction of the picture: the picture was cropped."""

FLAT = 0.08
"""Rows and columns at the border whose grey varies less than this are a frame, or nothing but air."""


def slice_lungs(pixels: FloatArray) -> BoolArray | None:
    """Find the lungs' dark parts in the picture of a CT slice.

    Args:
        pixels: float32 (rows, columns) in [0, 1]; a lung window, or any other in which lungs are darker than the body.

    Returns:
        bool (rows, columns); None where there are no lungs to be seen.
    """
    rows, columns = pixels.shape
    scale = min(1.0, SEARCH_SIDE / max(rows, columns))
    small = cv2.resize(
        pixels, (max(1, round(columns * scale)), max(1, round(rows * scale))), interpolation=cv2.INTER_AREA
    )
    inner = _without_frame(np.asarray(small, dtype=np.float32))
    if min(inner.height, inner.width) < 16:
        return None
    part = small[inner.slices]
    smooth = np.rint(cv2.GaussianBlur(part, (0, 0), 1.0) * 255).clip(0, 255).astype(np.uint8)
    half = _between(smooth)
    lungs = _enclosed(smooth, half)
    if _fill(lungs) < FULL:  # the dark half of a soft-tissue window holds fat, too: look at the darkest alone
        darkest = _enclosed(smooth, _between(smooth[smooth <= half]), again=False)
        if _fill(darkest) >= FULL and darkest.sum() > LEAST_OF_FIRST * lungs.sum():
            lungs = darkest
    if lungs.sum() < LEAST_SHARE * small.size:
        return None
    whole = np.zeros(small.shape, dtype=np.uint8)
    whole[inner.slices] = lungs
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_NEAREST) > 0)


def lung_hulls(lungs: BoolArray) -> list[FloatArray]:
    """The convex hull of each lung, float32 (points, 2): x and y in pixels.

    Lungs that touch are parted where they are narrowest, near the middle of both.
    """
    in_columns = cv2.reduce(lungs.view(np.uint8), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
    columns = np.flatnonzero(in_columns)
    if columns.size == 0:
        return []
    left, right = int(columns[0]), int(columns[-1]) + 1
    counts = cv2.blur(in_columns.astype(np.float32)[None], (5, 1))[0]
    first, last = left + (right - left) * 3 // 10, left + (right - left) * 7 // 10
    middle = first + int(np.argmin(counts[first : max(last, first + 1)]))
    if counts[middle] > 0.6 * counts.max():  # one lung alone, or what can't be parted
        return [_hull(lungs, 0)]
    sides = [(lungs[:, :middle], 0), (lungs[:, middle:], middle)]
    least = 0.05 * int(in_columns.sum())
    return [_hull(side, start) for side, start in sides if np.count_nonzero(side) >= least]


def _hull(part: BoolArray, start: int) -> FloatArray:
    rows = np.flatnonzero(part.any(axis=1))
    first = start + part[rows].argmax(axis=1)
    last = start + part.shape[1] - part[rows, ::-1].argmax(axis=1)
    corners = np.concatenate([np.stack((x, rows + below), axis=1) for x in (first, last) for below in (0, 1)])
    return np.asarray(cv2.convexHull(corners.astype(np.float32))[:, 0], dtype=np.float32)


def _enclosed(smooth: Bytes, air: int, again: bool = True) -> BoolArray:
    """The large dark parts within the body.

    Args:
        smooth: the picture.
        air: what is as dark as this and reaches a corner is the air around the body.
        again: look for the threshold between lung and tissue again, in the body alone; else ``air`` is taken.
    """
    around = _reaching_corners(smooth <= air)
    body = smooth[~around]
    if body.size < 0.1 * smooth.size:
        return np.zeros(smooth.shape, dtype=bool)
    dark = (smooth <= (_between(body) if again else air)) & ~around
    dark &= ~_reaching_corners(dark)
    bright = ~dark & ~around
    # Where a picture is cropped to the body there is no table, and what is left of the chest wall may be thin.
    return _large_parts(dark, _largest_part(bright) if around.mean() > CROPPED else None)


def _fill(lungs: BoolArray) -> float:
    """How much of their hulls the lungs' dark parts fill, 0 where there are none."""
    area = sum(float(cv2.contourArea(hull)) for hull in lung_hulls(lungs))
    return float(lungs.sum()) / area if area else 0.0


def _between(grey: Bytes) -> int:
    """Otsu's threshold: the last grey value of the darker of two groups."""
    threshold, _ = cv2.threshold(
        np.ascontiguousarray(grey.reshape(1, -1)), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU
    )
    return int(threshold)


def _without_frame(pixels: FloatArray) -> Box:
    """What is left when flat rows and columns are taken off all four sides."""
    top, left = 0, 0
    bottom, right = pixels.shape

    def flat(line: FloatArray) -> bool:
        few = line.size // 25  # letters and specks
        ordered = np.partition(line, (few, line.size - 1 - few))
        return bool(ordered[-1 - few] - ordered[few] < FLAT)

    changed = True
    while changed and bottom - top > 8 and right - left > 8:
        before = (top, left, bottom, right)
        top += flat(pixels[top, left:right])
        bottom -= flat(pixels[bottom - 1, left:right])
        left += flat(pixels[top:bottom, left])
        right -= flat(pixels[top:bottom, right - 1])
        changed = before != (top, left, bottom, right)
    return Box(top, left, bottom - top, right - left)


def _reaching_corners(dark: BoolArray) -> BoolArray:
    """The parts of ``dark`` that reach a corner, or that run along much of the border."""
    count, labels = cv2.connectedComponents(dark.astype(np.uint8), connectivity=4)
    rows, columns = dark.shape
    border = np.concatenate((labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]))
    along = np.bincount(border, minlength=count)
    outside = along > 0.4 * (rows + columns)
    near = max(2, round(CORNER * min(rows, columns)))
    for corner in (
        labels[:near, :near],
        labels[:near, -near:],
        labels[-near:, :near],
        labels[-near:, -near:],
    ):
        outside[np.unique(corner)] = True
    outside[0] = False
    return np.asarray(outside[labels])


def _largest_part(bright: BoolArray) -> BoolArray:
    """The body: the largest part of what is bright, cut loose from the thin walls of the table."""
    width = 2 * max(1, round(TABLE * max(bright.shape))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        cv2.erode(bright.astype(np.uint8), disc), connectivity=4
    )
    if count < 2:
        return bright
    body = (labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])).astype(np.uint8)
    return np.asarray(cv2.dilate(body, disc) > 0) & bright


def _large_parts(dark: BoolArray, body: BoolArray | None) -> BoolArray:
    """The large parts of what is dark, without thin ones and those that ``body``, where given, does not enclose."""
    width = max(3, round(0.02 * max(dark.shape)) | 1)
    core = cv2.morphologyEx(
        dark.astype(np.uint8), cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    )
    _, labels, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    for part in np.flatnonzero(areas >= max(1, LEAST_PART * areas.max())):
        if body is not None and _enclosure(labels == part, body) < ENCLOSED:
            areas[part] = 0
    return np.asarray((areas >= max(1, LEAST_PART * areas.max()))[labels])


def _enclosure(part: BoolArray, body: BoolArray) -> float:
    """The fraction of the body in a thin rim around ``part``, whose holes and notches (vessels) are filled first.

    0 for what reaches the picture's border: there is air around the body, so the lungs are far from it.
    """
    if part[0].any() or part[-1].any() or part[:, 0].any() or part[:, -1].any():
        return 0.0
    width = max(3, round(0.04 * max(part.shape)) | 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    rows, columns = part.shape
    wide = cv2.copyMakeBorder(part.astype(np.uint8), width, width, width, width, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, disc)[width : width + rows, width : width + columns]
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(
        np.zeros((rows, columns), dtype=np.uint8), contours, -1, 1, thickness=cv2.FILLED
    )
    rim = (cv2.dilate(filled, np.ones((7, 7), dtype=np.uint8)) > 0) & (filled == 0)
    return float(body[rim].mean()) if rim.any() else 0.0
