"""What the lung mask is made with, on its coarse grid: airways, the seam between the lungs, closing, the ribs' side."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, Bytes, FloatArray, Point
from pulmoscope.segment import filters
from pulmoscope.segment.parts import areas_in_slice, numbered

Millimetres = npt.NDArray[np.floating[Any]]

LUMEN_HU = -920
"""Open airways are darker; aerated lung seldom is."""

DENT_MM, DENT_DEG, DENT_DEPTH_MM = 40, 30, 50
"""The largest dent in a lung's outline that is taken for dense lung: along the body, around it, inwards."""

APEX_MM = 20
"""So far below its top a lung tapers away from the ribs, and muscle fills the gap."""

FRONT_DEG = 45
"""Farther to the front than this, seen from the chest's middle and against the side, is the heart."""

SECTOR_DEG = 2
"""The step of direction in which the outline is measured."""

BONE_HU, RIB_HU, FAT_HU = 250, 170, (-140, -40)

RIB_MM, RIB_GAP_MM = 12, 4
"""How far up and down a rib goes on, and how far from ribs lung ends."""

HOLE_MM2, ABOVE_DOMES = (600, 3000), 0.5
"""The largest hole of a slice that is dense lung, where a dome of the diaphragm may be one, and above this height."""

TIP_MM2 = 80
"""A smaller tip of the diaphragm does not matter."""

AIRWAY_MM = 50
"""Trachea and main bronchi are no farther from the middle."""


def disc(width: int) -> Bytes:
    """A round structuring element of so many px across, an odd number."""
    odd = width | 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (odd, odd)), dtype=np.uint8)


def airways(coarse: FloatArray, airy: BoolArray, body: BoolArray, voxel_mm: Point) -> BoolArray:
    """Trachea and main bronchi: spots of pure air near the middle of a slice, and what goes on from them.

    A spot that stands alone in its slice is a seed. Where the bronchus opens into the lung, the seed is followed
    through pure air for 2 cm and no further: an emphysema is as dark.
    """
    slice_mm, row_mm, column_mm = voxel_mm
    airway = np.zeros(airy.shape, dtype=bool)
    first, last = (round(_middle(body) + far / column_mm) for far in (-AIRWAY_MM, AIRWAY_MM + column_mm))
    strip = (slice(None), slice(None), slice(max(0, first), last))
    lumen = airy[strip] & (coarse[strip] < LUMEN_HU)
    seeds = np.zeros(lumen.shape, dtype=bool)
    for index in np.flatnonzero(lumen.any(axis=(1, 2))):
        parts, area = areas_in_slice(airy[index])
        inside = np.bincount(parts[:, strip[2]][lumen[index]], minlength=len(area))
        size_mm2 = area * row_mm * column_mm
        seed = (size_mm2 > 30) & (size_mm2 < 1200) & (inside > area / 4)
        seeds[index] = seed[parts[:, strip[2]]]
    seeds = _long(seeds, slice_mm)
    if not seeds.any():
        return airway
    wide = disc(max(3, round(6 / column_mm)))
    lumen = np.stack([cv2.morphologyEx(plane.astype(np.uint8), cv2.MORPH_OPEN, wide) for plane in lumen]) > 0
    grown = filters.followed(seeds, lumen | seeds, max(1, round(20 / column_mm)))
    airway[strip] = np.stack([cv2.dilate(plane.astype(np.uint8), disc(3)) for plane in grown]) > 0
    return airway


def _long(seeds: BoolArray, slice_mm: float) -> BoolArray:
    """The seeds that go on over at least 1 cm of slices."""
    parts, count = numbered(seeds)
    slices = np.zeros(count + 1, dtype=np.int64)
    for plane in parts:
        slices[np.unique(plane)] += 1  # a part is in every slice from its first to its last
    keep = slices * slice_mm >= 10
    keep[0] = False
    return np.asarray(keep[parts])


def _middle(body: BoolArray) -> float:
    """The column of the body's middle."""
    by_column = body.sum(axis=(0, 1))
    return float((by_column * np.arange(len(by_column))).sum() / max(by_column.sum(), 1))


