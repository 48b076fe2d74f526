"""The six zones of a frontal radiograph that readers score: thirds of the lungs' height, right and left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, Box, FloatArray
from pulmoscope.core.xray_severity import ZONES
from pulmoscope.segment.xray_lungs import lung_box, lung_region

THIRDS = 3
_MIDDLE = (0.3, 0.7)
"""Between which fractions of the lungs' width the mediastinum lies."""
_FINE = 16
"""Points a side at which a cell is asked whether it lies in a zone."""
_RIM = 0.05
"""How far beyond the lungs that are seen an opacity is believed, in longer sides of the radiograph: the finder leaves
out dense borders. Chosen on ``xray_siim`` val and ``xray_lesions`` train (``docs/xray-severity.md``)."""


@dataclass(frozen=True)
class LungZones:
    """Where the zones are.

    Attributes:
        boxes: zone → the rectangle around it in the radiograph; those of one side lie one below the other.
        unseen: zones in which no lung is seen; their part is the whole rectangle.
        parts: bool (zones, rows, columns) over the whole radiograph, of any size: the zones' lung.
    """

    boxes: Mapping[str, Box]
    unseen: tuple[str, ...]
    parts: BoolArray = field(repr=False)


def lung_zones(lungs: FloatArray, rows: int, columns: int) -> LungZones | None:
    """The zones of a radiograph of (rows, columns) px; None where the map holds no plausible lungs.

    The Brixia score (Borghesi and Maroldi, La Radiologia Medica 125, 2020) parts the lungs at the aortic arch and at
    the pulmonary veins. Neither is looked for here: the height of both lungs together is parted in thirds. Both
    together, because a dense base hides one lung's end from the finder more often than both.

    Args:
        lungs: as for :func:`pulmoscope.segment.xray_lungs.lung_box`.
    """
    if lung_box(lungs, rows, columns, 0.0) is None:
        return None
    region = lung_region(lungs, *lungs.shape)
    seen_rows, seen_columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    left, right = int(seen_columns[0]), int(seen_columns[-1]) + 1
    middle = _middle(region.sum(axis=0), left, right)
    edges = np.rint(np.linspace(seen_rows[0], seen_rows[-1] + 1, THIRDS + 1)).astype(int)
    boxes, unseen, parts = {}, [], []
    for number, zone in enumerate(ZONES):
        side, third = divmod(number, THIRDS)
        across = slice(left, middle) if side == 0 else slice(middle, right)
        lung = np.flatnonzero(region[:, across].any(axis=0)) + across.start
        down = slice(int(edges[third]), int(edges[third + 1]))
        frame = (down, slice(int(lung[0]), int(lung[-1]) + 1))
        part = np.zeros_like(region)
        part[frame] = region[frame]
        if not part.any():
            unseen.append(zone)
            part[frame] = True
        parts.append(part)
        boxes[zone] = _scaled(frame, region.shape, rows, columns)
    return LungZones(boxes, tuple(unseen), np.stack(parts))


def zone_weights(zones: LungZones, box: Box, shape: tuple[int, int], cells: tuple[int, int]) -> FloatArray:
    """How much of each zone lies in each cell of a grid that fills a box: float32 (zones, rows, columns).

    Each zone's weights sum to 1. Of a zone that lies outside the box all cells count alike.

    Args:
        box: what the network saw, px of the radiograph; may reach beyond it.
        shape: of the radiograph, px.
        cells: rows and columns of the grid.
    """
    fine = np.stack(
        [
            _laid(part, box, shape, (cells[0] * _FINE, cells[1] * _FINE), cv2.INTER_NEAREST)
            for part in zones.parts.astype(np.float32)
        ]
    )
    weights = fine.reshape(len(fine), cells[0], _FINE, cells[1], _FINE).mean(axis=(2, 4))
    weights[weights.sum(axis=(1, 2)) == 0] = 1
    return np.asarray(weights / weights.sum(axis=(1, 2), keepdims=True), dtype=np.float32)


def nearness(zones: LungZones, box: Box, shape: tuple[int, int], side: int) -> FloatArray:
    """How near to the lungs each point of a square grid over a box is: float32 (side, side), 1 in them, 0 far away.

    Args:
        box, shape: as for :func:`zone_weights`.
    """
    outside = (~zones.parts.any(axis=0)).astype(np.uint8)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, 5) / max(outside.shape)
    near = np.exp(-((distance / _RIM) ** 2)).astype(np.float32)
    return _laid(near, box, shape, (side, side), cv2.INTER_LINEAR)


def _laid(
    image: FloatArray, box: Box, shape: tuple[int, int], grid: tuple[int, int], interpolation: int
) -> FloatArray:
    """What of an image over the whole radiograph lies in a box, as rows and columns of a grid; 0 beyond the image."""
    down, across = image.shape[0] / shape[0], image.shape[1] / shape[1]
    steps = box.height * down / grid[0], box.width * across / grid[1]
    start = box.top * down + steps[0] / 2 - 0.5, box.left * across + steps[1] / 2 - 0.5
    affine = np.array([[steps[1], 0, start[1]], [0, steps[0], start[0]]], dtype=np.float32)
    laid = cv2.warpAffine(image, affine, grid[::-1], flags=interpolation | cv2.WARP_INVERSE_MAP)
    return np.asarray(laid, dtype=np.float32)


def _middle(lung_by_column: npt.NDArray[np.integer], left: int, right: int) -> int:
    """The column between the lungs: where the least lung is, in the middle of those where equally little is."""
    first, last = (left + round(part * (right - 1 - left)) for part in _MIDDLE)
    between = lung_by_column[first : last + 1]
    return first + int(np.median(np.flatnonzero(between == between.min())))


def _scaled(frame: tuple[slice, slice], size: tuple[int, ...], rows: int, columns: int) -> Box:
    """A part of the map as a box in the radiograph."""
    (top, bottom), (left, right) = (
        (round(part.start * whole / length), round(part.stop * whole / length))
        for part, whole, length in zip(frame, (rows, columns), size, strict=True)
    )
    return Box(top, left, bottom - top, right - left)
