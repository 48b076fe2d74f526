"""Dense lung between ground glass and the ribs, which the search for air loses.

Lung reaches the ribs from apex to base. Where it ends far before them and is ground glass there, what lies between is
consolidated lung, or fluid: it is added. Nothing is added to a lung that ends in healthy tissue, nor what is as dense
as liver, spleen or muscle.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, FloatArray, Point
from pulmoscope.segment import filters
from pulmoscope.segment.ct_lung_parts import (
    RIB_GAP_MM,
    RIB_HU,
    RIB_MM,
    SECTOR_DEG,
    closed,
    disc,
    first_bone,
    from_middle,
    outline,
)

ILL_HU = -700
"""Denser than this on average, the lung's edge is ill."""

EDGE_MM, RIM_MM = 18.0, 4.0
"""What of the edge is looked at: so far within the outline, but not what is so near any border of the lung."""

MOSTLY, LEAST_ILL = 0.5, 0.03
"""An edge is ill where most around it is; where hardly any of a lung's edge is, vessels and thin ends make it so."""

GAS_HU, ORGAN_HU = -350, 46
"""What is lighter is gas in the bowel, as aerated lung is known already. Liver, spleen and muscle are denser; airless
lung and fluid are not, without contrast medium."""

FAT_HU, FAT_PX, MOSTLY_FAT = (-125, -65), 3, 0.5
"""Fat, and how thick it is; it goes on beyond what would be added by this fraction of it, dense lung doesn't."""

DEEP_MM, BEYOND_MM = 65.0, 6.0
"""So far from the ribs inwards something is added; and no gap is smaller."""

PASSES, MUCH = 3, 0.02
"""What was added shows more of the lung's edge: so often it is looked at, as long as so much of the lung is added."""

ALONG_MM, AROUND_DEG = 30.0, 16
"""A direction without any lung goes by what is so far up, down and around it, in all."""

SPINE_MM, MIDDLE_MM = 16.0, 12.0
"""Bone so near the lung's inner edge is the spine, and no rib; lung goes on so far beyond that edge."""

FRONT_DEG = 65
"""Farther to the front than this, seen from the chest's middle and against the side, is the mediastinum."""


