"""How much of the lungs a chest CT shows affected: volumes, bands of density, lesions, a score and a grade.

Measured in HU within the lung mask; nothing is learned. Bounds, sources and accuracy: ``docs/severity.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.severity import (
    CONSOLIDATION,
    GLASS,
    GRADES,
    RegionMeasure,
    SeverityMasks,
    SeverityMeasure,
)
from pulmoscope.core.types import BoolArray, Bytes, Point, Voxels
from pulmoscope.segment.ct_density import Densities, densities, each
from pulmoscope.segment.ct_error import interval
from pulmoscope.segment.ct_lesions import Lesions, lesions
from pulmoscope.segment.ct_lungs import LEFT, RIGHT
from pulmoscope.segment.sparse import sparse_zeros

BAND_HU = (-950, -700, -300)
BANDS = ("hyperinflated", "well_aerated", "ground_glass", "consolidation")
"""Bands of density, from the lightest on, and where the next one begins, HU (Colombi et al., Radiology 296, 2020:
well aerated -950 to -700; Lanza et al., Eur Radiol 30, 2020: consolidation from about -300 on here)."""

SIDES = {"right": RIGHT, "left": LEFT}

REGIONS: Mapping[str, tuple[int, float, float]] = MappingProxyType(
    {
        "right-upper": (RIGHT, 2 / 3, 1.0),
        "right-middle": (RIGHT, 1 / 3, 2 / 3),
        "right-lower": (RIGHT, 0.0, 1 / 3),
        "left-upper": (LEFT, 0.5, 1.0),
        "left-lower": (LEFT, 0.0, 0.5),
    }
)
"""The score's five regions, where lobes would be: the side, and from what fraction of that lung's height to what."""

NONE_PERCENT = 1.25
"""Less than this is none, of a region and of both lungs: what vessels leave over where nothing is ill."""

SCORE_STEPS = (5.0, 26.0, 50.0, 75.0)
"""Percent of a region from which on it has 2, 3, 4; beyond the last 5 (Pan et al., Radiology 295, 2020)."""

GRADE_STEPS = (25.0, 50.0, 75.0)
"""Percent of both lungs beyond which the grade is CT-2, CT-3, CT-4 (Morozov et al., MosMedData, 2020)."""


def measure(
    hu: Voxels,
    labels: Bytes,
    spacing_mm: Point,
    missing: BoolArray | None = None,
) -> tuple[SeverityMeasure, SeverityMasks] | None:
    """Measure how much of the lungs is affected.

    Args:
        hu: float32 or int16 (slices, rows, columns), feet to head.
        labels: uint8 likewise: 0 none, 1 the right lung, 2 the left.
        spacing_mm: (slice, row, column).
        missing: bool likewise: voxels that were not observed; they count neither as lung nor as lesion.

    Returns:
        The numbers and the masks; None where there is no lung.
    """
    lungs = labels if missing is None else np.where(missing, np.uint8(0), labels)
    if not lungs.any():
        return None
    smooth = densities(hu, labels, spacing_mm, missing)
    mask = _on_scan(lungs, smooth, lesions(smooth))
    lung_counts, lesion_counts = _counts(lungs, mask, smooth.box)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    extents = {side: _extent(lung_counts[side]) for side in (RIGHT, LEFT)}
    regions = {}
    for name, (side, low, high) in REGIONS.items():
        weights = _part(extents[side], len(hu), low, high)
        lung, ill = (float(counts[side] @ weights) for counts in (lung_counts, lesion_counts))
        regions[name] = _region(lung, ill, voxel_ml)
    total = {side: (lung_counts[side].sum(), lesion_counts[side].sum()) for side in (RIGHT, LEFT)}
    both = 100.0 * sum(ill for _, ill in total.values()) / sum(lung for lung, _ in total.values())
    volumes_ml = {name: float(total[side][0]) * voxel_ml for name, side in SIDES.items()}
    in_slices = sum(lung_counts.values())
    fractions = np.full(len(hu), np.nan)
    np.divide(sum(lesion_counts.values()), in_slices, out=fractions, where=in_slices > 0)
    severity = SeverityMeasure(
        percent_affected=both,
        interval=interval(both),
        right=_percent(*total[RIGHT]),
        left=_percent(*total[LEFT]),
        grade=grade(both),
        score=sum(region.score for region in regions.values()),
        regions=regions,
        volumes_ml={**volumes_ml, "both": sum(volumes_ml.values())},
        bands=_bands(smooth, extents),
        slice_fractions=tuple(float(fraction) for fraction in fractions),
    )
    return severity, SeverityMasks(lungs, mask)


def grade(percent: float) -> str:
    """MosMedData's grade of so many percent of both lungs; below :data:`NONE_PERCENT` it is CT-0."""
    if percent < NONE_PERCENT:
        return GRADES[0]
    return GRADES[1 + sum(percent > step for step in GRADE_STEPS)]


