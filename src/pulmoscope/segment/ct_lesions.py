"""Which voxels of the lungs are denser than aerated lung because of disease: measured in HU, nothing is learned.

Vessels, airway walls, fissures, the lungs' outline and the thin dense layer that everybody may have at the back are
dense too. So vessels are taken out first (the deeper in the lung, the wider they are), then what is nowhere as thick
as a lesion goes, and what is as thick comes back up to its own border. Everything is thought in mm: slices are
smoothed on pixels of about 1.5 mm and averaged with their neighbours, so that a noisy or thinly sliced scan gives the
answer of a smooth or thickly sliced one. The constants were chosen on simulated chests, see ``docs/severity.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from pulmoscope.core.types import BoolArray, Bytes, FloatArray, Point, Voxels
from pulmoscope.segment.ct_lung_parts import disc, grid_size

GRID_MM, SLAB_MM = 1.5, 5.0
"""The pixel that is measured on, about; and over how much neighbouring slices are averaged."""

RIM_MM = 2.0
"""So near the outline a voxel is partly chest wall: it takes the density of the lung beside it."""

AERATED_HU, GLASS_HU = (-950, -720), -600
"""Between what densities aerated lung is looked for; and ground glass, about. A lesion's border lies half way."""

SURE_HU = 75
"""So much denser than its border is what surely is a lesion."""

THICK_MM = 7.0
"""What is nowhere so thick in a slice is no lesion."""

REACH_MM = 6.0
"""So far around its thick part a lesion may go on where it is thinner."""

LEAST_ML = 0.4
"""A smaller lesion is taken for noise or a vessel's bend."""

DEEP_MM, VESSEL_MM, VESSEL_HU, VESSEL_STEP_HU = 20.0, 15.0, -550, 200
"""Deeper than this below the ribs, vessels are up to so wide; they are so dense, and so much denser than around."""

MASS_MM, ARM_MM = 13.0, 3.0
"""A dense thing that is so thick is no vessel, nor is what hangs on to it so near."""

HILUM_DEEP_MM, HILUM_MM, HILUM_CLEAR = 40.0, 24.0, 0.5
"""Deeper than this the hilum is near: its vessels, and what joins them, are up to so wide. In a slice of which less
than this fraction is aerated, such a thing is more likely ill."""

DOME_MM, CLEAR_HU = 10.0, -750
"""So near above the diaphragm a voxel may be half of it, or moved with it; it is where the lung above holds air."""


@dataclass(frozen=True)
class Densities:
    """The lungs' density, smoothed, on the grid that is measured on.

    Attributes:
        hu: float32 (slices, rows, columns); outside the lungs that of the nearest lung.
        labels: uint8 likewise: 0 none, 1 the right lung, 2 the left.
        outside: bool likewise: what is no lung; a voxel of lung that was not observed is neither.
        box: which of the scan's rows and columns the grid covers.
        voxel_mm: (slice, row, column).
    """

    hu: FloatArray
    labels: Bytes
    outside: BoolArray
    box: tuple[slice, slice]
    voxel_mm: Point


