"""The slices with most lesion, with the outlines of lungs and lesions, in a lung and in a soft-tissue window."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.severity import CONSOLIDATION, GLASS, SeverityMasks
from pulmoscope.core.types import BoolArray, Box, FloatArray, Scan
from pulmoscope.pipeline.pictures.xray import (
    LUNG_WINDOW,
    SOFT_WINDOW,
    Window,
    data_jpeg,
    displayed,
    grey,
    outlined,
)

OUTLINE, LESION_COLOURS = (127, 212, 255), {GLASS: (255, 176, 0), CONSOLIDATION: (220, 38, 127)}
"""Red, green, blue: distinguishable to colour-blind eyes too."""

_SHOWN, _SIDE, _QUALITY = 4, 560, 88
_APART = 10
"""Two slices that are shown are at least one part in so many of the lungs' height apart."""
_MARGIN_MM = 15.0
"""Of the body around the lungs is shown."""


def affected_pictures(
    scan: Scan, masks: SeverityMasks, imputed: BoolArray | None = None
) -> dict[int, tuple[str, str]]:
    """The slices with most lesion, the worst first: number → pictures in a lung and in a soft-tissue window.

    They are ``data:`` addresses, of the lungs and what is around them.

    Args:
        imputed: bool (slices, rows, columns), what was filled in; None: nothing was.
    """
    part = _around(scan, masks).slices

    def picture(index: int, window: Window) -> str:
        drawn = painted(
            displayed(scan.pixels[index][part], scan.units, window),
            masks.lungs[index][part],
            masks.lesions[index][part],
            _SIDE,
        )
        return data_jpeg(
            outlined(drawn, None if imputed is None else imputed[index][part]), _QUALITY, lines=True
        )

    return {
        index: (picture(index, LUNG_WINDOW), picture(index, SOFT_WINDOW))
        for index in most_affected(masks, _SHOWN)
    }


def most_affected(masks: SeverityMasks, most: int) -> list[int]:
    """The slices with the largest area of lesion, the worst first, none beside another.

    Without any lesion slices that are evenly spread over the lungs' height, from the feet to the head.
    """
    inside = np.flatnonzero([plane.any() for plane in masks.lungs])
    areas = np.array([np.count_nonzero(plane) for plane in masks.lesions])
    if not areas.any():
        ends = np.linspace(0, len(inside), min(most, len(inside)) + 1)
        return [int(inside[int(middle)]) for middle in (ends[1:] + ends[:-1]) / 2]
    apart = max(2, len(inside) // _APART)
    chosen: list[int] = []
    for index in map(int, np.argsort(-areas, kind="stable")):
        if areas[index] and len(chosen) < most and all(abs(index - other) >= apart for other in chosen):
            chosen.append(index)
    return chosen


def lesion_picture(scan: Scan, masks: SeverityMasks, index: int, side: int) -> npt.NDArray[np.uint8]:
    """A slice in the lung window, ``side`` px long, with the outlines; uint8 (rows, columns, 3), red, green, blue."""
    return painted(displayed(scan.pixels[index], scan.units), masks.lungs[index], masks.lesions[index], side)


def painted(
    pixels: FloatArray, lungs: npt.NDArray[np.uint8], lesions: npt.NDArray[np.uint8], side: int
) -> npt.NDArray[np.uint8]:
    """The same, of a slice's arrays, (rows, columns) each; pixels in [0, 1]."""
    rows, columns = pixels.shape
    scale = side / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    shown = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    picture = np.repeat(grey(np.asarray(shown, dtype=np.float32))[..., None], 3, axis=2)
    for region, colour in (
        (lungs == 1, OUTLINE),
        (lungs == 2, OUTLINE),
        (
            lesions > 0,
            LESION_COLOURS[GLASS],
        ),  # with the consolidation in it, whose own line is drawn over this one
        (lesions == CONSOLIDATION, LESION_COLOURS[CONSOLIDATION]),
    ):
        lines, _ = cv2.findContours(_resized(region, size), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, lines, -1, colour, 1)
    return picture


def _around(scan: Scan, masks: SeverityMasks) -> Box:
    """The lungs of all slices and a margin, within the picture."""
    seen: BoolArray = np.asarray(masks.lungs.any(axis=0))
    _, *steps = scan.spacing_mm or (1.0, 1.0, 1.0)
    ends = []
    for axis, step in enumerate(steps):
        inside, margin = np.flatnonzero(seen.any(axis=1 - axis)), round(_MARGIN_MM / step)
        first, last = int(inside[0]) - margin, int(inside[-1]) + margin
        ends.append((max(0, first), min(seen.shape[axis] - 1, last) + 1))
    (top, bottom), (left, right) = ends
    return Box(top, left, bottom - top, right - left)


def _resized(mask: npt.NDArray[np.bool_], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    fraction = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(fraction >= 0.5, dtype=np.uint8)
