"""Which voxels of the lungs are denser than aerated lung because of disease: measured in HU, nothing is learned.

Vessels, airway walls, fissures, the lungs' outline and the thin dense layer that everybody may have at the back are
dense too. So vessels are taken out first (the deeper in the lung, the wider they are), then what is nowhere as thick
as a lesion goes, and what is as thick comes back up to its own border. Everything is thought in mm: slices are
smoothed on pixels of about 1.5 mm and averaged with their neighbours, so that a noisy or thinly sliced scan gives the
answer of a smooth or thickly sliced one. The constants were chosen on simulated chests, see ``docs/severity.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pulmoscope.core.types import BoolArray, Bytes, FloatArray, Point
from pulmoscope.segment.ct_density import GRID_MM, Densities, each, means
from pulmoscope.segment.ct_lung_parts import disc
from pulmoscope.segment.parts import in_slice, large

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
class Lesions:
    """Where the lesions lie, on the grid of :class:`Densities`.

    Attributes:
        mask: bool (slices, rows, columns).
        clear: of each slice that has any the density without vessels, HU: float32, within its ``at``.
        border_hu: by which density a lesion ends.
    """

    mask: BoolArray
    clear: Sequence[FloatArray | None]
    border_hu: float


def lesions(densities: Densities) -> Lesions:
    """Find the lesions."""
    border = border_hu(densities)
    seeds, aerated = (np.zeros(densities.labels.shape, dtype=bool) for _ in range(2))
    clear: list[FloatArray | None] = [None] * len(seeds)
    thick, reach = _disc(THICK_MM, densities.voxel_mm), _disc(2 * REACH_MM + GRID_MM, densities.voxel_mm)

    def seed(index: int) -> None:
        hu, at = densities.hu[index], densities.at[index]
        if hu is None:
            return
        lung, without = densities.labels[index][at] > 0, _without_vessels(densities, hu, index)
        aerated[index][at] = lung & (without < CLEAR_HU)
        inside = np.where(lung, without, np.float32(-1000))
        seeds[index][at] = cv2.morphologyEx(inside, cv2.MORPH_OPEN, thick) > border + SURE_HU
        clear[index] = without if seeds[index].any() else None

    def clear_of_diaphragm(index: int) -> None:
        if seeds[index].any():
            seeds[index] &= ~_diaphragm(densities, aerated, index)

    def regrow(index: int) -> None:
        """Seeds become lesions, in their place: of a thousand slices every mask takes some 40 MB."""
        without, at = clear[index], densities.at[index]
        if without is None or not seeds[index].any():
            clear[index] = None
            return
        near = cv2.dilate(seeds[index][at].view(np.uint8), reach) > 0
        wanted = (without > border) & (densities.labels[index][at] > 0) & near
        wanted &= ~_diaphragm(densities, aerated, index)[at]
        seeds[index][at] = _touching(wanted, seeds[index][at])

    each(seed, len(seeds))
    each(clear_of_diaphragm, len(seeds))
    seeds = large(seeds, LEAST_ML / float(np.prod(densities.voxel_mm) / 1000))
    each(regrow, len(seeds))
    return Lesions(seeds, clear, border)


def border_hu(densities: Densities) -> float:
    """The density of a lesion's border: half way from this patient's aerated lung to ground glass.

    How dense aerated lung is depends on how deep the breath was, and on the scanner.
    """
    low, high = AERATED_HU
    edges = np.arange(low, high + 1, 10)
    counts = np.zeros(len(edges) - 1, dtype=np.int64)
    for hu, at, labels in zip(densities.hu, densities.at, densities.labels, strict=True):
        if hu is not None:
            counts += np.histogram(hu[labels[at] > 0], edges)[0]
    smooth = np.convolve(counts, (1, 2, 3, 2, 1), mode="same")
    aerated = edges[smooth.argmax()] + 5 if counts.any() else high
    return float((aerated + GLASS_HU) / 2)


def _without_vessels(densities: Densities, hu: FloatArray, index: int) -> FloatArray:
    """A slice's density with the vessels deep in the lung replaced by what is around them."""
    voxel_mm = densities.voxel_mm
    lung = densities.labels[index][densities.at[index]] > 0
    plane = np.where(lung, hu, np.float32(-1000))
    depth = _depth_mm(lung, voxel_mm)
    vessels = _narrow(plane, voxel_mm, VESSEL_MM, MASS_MM) & (depth > DEEP_MM)
    hilum = (plane > VESSEL_HU) & (depth > HILUM_DEEP_MM) & ~vessels
    if hilum.any() and np.mean(plane[lung] < CLEAR_HU) > HILUM_CLEAR:
        vessels |= _narrow(plane, voxel_mm, HILUM_MM, HILUM_MM) & hilum
    if not vessels.any():
        return hu
    vessels = cv2.dilate(vessels.view(np.uint8), disc(3)) > 0
    rest = (lung & ~vessels).astype(np.float32)
    # On the whole slice, as wide means see farther than the part.
    total, weight, wanted = (densities.whole(index, part, 0) for part in (plane * rest, rest, vessels))
    found = means(total, weight, wanted > 0)[densities.at[index]]
    return np.where(vessels, found, hu)


def _narrow(plane: FloatArray, voxel_mm: Point, vessel_mm: float, mass_mm: float) -> BoolArray:
    """What is dense and narrower than ``vessel_mm``, but for what hangs on to something thicker than ``mass_mm``."""
    wide = cv2.morphologyEx(plane, cv2.MORPH_OPEN, _disc(vessel_mm, voxel_mm))
    dense = plane > VESSEL_HU
    narrow = dense & (plane - wide > VESSEL_STEP_HU)
    mass = cv2.morphologyEx(dense.view(np.uint8), cv2.MORPH_OPEN, _disc(mass_mm, voxel_mm))
    if mass.any():
        near = cv2.dilate(mass, _disc(4 * ARM_MM, voxel_mm)) > 0
        narrow &= ~_touching(dense & near, mass > 0)
    return np.asarray(narrow)


def _diaphragm(densities: Densities, aerated: BoolArray, index: int) -> BoolArray:
    """Where a voxel is partly diaphragm: none of the lung is just below it, and lung full of air just above."""
    steps = max(1, round(DOME_MM / densities.voxel_mm[0]))
    below = densities.outside[max(0, index - steps) : index].any(axis=0)
    above = aerated[index + 1 : index + 1 + steps].any(axis=0)
    return np.asarray(below & above)


def _disc(mm: float, voxel_mm: Point) -> Bytes:
    return disc(max(1, round(mm / voxel_mm[1])))


def _depth_mm(lung: BoolArray, voxel_mm: Point) -> FloatArray:
    """How deep a slice's pixels lie below the convex outline of both lungs, which is about the ribs'."""
    rows = np.flatnonzero(lung.any(axis=1))
    ends = lung[rows].argmax(axis=1), lung.shape[1] - 1 - lung[rows, ::-1].argmax(axis=1)
    points = np.concatenate([np.stack((end, rows), axis=1) for end in ends]).astype(np.int32) + 1
    hull = np.zeros((lung.shape[0] + 2, lung.shape[1] + 2), dtype=np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    depth = cv2.distanceTransform(hull, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.asarray(depth * np.float32(voxel_mm[1]), dtype=np.float32)


def _touching(mask: BoolArray, seeds: BoolArray) -> BoolArray:
    """The connected parts of a slice that hold a seed."""
    parts = in_slice(mask)
    keep = np.zeros(int(parts.max()) + 1, dtype=bool)
    keep[parts[seeds & mask]] = True
    keep[0] = False
    return np.asarray(keep[parts])