def sides(coarse: FloatArray, body: BoolArray, voxel_mm: Point) -> BoolArray:
    """Which voxels are on the patient's left of the seam of least air that runs from front to back in every slice.

    The seam of each slice is the cheapest path from the first row to the last, one column aside a row at most. Air
    costs, and a little the distance from the middle of the body.
    """
    slices, rows, columns = coarse.shape
    air = np.clip((-300 - coarse) / 500, 0, 1) * body
    exact = np.pad(air.astype(np.float64), ((1, 1), (0, 0), (0, 0)), mode="edge")
    air = ((exact[:-2] + exact[1:-1] + exact[2:]) / 3).astype(np.float32)
    away = np.abs(np.arange(columns) - _middle(body)) * voxel_mm[2] / 100
    price = air + (away**2 * 0.3).astype(np.float32)
    total = np.empty((rows, slices, columns), dtype=np.float32)
    total[0] = price[:, 0]
    for row in range(1, rows):
        total[row] = price[:, row] + cv2.erode(total[row - 1], np.ones((1, 3), np.uint8))
    at = total[-1].argmin(axis=1)
    seam = np.empty((slices, rows), dtype=np.int64)
    seam[:, -1] = at
    each = np.arange(slices)
    for row in range(rows - 2, -1, -1):
        choices = np.stack([np.clip(at + step, 0, columns - 1) for step in (0, -1, 1)])
        at = choices[total[row][each, choices].argmin(axis=0), each]
        seam[:, row] = at
    return np.asarray(np.arange(columns) >= seam[:, :, None])


def closed(lung: BoolArray, voxel_mm: Point) -> BoolArray:
    """Close gaps that vessels and small lesions leave, and small holes of a slice; a large one may be the liver."""
    width = max(3, round(16 / voxel_mm[2]))
    room = width
    heights = np.flatnonzero(lung.any(axis=(1, 2)))
    above = heights[0] + ABOVE_DOMES * len(heights) if len(heights) else 0
    out = np.zeros(lung.shape, dtype=bool)
    for index, plane in enumerate(lung):
        if plane.any():
            padded = cv2.copyMakeBorder(plane.astype(np.uint8), room, room, room, room, cv2.BORDER_CONSTANT)
            whole = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc(width))
            holes, areas = areas_in_slice(1 - whole)
            small = HOLE_MM2[int(index >= above)] / (voxel_mm[1] * voxel_mm[2])
            whole[(areas < small)[holes]] = 1
            out[index] = whole[room:-room, room:-room] > 0
    return out


def filled(mask: BoolArray) -> BoolArray:
    """The mask and what it surrounds on all sides: dense lung, however large."""
    parts, count = numbered(~mask)
    outside = np.zeros(count + 1, dtype=bool)
    for axis in range(3):
        for end in (0, -1):
            outside[np.unique(parts.take(end, axis=axis))] = True
    outside[0] = False
    return np.asarray(~outside[parts])


def without_domes(lung: BoolArray, airy: BoolArray, voxel_mm: Point) -> BoolArray:
    """The lung without tips of the diaphragm: dense spots that aerated lung surrounds, and that go on below it."""
    out = lung.copy()
    for index in range(1, len(lung)):
        dense = (lung[index] & ~airy[index]).astype(np.uint8)
        below = ~out[index - 1]
        if not (dense.any() and lung[index - 1].any()):
            continue
        parts, areas = areas_in_slice(dense)
        for part in range(1, len(areas)):
            if areas[part] * voxel_mm[1] * voxel_mm[2] < TIP_MM2:
                continue
            here = parts == part
            around = cv2.dilate(here.astype(np.uint8), disc(3)) > 0
            if lung[index][around].all() and below[here].mean() > 0.5:
                out[index][here] = False
    return out


