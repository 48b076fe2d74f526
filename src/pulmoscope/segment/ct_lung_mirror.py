"""An upper lobe without any air, which neither the search for air nor its edge finds: what the other lung says of it.

Above the heart both lungs have about the same outline. Where one of them holds hardly any air within the mirrored
outline of the other, and what lies there is as dense as airless lung and without fat, it is consolidated lung.
"""

from __future__ import annotations

import cv2
import numpy as np

from pulmoscope.core.types import BoolArray, Bytes, FloatArray, Point
from pulmoscope.segment.ct_lung_parts import FAT_HU, RIB_HU, disc
from pulmoscope.segment.filters import highest_near
from pulmoscope.segment.parts import numbered

UPPER = 0.45
"""From this fraction of the other lung's height on there is neither heart nor liver."""

CUT = 0.5
"""A lung that ends at the top of the scan with more than this fraction of its largest area is cut: what stands for its
upper half may lie beside the liver."""

LITTLE_AIR, RIM_MM = 0.5, 4.0
"""Lung is lacking where less than this fraction of the mirrored outline holds air. The outline's rim is uncertain."""

TISSUE_HU, MEAN_HU = (-30, 75), 46
"""Airless lung and fluid, smoothed; and its mean, which the liver, below a high dome, exceeds."""

MOST_FAT, LEAST_ML = 0.1, 60.0
"""Mediastinum and shoulder hold more fat; and less is no lobe."""


def with_mirrored(labels: Bytes, coarse: FloatArray, airy: BoolArray, voxel_mm: Point) -> Bytes:
    """Both lungs with what one lacks in its upper half.

    Args:
        labels: uint8 (slices, rows, columns): 0 none, 1 the right lung, 2 the left.
        coarse: float32 likewise, HU.
        airy: bool likewise: what mostly is air.
        voxel_mm: (slice, row, column).
    """
    if not all((labels == side).any() for side in (1, 2)):
        return labels
    middle = _middle(labels)
    out = labels.copy()
    for side in (1, 2):
        more = _lacking(labels, side, coarse, airy, middle, voxel_mm)
        out[more & (labels == 0)] = side
    return out


def _middle(labels: Bytes) -> float:
    """The column between both lungs' outer edges, in most slices."""
    spans = [np.flatnonzero(plane.any(axis=0)) for plane in labels if all((plane == s).any() for s in (1, 2))]
    return float(np.median([(span[0] + span[-1]) / 2 for span in spans])) if spans else labels.shape[2] / 2


def _lacking(
    labels: Bytes, side: int, coarse: FloatArray, airy: BoolArray, middle: float, voxel_mm: Point
) -> BoolArray:
    """What a lung lacks by the other one's mirrored outline: bool (slices, rows, columns)."""
    other = labels == 3 - side
    areas = np.count_nonzero(other, axis=(1, 2))
    lacking, fat, tissue = (np.zeros(labels.shape, dtype=bool) for _ in range(3))
    if areas[-1] > CUT * areas.max():
        return lacking
    heights = np.flatnonzero(areas)
    flip = np.array([[-1, 0, 2 * middle], [0, 1, 0]], dtype=np.float32)
    rim = disc(2 * round(RIM_MM / voxel_mm[1]) + 1)
    size = (labels.shape[2], labels.shape[1])
    for index in range(heights[0] + int(UPPER * len(heights)), heights[-1] + 1):
        mirrored = cv2.warpAffine(other[index].astype(np.uint8), flip, size, flags=cv2.INTER_NEAREST)
        expected = (cv2.erode(mirrored, rim) > 0) & ~other[index]
        if np.count_nonzero(expected & airy[index]) >= LITTLE_AIR * np.count_nonzero(expected):
            continue
        soft = cv2.GaussianBlur(np.minimum(coarse[index], 150), (0, 0), 2.5 / voxel_mm[1])
        fat[index] = expected & (soft > FAT_HU[0]) & (soft < FAT_HU[1])
        tissue[index] = (soft > TISSUE_HU[0]) & (soft < TISSUE_HU[1]) & (coarse[index] < RIB_HU)
        inside = (expected & tissue[index]).astype(np.uint8)
        lacking[index] = cv2.morphologyEx(inside, cv2.MORPH_OPEN, rim) > 0
    if not lacking.any():
        return lacking
    parts, count = numbered(lacking)
    voxels = np.bincount(parts.ravel(), minlength=count + 1)
    fatty = np.bincount(highest_near(parts)[fat], minlength=count + 1)
    sums = np.bincount(parts.ravel(), weights=coarse.ravel(), minlength=count + 1)
    airless = sums <= MEAN_HU * voxels
    keep = airless & (voxels * np.prod(voxel_mm) / 1000 >= LEAST_ML) & (fatty < MOST_FAT * voxels)
    keep[0] = False
    lobe = keep[parts]
    for plane, around in zip(lobe, tissue, strict=True):  # the rim that the erosion took
        plane[:] = (cv2.dilate(plane.astype(np.uint8), rim) > 0) & around
    return np.asarray(lobe)
