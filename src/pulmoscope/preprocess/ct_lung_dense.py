"""Dense lung between ground glass and the ribs, which the search for air loses.

Lung reaches the ribs from apex to base. Where it ends far before them and is ground glass there, what lies between is
consolidated lung, or fluid: it is added. Nothing is added to a lung that ends in healthy tissue, nor what is as dense
as liver, spleen or muscle.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pulmoscope.core.types import FloatArray, Point
from pulmoscope.preprocess.ct_lung_parts import (
    RIB_GAP_MM,
    RIB_HU,
    RIB_MM,
    SECTOR_DEG,
    BoolArray,
    closed,
    disc,
    inner_edge,
    outline,
)

ILL_HU = -700
"""Denser than this on average, the lung's edge is ill."""

MOSTLY = 0.5

EDGE_MM, RIM_MM = 18.0, 4.0
"""What of the edge is looked at: so far within the outline, but not what is so near any border of the lung."""

GAS_HU, ORGAN_HU = -350, 46
"""What is lighter is bowel gas, as aerated lung is known already. Liver, spleen and muscle are denser; lung without air, and fluid, are not (without contrast medium)."""

DEEP_MM, BEYOND_MM = 65.0, 6.0
"""As far from the ribs inwards something is added; and no gap is smaller."""

PASSES, MUCH = 3, 0.02

LEAST_ILL = 0.03

ALONG_MM, AROUND_DEG = 30.0, 16
"""A direction without any lung takes the lung's inner edge from so far up, down and around."""

SPINE_MM = 16.0

FRONT_DEG = 65
"""Farther to the front than this, seen from the chest's middle and against the side, is the mediastinum."""


def with_dense(
    lung: BoolArray, coarse: FloatArray, inside: BoolArray, voxel_mm: Point, *, is_left: bool
) -> BoolArray:
    """One lung with what is dense between it and the ribs.

    Args:
        lung: bool (slices, rows, columns).
        coarse: float32 likewise, HU.
        inside: bool likewise, this lung's side of the body.
        voxel_mm: (slice, row, column).
    """
    for _ in range(PASSES):
        more = _once(lung, coarse, voxel_mm, is_left) & inside
        much = np.count_nonzero(more) > (1 + MUCH) * np.count_nonzero(lung)
        lung = more
        if not much:
            break
        lung = closed(lung, voxel_mm) & inside
    return lung