def densities(
    hu: Voxels, labels: Bytes, spacing_mm: Point, missing: BoolArray | None = None
) -> Densities:
    """Smooth the lungs' density; what lies outside them doesn't weigh in.

    Args:
        hu: float32 or int16 (slices, rows, columns), feet to head.
        labels: uint8 likewise: 0 none, 1 right, 2 left; not 0 everywhere.
        spacing_mm: (slice, row, column).
        missing: bool likewise: voxels that were not observed; they don't weigh in either.
    """
    everywhere = labels
    labels = labels if missing is None else np.where(missing, np.uint8(0), labels)
    box = _box(np.asarray((labels > 0).any(axis=0)), [round(4 * GRID_MM / mm) + 1 for mm in spacing_mm[1:]])
    rows, columns = (part.stop - part.start for part in box)
    size = grid_size(rows, columns, spacing_mm, GRID_MM)
    voxel_mm = (spacing_mm[0], spacing_mm[1] * rows / size[1], spacing_mm[2] * columns / size[0])
    total = np.zeros((len(hu), size[1], size[0]), dtype=np.float32)
    weight, smooth = np.zeros_like(total), np.zeros_like(total)
    small, outside = np.zeros(total.shape, dtype=np.uint8), np.ones(total.shape, dtype=bool)
    rim = disc(2 * max(1, round(RIM_MM / spacing_mm[1])) + 1)

    def shrink(index: int) -> None:
        lung = labels[index][box]
        outside[index] = cv2.resize(everywhere[index][box], size, interpolation=cv2.INTER_NEAREST) == 0
        if not lung.any():
            return
        inner = cv2.erode((lung > 0).astype(np.uint8), rim, borderType=cv2.BORDER_CONSTANT, borderValue=1)
        inner = inner if inner.any() else (lung > 0).astype(np.uint8)
        weighed = np.clip(hu[index][box], -1050, 150).astype(np.float32) * inner
        weight[index] = cv2.resize(inner.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        total[index] = cv2.resize(weighed, size, interpolation=cv2.INTER_AREA)
        small[index] = cv2.resize(lung, size, interpolation=cv2.INTER_NEAREST)

    def blur(index: int) -> None:
        if small[index].any():
            sums, weights = _slab(total, index, voxel_mm[0]), _slab(weight, index, voxel_mm[0])
            near = cv2.dilate(small[index], np.ones((5, 5), dtype=np.uint8)) > 0
            smooth[index] = _means(sums, weights, near)

    each(shrink, len(hu))
    each(blur, len(hu))
    return Densities(smooth, small, outside, box, voxel_mm)


@dataclass(frozen=True)
class Lesions:
    """Where the lesions lie, on the grid of :class:`Densities`.

    Attributes:
        mask: bool (slices, rows, columns).
        clear: float32 likewise, the density without vessels, HU.
        border_hu: by which density a lesion ends.
    """

    mask: BoolArray
    clear: FloatArray
    border_hu: float


def lesions(densities: Densities) -> Lesions:
    """Find the lesions."""
    border = border_hu(densities)
    lung = densities.labels > 0
    clear = np.full_like(densities.hu, -1000)
    seeds, kept = np.zeros_like(lung), np.zeros_like(lung)
    thick, reach = _disc(THICK_MM, densities), _disc(2 * REACH_MM + GRID_MM, densities)

    def seed(index: int) -> None:
        if lung[index].any():
            clear[index] = _without_vessels(densities, index)
            inside = np.where(lung[index], clear[index], np.float32(-1000))
            seeds[index] = cv2.morphologyEx(inside, cv2.MORPH_OPEN, thick) > border + SURE_HU

    each(seed, len(lung))
    blurred = _diaphragm(densities, clear)
    seeds = _large(seeds & ~blurred, LEAST_ML, densities.voxel_mm)

    def regrow(index: int) -> None:
        if seeds[index].any():
            near = cv2.dilate(seeds[index].astype(np.uint8), reach) > 0
            wanted = (clear[index] > border) & lung[index] & near & ~blurred[index]
            kept[index] = _touching(wanted, seeds[index])

    each(regrow, len(lung))
    return Lesions(kept, clear, border)


def border_hu(densities: Densities) -> float:
    """The density of a lesion's border: half way from this patient's aerated lung to ground glass.

    How dense aerated lung is depends on how deep the breath was, and on the scanner.
    """
    low, high = AERATED_HU
    counts, edges = np.histogram(densities.hu[densities.labels > 0], np.arange(low, high + 1, 10))
    smooth = np.convolve(counts, (1, 2, 3, 2, 1), mode="same")
    aerated = edges[smooth.argmax()] + 5 if counts.any() else high
    return float((aerated + GLASS_HU) / 2)


def each(work: Callable[[int], None], count: int) -> None:
    """Do the slices, in threads."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(work, range(count)))


def _without_vessels(densities: Densities, index: int) -> FloatArray:
    """A slice's density with the vessels deep in the lung replaced by what is around them."""
    lung = densities.labels[index] > 0
    plane = np.where(lung, densities.hu[index], np.float32(-1000))
    depth = _depth_mm(lung, densities.voxel_mm)
    vessels = _narrow(plane, densities, VESSEL_MM, MASS_MM) & (depth > DEEP_MM)
    hilum = (plane > VESSEL_HU) & (depth > HILUM_DEEP_MM) & ~vessels
    if hilum.any() and np.mean(plane[lung] < CLEAR_HU) > HILUM_CLEAR:
        vessels |= _narrow(plane, densities, HILUM_MM, HILUM_MM) & hilum
    if not vessels.any():
        return np.asarray(densities.hu[index])
    vessels = cv2.dilate(vessels.astype(np.uint8), disc(3)) > 0
    rest = (lung & ~vessels).astype(np.float32)
    return np.asarray(
        np.where(vessels, _means(plane * rest, rest, vessels), densities.hu[index]), dtype=np.float32
    )


def _narrow(plane: FloatArray, densities: Densities, vessel_mm: float, mass_mm: float) -> BoolArray:
    """What is dense and narrower than ``vessel_mm``, but for what hangs on to something thicker than ``mass_mm``."""
    wide = cv2.morphologyEx(plane, cv2.MORPH_OPEN, _disc(vessel_mm, densities))
    dense = plane > VESSEL_HU
    narrow = dense & (plane - wide > VESSEL_STEP_HU)
    mass = cv2.morphologyEx(dense.astype(np.uint8), cv2.MORPH_OPEN, _disc(mass_mm, densities))
    if mass.any():
        near = cv2.dilate(mass, _disc(4 * ARM_MM, densities)) > 0
        narrow &= ~_touching(dense & near, mass > 0)
    return np.asarray(narrow)


def _diaphragm(densities: Densities, clear: FloatArray) -> BoolArray:
    """Where a voxel is partly diaphragm: none of the lung is just below it, and lung full of air just above."""
    steps = max(1, round(DOME_MM / densities.voxel_mm[0]))
    outside, aerated = densities.outside, (densities.labels > 0) & (clear < CLEAR_HU)
    below, above = np.zeros_like(outside), np.zeros_like(outside)
    for step in range(1, min(steps, len(outside) - 1) + 1):
        below[step:] |= outside[:-step]
        above[:-step] |= aerated[step:]
    return np.asarray(below & above)


def _disc(mm: float, densities: Densities) -> Bytes:
    return disc(max(1, round(mm / densities.voxel_mm[1])))


def _depth_mm(lung: BoolArray, voxel_mm: Point) -> FloatArray:
    """How deep a slice's pixels lie below the convex outline of both lungs, which is about the ribs'."""
    points = np.argwhere(lung)[:, ::-1].astype(np.int32) + 1
    hull = np.zeros((lung.shape[0] + 2, lung.shape[1] + 2), dtype=np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    depth = cv2.distanceTransform(hull, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.asarray(depth * np.float32(voxel_mm[1]), dtype=np.float32)


def _box(there: BoolArray, room: list[int]) -> tuple[slice, slice]:
    """The rows and columns where there is anything, and some around."""
    parts = []
    for axis, spare in zip((0, 1), room, strict=True):
        inside = np.flatnonzero(there.any(axis=1 - axis))
        parts.append(
            slice(max(0, int(inside[0]) - spare), min(there.shape[axis], int(inside[-1]) + 1 + spare))
        )
    return parts[0], parts[1]


def _slab(planes: FloatArray, index: int, slice_mm: float) -> FloatArray:
    """A slice with its neighbours within half of :data:`SLAB_MM`, the nearer the more."""
    out = planes[index].copy()
    for step in range(1, int(SLAB_MM / 2 / slice_mm) + 1):
        weight = np.float32(1 - step * slice_mm / (SLAB_MM / 2 + slice_mm))
        for other in (index - step, index + step):
            if 0 <= other < len(planes):
                out += weight * planes[other]
    return np.asarray(out)


def _means(total: FloatArray, weight: FloatArray, wanted: BoolArray) -> FloatArray:
    """Means over some 3 mm of what has a weight, and where nothing near has one, over more."""
    out, known = np.full_like(total, -1000), np.zeros(total.shape, dtype=bool)
    for sigma in (0.7, 1.5, 4.0, 12.0):
        weights = cv2.GaussianBlur(weight, (0, 0), sigma)
        new = ~known & (weights > (0.15 if sigma < 12 else 1e-6))
        out[new] = cv2.GaussianBlur(total, (0, 0), sigma)[new] / weights[new]
        known |= new
        if known[wanted].all():
            break
    return out


def _large(mask: BoolArray, least_ml: float, voxel_mm: Point) -> BoolArray:
    """The connected parts, in three dimensions, of at least so many ml."""
    parts, _ = ndimage.label(mask)
    keep = np.bincount(parts.ravel()) * (np.prod(voxel_mm) / 1000) >= least_ml
    keep[0] = False
    return np.asarray(keep[parts])


def _touching(mask: BoolArray, seeds: BoolArray) -> BoolArray:
    """The connected parts of a slice that hold a seed."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    keep = np.zeros(int(parts.max()) + 1, dtype=bool)
    keep[np.unique(parts[seeds & mask])] = True
    keep[0] = False
    return np.asarray(keep[parts])
