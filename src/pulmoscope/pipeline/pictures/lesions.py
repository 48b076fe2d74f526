"""Slices with the lungs' outline and the lesions marked."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.severity import CONSOLIDATION, GLASS, SeverityMasks
from pulmoscope.core.types import BoolArray, FloatArray, Scan
from pulmoscope.pipeline.pictures.xray import data_jpeg, displayed, grey, outlined

OUTLINE, LESION_COLOURS = (127, 212, 255), {GLASS: (255, 176, 0), CONSOLIDATION: (220, 38, 127)}
"""Red, green, blue: distinguishable to colour-blind eyes too."""

_SHOWN, _SIDE, _OPACITY = 6, 420, 0.45


def affected_pictures(scan: Scan, masks: SeverityMasks, imputed: BoolArray | None = None) -> dict[int, str]:
    """The most affected slice of each sixth of the lungs' height, as ``data:`` addresses by the slice's number.

    Args:
        imputed: bool (slices, rows, columns), what was filled in; None: nothing was.
    """
    return {
        index: data_jpeg(
            outlined(lesion_picture(scan, masks, index, _SIDE), None if imputed is None else imputed[index]),
            85,
        )
        for index in most_affected(masks, _SHOWN)
    }


def most_affected(masks: SeverityMasks, parts: int) -> list[int]:
    """Of each part of the lungs' height the slice with the most lesion, from the feet to the head.

    Without any lesion there it is the part's middle.
    """
    indices = np.flatnonzero(masks.lungs.any(axis=(1, 2)))
    chosen = []
    for part in np.array_split(indices, min(parts, len(indices))):
        area = np.count_nonzero(masks.lesions[part], axis=(1, 2))
        chosen.append(int(part[area.argmax()] if area.any() else part[len(part) // 2]))
    return chosen


def lesion_picture(scan: Scan, masks: SeverityMasks, index: int, side: int) -> npt.NDArray[np.uint8]:
    """A slice, at most ``side`` px long, with outline and lesions; uint8 (rows, columns, 3), red, green, blue."""
    pixels = displayed(scan.pixels[index], scan.units)
    return painted(pixels, masks.lungs[index], masks.lesions[index], side)


def painted(
    pixels: FloatArray, lungs: npt.NDArray[np.uint8], lesions: npt.NDArray[np.uint8], side: int
) -> npt.NDArray[np.uint8]:
    """The same, of a slice's arrays, (rows, columns) each; pixels in [0, 1]."""
    rows, columns = pixels.shape
    scale = side / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    shown = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    picture = np.repeat(grey(np.asarray(shown, dtype=np.float32))[..., None], 3, axis=2)
    for label, colour in LESION_COLOURS.items():
        here = _resized(lesions == label, size)
        picture[here] = np.rint((1 - _OPACITY) * picture[here] + _OPACITY * np.array(colour)).astype(np.uint8)
    for label in (1, 2):
        outline, _ = cv2.findContours(
            _resized(lungs == label, size).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )
        picture = np.ascontiguousarray(picture)
        cv2.drawContours(picture, outline, -1, OUTLINE, 1)
    return picture


def _resized(mask: npt.NDArray[np.bool_], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    fraction = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(fraction >= 0.5)