def _once(lung: BoolArray, coarse: FloatArray, voxel_mm: Point, is_left: bool) -> BoolArray:
    """The lung with what can be told to be dense lung from what is known of it."""
    _, rows, columns = lung.shape
    places = np.flatnonzero(lung.any(axis=(0, 2)))
    y = (np.arange(rows)[:, None] - (places[0] + places[-1]) / 2) * voxel_mm[1]
    x = (np.arange(columns)[None] - inner_edge(lung, is_left)) * voxel_mm[2]
    reach = np.hypot(y, x).astype(np.float32)
    sector = ((np.degrees(np.arctan2(y, x)) + 180) / SECTOR_DEG).astype(np.int64) % (360 // SECTOR_DEG)
    aside = x if is_left else -x
    costal = (-y < np.maximum(aside, 0) * np.tan(np.radians(FRONT_DEG))) & (aside > -12)
    soft = np.stack([cv2.GaussianBlur(plane, (0, 0), 2.5 / voxel_mm[1]) for plane in np.minimum(coarse, 150)])
    window = (2 * round(ALONG_MM / voxel_mm[0] / 2) + 1, AROUND_DEG // SECTOR_DEG | 1)
    outer = outline(lung, reach, sector)
    round_ = disc(2 * round(RIM_MM / voxel_mm[1]) + 1)
    inner = np.stack([cv2.erode(plane.astype(np.uint8), round_) for plane in lung]) > 0
    ill = _ill(inner, soft, outer, reach, sector, window)
    if ill[outer > 0].mean() < LEAST_ILL:
        return lung
    start = np.where(outer > 0, outer, _inner(lung, reach, sector, window))
    end = _rib_limit(
        (coarse > RIB_HU) & (aside > SPINE_MM), outer, reach, sector, round(RIB_MM / voxel_mm[0])
    )
    gap = ill & (end - start > BEYOND_MM)
    added = np.zeros(lung.shape, dtype=bool)
    gap[np.flatnonzero(lung.any(axis=(1, 2)))[-1] + 1 :] = False  # above the apex
    for index in np.flatnonzero(gap.any(axis=1)):
        far, last = start[index][sector], end[index][sector]
        within = costal & gap[index][sector] & (reach > np.maximum(far - 2, last - DEEP_MM)) & (reach <= last)
        within &= (soft[index] > GAS_HU) & (soft[index] < ORGAN_HU) & (coarse[index] < RIB_HU)
        thick = cv2.morphologyEx((within | lung[index]).astype(np.uint8), cv2.MORPH_OPEN, disc(3)) > 0
        added[index] = thick & ~lung[index]
    return lung | added


def _ill(
    inner: BoolArray,
    soft: FloatArray,
    outer: FloatArray,
    reach: FloatArray,
    sector: npt.NDArray[np.int64],
    window: tuple[int, int],
) -> BoolArray:
    """In which slices and directions the lung's edge is ill."""
    at_slice, at_row, at_column = np.nonzero(inner)
    at_sector = sector[at_row, at_column]
    before = outer[at_slice, at_sector] - reach[at_row, at_column]
    near = before <= EDGE_MM
    at = np.ravel_multi_index((at_slice[near], at_sector[near]), outer.shape)
    values = soft[at_slice[near], at_row[near], at_column[near]]
    sums = np.bincount(at, weights=values, minlength=outer.size)
    counts = np.bincount(at, minlength=outer.size)
    ill = ((sums > ILL_HU * counts) & (counts > 0)).astype(np.float32).reshape(outer.shape)
    known = (counts > 0).astype(np.float32).reshape(outer.shape)
    around = [ndimage.uniform_filter(one, size=window, mode=("nearest", "wrap")) for one in (ill, known)]
    return np.asarray(around[0] > np.maximum(MOSTLY * around[1], 1e-3))


def _inner(
    lung: BoolArray, reach: FloatArray, sector: npt.NDArray[np.int64], window: tuple[int, int]
) -> FloatArray:
    """Where lung begins, mm (slices, directions), as near ones have it; infinite where none is near."""
    inner = np.full((len(lung), 360 // SECTOR_DEG), np.inf, dtype=np.float32)
    at_slice, at_row, at_column = np.nonzero(lung)
    np.minimum.at(inner, (at_slice, sector[at_row, at_column]), reach[at_row, at_column])
    return np.asarray(ndimage.minimum_filter(inner, size=window, mode=("nearest", "wrap")))


def _rib_limit(
    bone: BoolArray, outer: FloatArray, reach: FloatArray, sector: npt.NDArray[np.int64], slices: int
) -> FloatArray:
    """How far lung may reach, mm (slices, directions): the usual way before the ribs; 0 where none are near."""
    at_slice, at_row, at_column = np.nonzero(bone)
    at_sector, at_mm = sector[at_row, at_column], reach[at_row, at_column]
    outside = at_mm > np.maximum(outer[at_slice, at_sector], 35)
    first = np.full(outer.shape, np.inf, dtype=np.float32)
    np.minimum.at(first, (at_slice[outside], at_sector[outside]), at_mm[outside])
    first = ndimage.minimum_filter(first, size=(2 * slices + 1, 5), mode=("nearest", "wrap"))
    gap = first - outer
    usual = gap[(outer > 0) & (np.abs(gap) < 3 * RIB_GAP_MM)]
    before = float(np.percentile(usual, 30)) if len(usual) > 50 else 0.0
    return np.asarray(np.where(np.isfinite(first), first - before, 0), dtype=np.float32)
