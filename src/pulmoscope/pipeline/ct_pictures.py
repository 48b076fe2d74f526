"""The pictures of a CT's diagnosis: files beside ``diagnosis.json``, and smaller ones within the page."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from pulmoscope.core.types import Diagnosis, Explanation, FloatArray, Scan, Units
from pulmoscope.explain.overlay import overlay, png
from pulmoscope.pipeline.lesion_pictures import affected_pictures
from pulmoscope.pipeline.pictures import colour_scale, data_jpeg, displayed, grey, shrunk
from pulmoscope.report.ct_page import CtPictures, Cut
from pulmoscope.report.diagnosis import heat_names, slice_name
from pulmoscope.report.slice_axis import Axis, axis_of

GRID = 40
"""At most so many slices are in the lightbox."""

_SAVED_OPACITY = 0.5
_PAGE_OPACITY = 0.6
_SLICE_SIDE, _GRID_SIDE, _CUT_SIDE = 512, 288, 300
"""Longest sides of the page's pictures, px."""
_OVERLAY_SIDE, _MANY_SIDE, _MANY = 400, 256, 18
"""Of an overlay; smaller from so many on: a page stays below some 3 MB."""
_UNSCALED_HEIGHT = 0.8
"""A cut's height by its width where distances are unknown."""


def slice_files(diagnosis: Diagnosis) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the PNG files: each explained slice, and each of its heat maps over it, at full size."""
    scan = diagnosis.scan

    def shown(index: int) -> tuple[str, bytes]:
        return f"{slice_name(index)}.png", png(grey(displayed(scan.pixels[index], scan.units)))

    def under_heat(name: str, one: Explanation) -> tuple[str, bytes]:
        pixels = displayed(scan.pixels[one.index], scan.units)
        return f"{name}.png", png(overlay(pixels, one.heat, _SAVED_OPACITY))

    with ThreadPoolExecutor() as threads:
        yield from threads.map(shown, sorted({one.index for one in diagnosis.explanations}))
        yield from threads.map(under_heat, heat_names(diagnosis), diagnosis.explanations)


def ct_pictures(diagnosis: Diagnosis) -> CtPictures:
    """The page's pictures."""
    scan, explanations = diagnosis.scan, diagnosis.explanations
    side = _OVERLAY_SIDE if len(explanations) < _MANY else _MANY_SIDE
    explained = sorted({one.index for one in explanations})
    spread = evenly(len(scan.pixels), GRID)

    def under_heat(one: Explanation) -> str:
        picture = overlay(_slice(scan, one.index, side), shrunk(one.heat, side), _PAGE_OPACITY)
        return data_jpeg(picture, 85)

    with ThreadPoolExecutor() as threads:
        slices = threads.map(lambda index: data_jpeg(grey(_slice(scan, index, _SLICE_SIDE))), explained)
        overlays = threads.map(under_heat, explanations)
        grid = threads.map(lambda index: data_jpeg(grey(_slice(scan, index, _GRID_SIDE)), 80), spread)
    return CtPictures(
        slices=dict(zip(explained, slices, strict=True)),
        overlays=tuple(overlays),
        scale=colour_scale() if explanations else "",
        grid=dict(zip(spread, grid, strict=True)),
        cuts=tuple(_cuts(scan)),
        affected={} if diagnosis.masks is None else affected_pictures(scan, diagnosis.masks),
        grey="Greys: a lung window, centre −600 HU, width 1500 HU."
        if scan.units is Units.HU
        else "Greys are those of the pictures as they came.",
    )


def evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` slices, evenly spread, with the first and the last."""
    return [int(index) for index in np.linspace(0, count - 1, min(count, most)).round()]


def _slice(scan: Scan, index: int, side: int) -> FloatArray:
    return shrunk(displayed(scan.pixels[index], scan.units), side)


def _cuts(scan: Scan) -> Iterator[Cut]:
    """A coronal and a sagittal cut through the middle; none of a single slice."""
    count, rows, columns = scan.pixels.shape
    if count < 2:
        return
    axis = axis_of(scan)
    _, down, across = scan.spacing_mm or (None, None, None)
    coronal, sagittal = scan.pixels[:, rows // 2, :], scan.pixels[:, :, columns // 2]
    yield _cut("Coronal", ("right", "left"), coronal, scan.units, axis, across)
    yield _cut("Sagittal", ("front", "back"), sagittal, scan.units, axis, down)


def _cut(
    title: str, sides: tuple[str, str], pixels: FloatArray, units: Units, axis: Axis, pixel_mm: float | None
) -> Cut:
    """A cut, float32 (slices, across), head up and to scale where distances are known."""
    upright = np.ascontiguousarray(along(displayed(pixels, units), axis)[::-1])
    width_mm = 1.0 if pixel_mm is None else pixels.shape[1] * pixel_mm
    height_mm = _UNSCALED_HEIGHT if pixel_mm is None else axis.high - axis.low
    scale = _CUT_SIDE / max(width_mm, height_mm)
    width, height = max(48, round(width_mm * scale)), max(48, round(height_mm * scale))
    shrinks = upright.shape[0] > height
    picture = cv2.resize(
        upright, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    return Cut(title, sides, data_jpeg(grey(np.asarray(picture, dtype=np.float32))), width, height)


def along(lines: FloatArray, axis: Axis) -> FloatArray:
    """Slices' lines, float32 (slices, across), one step apart from the lower to the upper end; missing ones black."""
    count = max(1, round((axis.high - axis.low) / axis.step))
    centres = axis.low + (np.arange(count) + 0.5) * (axis.high - axis.low) / count
    away = np.abs(np.array(axis.positions)[None] - centres[:, None])
    nearest = away.argmin(axis=1)
    filled: FloatArray = lines[nearest]
    filled[away.min(axis=1) > 0.75 * axis.step] = 0
    return filled
