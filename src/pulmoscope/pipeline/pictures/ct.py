"""The pictures of a CT's diagnosis: files beside ``diagnosis.json``, and smaller ones within the page."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from pulmoscope.core.change import CtChange
from pulmoscope.core.types import (
    NOT_FILLED,
    BoolArray,
    Diagnosis,
    Explanation,
    FloatArray,
    Imputed,
    Scan,
    Units,
)
from pulmoscope.explain.overlay import overlay, png
from pulmoscope.pipeline.change.ct_pictures import slice_pairs
from pulmoscope.pipeline.pictures.lesions import affected_pictures
from pulmoscope.pipeline.pictures.xray import colour_scale, data_jpeg, displayed, grey, outlined, shrunk
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
        picture = grey(displayed(scan.pixels[index], scan.units))
        return f"{slice_name(index)}.png", png(outlined(picture, _imputed(diagnosis, index)))

    def under_heat(name: str, one: Explanation) -> tuple[str, bytes]:
        pixels = displayed(scan.pixels[one.index], scan.units)
        picture = overlay(pixels, one.heat, _SAVED_OPACITY)
        return f"{name}.png", png(outlined(picture, _imputed(diagnosis, one.index)))

    with ThreadPoolExecutor() as threads:
        yield from threads.map(shown, sorted({one.index for one in diagnosis.explanations}))
        yield from threads.map(under_heat, heat_names(diagnosis), diagnosis.explanations)


def ct_pictures(diagnosis: Diagnosis) -> CtPictures:
    """The page's pictures."""
    scan, explanations = diagnosis.scan, diagnosis.explanations
    side = _OVERLAY_SIDE if len(explanations) < _MANY else _MANY_SIDE
    explained = sorted({one.index for one in explanations})
    spread = evenly(len(scan.pixels), GRID)
    mask = None if diagnosis.imputed is None else diagnosis.imputed.mask

    def under_heat(one: Explanation) -> str:
        picture = overlay(_slice(scan, one.index, side), shrunk(one.heat, side), _PAGE_OPACITY)
        return data_jpeg(outlined(picture, _imputed(diagnosis, one.index)), 85)

    def plain(index: int, side: int, quality: int) -> str:
        return data_jpeg(outlined(grey(_slice(scan, index, side)), _imputed(diagnosis, index)), quality)

    with ThreadPoolExecutor() as threads:
        slices = threads.map(lambda index: plain(index, _SLICE_SIDE, 90), explained)
        overlays = threads.map(under_heat, explanations)
        grid = threads.map(lambda index: plain(index, _GRID_SIDE, 80), spread)
    return CtPictures(
        slices=dict(zip(explained, slices, strict=True)),
        overlays=tuple(overlays),
        scale=colour_scale() if explanations else "",
        grid=dict(zip(spread, grid, strict=True)),
        cuts=tuple(_cuts(scan, mask)),
        affected={} if diagnosis.masks is None else affected_pictures(scan, diagnosis.masks, mask),
        imputed=_outline(diagnosis.imputed),
        pairs=slice_pairs(diagnosis.change) if isinstance(diagnosis.change, CtChange) else (),
        grey="Greys: a lung window, centre −600 HU, width 1500 HU."
        if scan.units is Units.HU
        else "Greys are those of the pictures as they came.",
    )


def _outline(imputed: Imputed | None) -> str:
    """What stands around pixels that were not measured."""
    if imputed is None:
        return ""
    if imputed.imputer == NOT_FILLED:
        return "Outlined in green: not measured. It is drawn filled in, which is a guess; the network saw the damage."
    return "Outlined in green: not measured, but filled in, which is a guess."


def evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` slices, evenly spread, with the first and the last."""
    return [int(index) for index in np.linspace(0, count - 1, min(count, most)).round()]


def _imputed(diagnosis: Diagnosis, index: int) -> BoolArray | None:
    """What of a slice was filled in; None where nothing of the study was."""
    return None if diagnosis.imputed is None else diagnosis.imputed.mask[index]


def _slice(scan: Scan, index: int, side: int) -> FloatArray:
    return shrunk(displayed(scan.pixels[index], scan.units), side)


def _cuts(scan: Scan, imputed: BoolArray | None) -> Iterator[Cut]:
    """A coronal and a sagittal cut through the middle; none of a single slice."""
    count, rows, columns = scan.pixels.shape
    if count < 2:
        return
    axis = axis_of(scan)
    _, down, across = scan.spacing_mm or (None, None, None)
    for title, sides, where, pixel_mm in (
        ("Coronal", ("right", "left"), np.s_[:, rows // 2, :], across),
        ("Sagittal", ("front", "back"), np.s_[:, :, columns // 2], down),
    ):
        pixels = displayed(scan.pixels[where], scan.units)
        yield _cut(title, sides, pixels, None if imputed is None else imputed[where], axis, pixel_mm)


def _cut(
    title: str,
    sides: tuple[str, str],
    pixels: FloatArray,
    imputed: BoolArray | None,
    axis: Axis,
    pixel_mm: float | None,
) -> Cut:
    """A cut, float32 (slices, across) in [0, 1], head up and to scale where distances are known."""
    upright = np.ascontiguousarray(along(pixels, axis)[::-1])
    filled = None if imputed is None else along(imputed.astype(np.float32), axis)[::-1] > 0
    width_mm = 1.0 if pixel_mm is None else pixels.shape[1] * pixel_mm
    height_mm = _UNSCALED_HEIGHT if pixel_mm is None else axis.high - axis.low
    scale = _CUT_SIDE / max(width_mm, height_mm)
    width, height = max(48, round(width_mm * scale)), max(48, round(height_mm * scale))
    shrinks = upright.shape[0] > height
    picture = cv2.resize(
        upright, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    shown = outlined(grey(np.asarray(picture, dtype=np.float32)), filled)
    return Cut(title, sides, data_jpeg(shown), width, height)


def along(lines: FloatArray, axis: Axis) -> FloatArray:
    """Slices' lines, float32 (slices, across), one step apart from the lower to the upper end; missing ones black."""
    count = max(1, round((axis.high - axis.low) / axis.step))
    centres = axis.low + (np.arange(count) + 0.5) * (axis.high - axis.low) / count
    away = np.abs(np.array(axis.positions)[None] - centres[:, None])
    nearest = away.argmin(axis=1)
    filled: FloatArray = lines[nearest]
    filled[away.min(axis=1) > 0.75 * axis.step] = 0
    return filled