def region_score(percent: float) -> int:
    """0 to 5 for so many percent of a region."""
    if percent < NONE_PERCENT:
        return 0
    return 1 + sum(percent >= step for step in SCORE_STEPS[:-1]) + (percent > SCORE_STEPS[-1])


def _on_scan(lungs: Bytes, smooth: Densities, found: Lesions) -> Bytes:
    """The lesions on the scan's own grid: uint8, 0 none, 1 ground glass, 2 consolidation."""
    out = sparse_zeros(lungs.shape)
    rows, columns = smooth.box
    size = (columns.stop - columns.start, rows.stop - rows.start)
    around = np.ones((3, 3), dtype=np.uint8)

    def place(index: int) -> None:
        clear, hu = found.clear[index], smooth.hu[index]
        if clear is not None and hu is not None and found.mask[index].any():
            near = cv2.resize(
                cv2.dilate(found.mask[index].astype(np.uint8), around), size, interpolation=cv2.INTER_NEAREST
            )
            inside = (lungs[index][smooth.box] > 0) & (near > 0)
            inside &= (
                cv2.resize(smooth.whole(index, clear), size, interpolation=cv2.INTER_LINEAR) > found.border_hu
            )
            dense = cv2.resize(smooth.whole(index, hu), size, interpolation=cv2.INTER_LINEAR) >= BAND_HU[2]
            part = out[index][smooth.box]  # written only where there is something: the rest takes no memory
            part[inside] = np.where(dense[inside], CONSOLIDATION, GLASS)

    each(place, len(lungs))
    return out


_Counts = dict[int, npt.NDArray[np.float64]]


def _counts(lungs: Bytes, mask: Bytes, box: tuple[slice, slice]) -> tuple[_Counts, _Counts]:
    """Side → how many voxels of each slice are lung, and how many lesion."""
    lung = {side: np.zeros(len(lungs)) for side in (RIGHT, LEFT)}
    ill = {side: np.zeros(len(lungs)) for side in (RIGHT, LEFT)}

    def count(index: int) -> None:
        here, lesion = lungs[index][box], mask[index][box] > 0
        for side in (RIGHT, LEFT):
            lung[side][index] = np.count_nonzero(here == side)
            ill[side][index] = np.count_nonzero((here == side) & lesion)

    each(count, len(lungs))
    return lung, ill


def _extent(counts: npt.NDArray[np.float64]) -> tuple[int, int] | None:
    """The first slice of a lung and the one behind its last; None without any."""
    inside = np.flatnonzero(counts)
    return (int(inside[0]), int(inside[-1]) + 1) if len(inside) else None


def _part(extent: tuple[int, int] | None, slices: int, low: float, high: float) -> npt.NDArray[np.float64]:
    """How much of each slice lies within a part of a lung's height, 0 to 1."""
    if extent is None:
        return np.zeros(slices)
    bottom, height = extent[0], extent[1] - extent[0]
    lower, upper = bottom + low * height, bottom + high * height
    at = np.arange(slices)
    return np.asarray(np.clip(np.minimum(at + 1, upper) - np.maximum(at, lower), 0, 1))


def _percent(lung: float, ill: float) -> float | None:
    return 100.0 * float(ill) / float(lung) if lung else None


def _region(lung: float, ill: float, voxel_ml: float) -> RegionMeasure:
    percent = _percent(lung, ill)
    score = 0 if percent is None else region_score(percent)
    return RegionMeasure(float(lung) * voxel_ml, percent, score)


def _bands(
    smooth: Densities, extents: Mapping[int, tuple[int, int] | None]
) -> Mapping[str, Mapping[str, float]]:
    """Part → band → percent of it; a part that the scan doesn't show is left out."""
    slices = len(smooth.hu)
    histograms = {side: np.zeros((slices, len(BANDS))) for side in (RIGHT, LEFT)}

    def sort(index: int) -> None:
        for side, counts in histograms.items():
            inside = smooth.side(index, side)
            if len(inside):
                bands = np.searchsorted(BAND_HU, inside, side="right")
                counts[index] = np.bincount(bands, minlength=len(BANDS))

    each(sort, slices)
    parts = {"both": histograms[RIGHT].sum(axis=0) + histograms[LEFT].sum(axis=0)}
    for name, side in SIDES.items():
        parts[name] = histograms[side].sum(axis=0)
    for name, (side, low, high) in REGIONS.items():
        parts[name] = _part(extents[side], slices, low, high) @ histograms[side]
    return {
        name: dict(zip(BANDS, (100.0 * counts / counts.sum()).tolist(), strict=True))
        for name, counts in parts.items()
        if counts.sum()
    }