def dents(lung: BoolArray, coarse: FloatArray, voxel_mm: Point, *, is_left: bool) -> BoolArray:
    """One lung with the dense tissue that dents its outer outline, where ribs are and healthy lung is smooth.

    The outline is a distance from the chest's middle, for every slice and direction. First its valleys are levelled
    and the slices' convex hulls taken; then it is moved out to where ribs say that lung should end. A part of what is
    added that borders on more dense tissue than lung is liver or heart, and left out.
    """
    y, x = from_middle(lung, voxel_mm, is_left=is_left)
    reach = np.hypot(y, x).astype(np.float32)
    sector = ((np.degrees(np.arctan2(y, x)) + 180) / SECTOR_DEG).astype(np.int64) % (360 // SECTOR_DEG)
    costal = -y < np.abs(x) * np.tan(np.radians(FRONT_DEG))
    outer = outline(lung, reach, sector)
    seen = np.flatnonzero(outer.any(axis=1))
    if not len(seen):
        return lung
    level = _levelled(outer, round(DENT_MM / voxel_mm[0]) | 1, DENT_DEG // SECTOR_DEG | 1)
    apex = max(0, seen[-1] + 1 - max(1, round(APEX_MM / voxel_mm[0])))
    level[apex:] = outer[apex:]
    added, beyond = np.zeros(lung.shape, dtype=bool), np.zeros(lung.shape, dtype=bool)
    for index in seen:
        far, end = outer[index][sector], level[index][sector]
        within = (reach <= end) | (_hull(lung[index]) & (far > 0))
        deep = reach > np.maximum(far, end - DENT_DEPTH_MM)
        added[index] = costal & within & deep & (coarse[index] < BONE_HU) & ~lung[index]
        beyond[index] = ~within & (reach > far)
    lung = lung | _bordering(added, lung, beyond)
    outer = outline(lung, reach, sector)
    level = _ribs(coarse > RIB_HU, outer, reach, sector, round(RIB_MM / voxel_mm[0]))
    level[apex:] = 0
    wall = (coarse > RIB_HU) | ((coarse > FAT_HU[0]) & (coarse < FAT_HU[1]))
    added[:], beyond = False, wall
    for index in np.flatnonzero(level.any(axis=1)):
        far, end = outer[index][sector], level[index][sector]
        within = costal & (reach <= end) & (reach > np.maximum(far, end - DENT_DEPTH_MM)) & ~wall[index]
        thick = cv2.morphologyEx((within | lung[index]).astype(np.uint8), cv2.MORPH_OPEN, disc(3))
        added[index] = (thick > 0) & ~lung[index]
        beyond[index] |= reach > np.maximum(far, end)
    return lung | _bordering(added, lung, beyond)


def outline(lung: BoolArray, reach: FloatArray, sector: npt.NDArray[np.int64]) -> FloatArray:
    """How far the lung reaches, mm (slices, directions); 0 where there is none."""
    outer = np.zeros((len(lung), 360 // SECTOR_DEG), dtype=np.float32)
    at_slice, at_row, at_column = np.nonzero(lung)
    np.maximum.at(outer, (at_slice, sector[at_row, at_column]), reach[at_row, at_column])
    return outer


def _hull(plane: BoolArray) -> BoolArray:
    """The convex hull of what is in a slice."""
    points = np.argwhere(plane)[:, ::-1].astype(np.int32)
    hull = cv2.fillConvexPoly(np.zeros(plane.shape, dtype=np.uint8), cv2.convexHull(points), 1)
    return np.asarray(hull, dtype=bool)


def _levelled(outer: FloatArray, slices: int, sectors: int) -> FloatArray:
    """The outline (slices, directions) without its valleys narrower than so many slices or directions."""
    padded = np.pad(outer, ((slices, slices), (0, 0)))
    along, around = (
        filters.lowest(filters.highest(padded, size), size)[slices:-slices]
        for size in ((slices, 1), (1, sectors))
    )
    return np.asarray(np.where(outer > 0, np.maximum(along, around), np.minimum(along, around)))


def _ribs(
    bone: BoolArray, outer: FloatArray, reach: FloatArray, sector: npt.NDArray[np.int64], slices: int
) -> FloatArray:
    """Where lung should end: the usual way before the ribs, in directions in which it ends far before them; else 0.

    Args:
        bone: (slices, rows, columns).
        outer: the lung's outline (slices, directions), mm; 0: no lung.
        reach, sector: every pixel's distance and direction.
        slices: the ribs of so many slices above and below count: a slice shows but pieces of them.
    """
    at_slice, at_row, at_column = np.nonzero(bone)
    at_sector, at_mm = sector[at_row, at_column], reach[at_row, at_column]
    outside = at_mm > outer[at_slice, at_sector]
    first = first_bone((at_slice[outside], at_sector[outside], at_mm[outside]), outer.shape, slices)
    gap = first - outer
    usual = gap[(outer > 0) & (gap > 0) & (gap < 3 * RIB_GAP_MM)]
    before = max(float(np.median(usual)) if len(usual) else RIB_GAP_MM, RIB_GAP_MM / 2)
    missing = (outer > 0) & (gap > before + 2 * RIB_GAP_MM) & np.isfinite(first)
    return np.asarray(np.where(missing, first - before, 0), dtype=np.float32)


def grid_size(rows: int, columns: int, spacing_mm: Point, grid_mm: float) -> tuple[int, int]:
    """Columns and rows, as OpenCV has them, of a slice with pixels of about ``grid_mm``."""
    return max(1, round(columns * spacing_mm[2] / grid_mm)), max(1, round(rows * spacing_mm[1] / grid_mm))


def from_middle(lung: BoolArray, voxel_mm: Point, *, is_left: bool) -> tuple[Millimetres, Millimetres]:
    """How far each pixel of a slice lies below and right of the middle of the chest's depth at a lung's inner edge, mm.

    Returns:
        float64 (rows, 1) and (1, columns).
    """
    _, rows, columns = lung.shape
    inside = np.flatnonzero(lung.any(axis=(0, 2)))
    y = (np.arange(rows)[:, None] - (inside[0] + inside[-1]) / 2) * voxel_mm[1]
    return y, (np.arange(columns)[None] - inner_edge(lung, is_left)) * voxel_mm[2]


def first_bone(
    at: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], FloatArray], shape: tuple[int, ...], slices: int
) -> FloatArray:
    """The distance of the first rib of every slice and direction, mm; infinite where there is none.

    Args:
        at: bone outside of the lung: slices, directions and distances.
        shape: (slices, directions).
        slices: the ribs of so many slices above and below count: a slice shows but pieces of them.
    """
    first = np.full(shape, np.inf, dtype=np.float32)
    np.minimum.at(first, at[:2], at[2])
    return filters.lowest(first, (2 * slices + 1, 5))


def inner_edge(lung: BoolArray, is_left: bool) -> float:
    """The column of the chest's middle, as one lung sees it: where its inner edge lies in most slices."""
    columns = [np.flatnonzero(plane.any(axis=0)) for plane in lung if plane.any()]
    return float(np.median([one[0 if is_left else -1] for one in columns]))


def _bordering(added: BoolArray, lung: BoolArray, beyond: BoolArray) -> BoolArray:
    """The connected parts of ``added`` that border on lung more than on anything else but what is ``beyond``."""
    parts, count = numbered(added)
    padded = tuple(side + 2 for side in added.shape)
    kinds = np.zeros(padded, dtype=np.int8)  # what a neighbour speaks for: +1 lung, -1 anything else
    kinds[1:-1, 1:-1, 1:-1] = lung.astype(np.int8) - ~(lung | beyond | added)
    coordinates = np.nonzero(added)
    here = np.ravel_multi_index(tuple(coordinate + 1 for coordinate in coordinates), padded)
    votes = np.zeros(len(here), dtype=np.int64)
    for step in (1, padded[2], padded[1] * padded[2]):
        votes += kinds.ravel()[here - step]
        votes += kinds.ravel()[here + step]
    keep = np.bincount(parts[coordinates], weights=votes, minlength=count + 1) > 0
    keep[0] = False
    return np.asarray(keep[parts])
