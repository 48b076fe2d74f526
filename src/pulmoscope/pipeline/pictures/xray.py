"""Small pictures for pages."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import FloatArray, Units, Voxels
from pulmoscope.explain.overlay import overlay
from pulmoscope.report.html import data_uri

Window = tuple[float, float]
"""Centre and width, HU."""
LUNG_WINDOW: Window = (-600.0, 1500.0)
SOFT_WINDOW: Window = (40.0, 400.0)
"""For soft tissue; CT is shown in the lung window where nothing else is said."""


def shrunk(pixels: FloatArray, side: int) -> FloatArray:
    """An image, float32 (rows, columns), at most ``side`` px long; a smaller one as it is."""
    rows, columns = pixels.shape
    scale = side / max(rows, columns)
    if scale >= 1:
        return pixels
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def displayed(pixels: Voxels, units: Units, window: Window = LUNG_WINDOW) -> FloatArray:
    """Pixels as a screen shows them, float32 in [0, 1]: HU through the window, grey as it is."""
    pixels = np.asarray(pixels, dtype=np.float32)
    if units is Units.GREY:
        return pixels
    centre, width = window
    return np.asarray(np.clip((pixels - (centre - width / 2)) / width, 0, 1), dtype=np.float32)


IMPUTED = (0, 230, 160)
"""The colour around what was filled in: red, green, blue."""


def outlined(picture: npt.NDArray[np.uint8], imputed: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.uint8]:
    """A picture, grey or RGB, with a line within the border of what was filled in; as it is where nothing was.

    Rows that lie near each other have one line around them all: each by itself would hide the picture.

    Args:
        imputed: bool (rows, columns), of any size; None: nothing was filled in.
    """
    if imputed is None or not imputed.any():
        return picture
    rows, columns = picture.shape[:2]
    fraction = cv2.resize(imputed.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    inside = cv2.morphologyEx((fraction > 0).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 1), np.uint8))
    thick = 3 + 2 * (max(rows, columns) // 400)
    square = np.ones((thick, thick), np.uint8)
    edge = inside - cv2.erode(inside, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    coloured = picture.copy() if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    coloured[edge > 0] = IMPUTED
    return coloured


LUNGS, FINDING = (64, 196, 255), (255, 255, 255)
"""The colours of the lungs' outline, and of what a reader has marked: red, green, blue."""


def edged(
    picture: npt.NDArray[np.uint8], region: npt.NDArray[np.bool_] | None, colour: tuple[int, int, int]
) -> npt.NDArray[np.uint8]:
    """A picture, grey or RGB, with a thin line around a region; as it is without one.

    Args:
        region: bool (rows, columns), of any size; None: there is none.
    """
    if region is None:
        return picture
    rows, columns = picture.shape[:2]
    inside = cv2.resize(region.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR) > 0.5
    lines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    coloured = picture.copy() if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    return np.asarray(
        cv2.drawContours(coloured, lines, -1, colour, 1 + max(rows, columns) // 500), dtype=np.uint8
    )


def grey(pixels: FloatArray) -> npt.NDArray[np.uint8]:
    """An image, float32 (rows, columns) in [0, 1], as a picture: uint8 (rows, columns)."""
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def jpeg(picture: npt.NDArray[np.uint8], quality: int = 90, *, lines: bool = False) -> bytes:
    """A picture, grey (rows, columns) or RGB (rows, columns, 3), as JPEG.

    Args:
        lines: it has thin coloured lines, whose colour is kept at full resolution.
    """
    blue_first = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if lines:
        settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return bytes(cv2.imencode(".jpg", blue_first, settings)[1])


def data_jpeg(picture: npt.NDArray[np.uint8], quality: int = 90, *, lines: bool = False) -> str:
    """A picture, grey or RGB, as a ``data:`` address; ``lines`` as of :func:`jpeg`."""
    return data_uri(jpeg(picture, quality, lines=lines), "image/jpeg")


@cache
def colour_scale() -> str:
    """The heat map's colours, from none to the greatest heat, as a ``data:`` address."""
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(4, axis=0)
    return data_jpeg(overlay(np.zeros_like(ramp), ramp, 1.0))