@dataclass(frozen=True)
class _Directions:
    """How pixels of a slice lie to the middle of the chest's depth at a lung's inner edge.

    Attributes:
        reach: float32 (rows, columns), mm.
        sector: int likewise, the direction in steps of :data:`SECTOR_DEG`.
        rib: bool likewise: where bone is a rib's.
        costal: bool likewise: what lies towards the ribs.
        window: slices and directions that count as near.
    """

    reach: FloatArray
    sector: npt.NDArray[np.int64]
    rib: BoolArray
    costal: BoolArray
    window: tuple[int, int]

    @classmethod
    def of(cls, lung: BoolArray, voxel_mm: Point, is_left: bool) -> _Directions:
        """Of one lung, bool (slices, rows, columns)."""
        _, rows, columns = lung.shape
        y, x = from_middle(lung, voxel_mm, is_left=is_left)
        aside = x if is_left else -x
        degrees = np.degrees(np.arctan2(y, x)) + 180
        front = np.maximum(aside, 0) * np.tan(np.radians(FRONT_DEG))
        return cls(
            reach=np.hypot(y, x).astype(np.float32),
            sector=(degrees / SECTOR_DEG).astype(np.int64) % (360 // SECTOR_DEG),
            rib=np.broadcast_to(aside > SPINE_MM, (rows, columns)),
            costal=(-y < front) & (aside > -MIDDLE_MM),
            window=(2 * round(ALONG_MM / voxel_mm[0] / 2) + 1, AROUND_DEG // SECTOR_DEG | 1),
        )


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
    """The lung, with the dense lung that follows from what is known of it."""
    if not lung.any():
        return lung
    towards = _Directions.of(lung, voxel_mm, is_left)
    soft = np.stack([cv2.GaussianBlur(plane, (0, 0), 2.5 / voxel_mm[1]) for plane in np.minimum(coarse, 150)])
    outer = outline(lung, towards.reach, towards.sector)
    rim = disc(2 * round(RIM_MM / voxel_mm[1]) + 1)
    within = np.stack([cv2.erode(plane.astype(np.uint8), rim) for plane in lung]) > 0
    ill = _ill(within, soft, outer, towards)
    if ill[outer > 0].mean() < LEAST_ILL:
        return lung
    start = np.where(outer > 0, outer, _inner(lung, towards))
    end = _rib_limit((coarse > RIB_HU) & towards.rib, outer, towards, round(RIB_MM / voxel_mm[0]))
    gap = ill & (end - start > BEYOND_MM)
    heights = np.flatnonzero(lung.any(axis=(1, 2)))
    gap[: heights[0]] = gap[heights[-1] + 1 :] = (
        False  # below the base there is the abdomen, above the apex the neck
    )
    added = np.zeros(lung.shape, dtype=bool)
    for index in np.flatnonzero(gap.any(axis=1)):
        near, far, open_ = (one[index][towards.sector] for one in (start, end, gap))
        from_mm = np.maximum(near - 2, far - DEEP_MM)
        here = towards.costal & open_ & (towards.reach > from_mm) & (towards.reach <= far)
        here &= (soft[index] > GAS_HU) & (soft[index] < ORGAN_HU) & (coarse[index] < RIB_HU)
        here &= ~_fat(soft[index], here)
        thick = cv2.morphologyEx((here | lung[index]).astype(np.uint8), cv2.MORPH_OPEN, disc(3)) > 0
        added[index] = thick & ~lung[index]
    return lung | added


def _fat(soft: FloatArray, here: BoolArray) -> BoolArray:
    """The fat of a slice that is not only where lung would be added: of the mediastinum, or beyond the pleura."""
    fat = ((soft > FAT_HU[0]) & (soft < FAT_HU[1])).astype(np.uint8)
    count, parts = cv2.connectedComponents(
        cv2.morphologyEx(fat, cv2.MORPH_OPEN, disc(FAT_PX)), connectivity=4
    )
    beyond = np.bincount(parts[~here], minlength=count) > MOSTLY_FAT * np.bincount(
        parts.ravel(), minlength=count
    )
    beyond[0] = False
    return np.asarray(beyond[parts])


def _ill(within: BoolArray, soft: FloatArray, outer: FloatArray, towards: _Directions) -> BoolArray:
    """In which slices and directions the lung's edge is ill.

    Args:
        within: bool (slices, rows, columns): the lung without its rim.
        soft: float32 likewise, HU, smoothed.
        outer: float32 (slices, directions): how far the lung reaches, mm.
    """
    at_slice, at_row, at_column = np.nonzero(within)
    at_sector = towards.sector[at_row, at_column]
    edge = outer[at_slice, at_sector] - towards.reach[at_row, at_column] <= EDGE_MM
    at = np.ravel_multi_index((at_slice[edge], at_sector[edge]), outer.shape)
    values = soft[at_slice[edge], at_row[edge], at_column[edge]]
    sums, counts = (
        np.bincount(at, weights=weights, minlength=outer.size) for weights in (values, np.ones(len(at)))
    )
    known = counts > 0
    ill, seen = (
        filters.mean(one.astype(np.float32).reshape(outer.shape), towards.window)
        for one in (known & (sums > ILL_HU * counts), known)
    )
    return np.asarray(ill > np.maximum(MOSTLY * seen, 1e-3))


def _inner(lung: BoolArray, towards: _Directions) -> FloatArray:
    """Where lung begins, mm (slices, directions), as near ones have it; infinite where none is near."""
    inner = np.full((len(lung), 360 // SECTOR_DEG), np.inf, dtype=np.float32)
    at_slice, at_row, at_column = np.nonzero(lung)
    at_sector = towards.sector[at_row, at_column]
    np.minimum.at(inner, (at_slice, at_sector), towards.reach[at_row, at_column])
    return filters.lowest(inner, towards.window)


def _rib_limit(bone: BoolArray, outer: FloatArray, towards: _Directions, slices: int) -> FloatArray:
    """How far lung may reach, mm (slices, directions): the usual way before the ribs; 0 where none are near.

    Args:
        slices: the ribs of so many slices above and below count: a slice shows but pieces of them.
    """
    at_slice, at_row, at_column = np.nonzero(bone)
    at_sector, at_mm = towards.sector[at_row, at_column], towards.reach[at_row, at_column]
    outside = at_mm > np.maximum(outer[at_slice, at_sector], 2 * SPINE_MM)
    first = first_bone((at_slice[outside], at_sector[outside], at_mm[outside]), outer.shape, slices)
    usual = (first - outer)[(outer > 0) & (np.abs(first - outer) < 3 * RIB_GAP_MM)]
    before = float(np.percentile(usual, 30)) if len(usual) else 0.0  # a gap is larger where lung is dense
    return np.asarray(np.where(np.isfinite(first), first - before, 0), dtype=np.float32)
