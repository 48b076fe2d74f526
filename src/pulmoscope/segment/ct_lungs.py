"""Where the lungs lie in a chest CT: thresholds, morphology and connected parts; nothing is learned.

The lungs are looked for on a coarse grid of about 2 x 2 x 4 mm, and their outline is then drawn on the scan's own.
Right and left are told apart by the seam of least air between them. Vessels and dense disease belong to the lung:
gaps are closed, holes filled, and dents in the outline that faces the ribs levelled. Trachea, main bronchi and gas in
the bowel do not. Who finds lungs in another way writes a :data:`LungFinder`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from pulmoscope.core.threads import cores
from pulmoscope.core.types import BoolArray, Bytes, FloatArray, Point, Voxels
from pulmoscope.segment.ct_lung_dense import with_dense
from pulmoscope.segment.ct_lung_mirror import with_mirrored
from pulmoscope.segment.ct_lung_parts import airways, closed, dents, disc, filled, sides, without_domes
from pulmoscope.segment.parts import areas_in_slice, numbered
from pulmoscope.segment.sparse import sparse_zeros

RIGHT, LEFT = 1, 2
"""A lung mask's labels, as the patient has them; 0 is no lung."""

AIR_HU, DENSE_HU = -1000, -400
"""Air, and where what is mostly air ends."""

PADDING_HU = -1100
"""Nothing is lighter than air: what is below was filled in outside the circle that the scanner reconstructed."""

OPEN_AIR_HU = -940
"""Air around the patient is darker, even with noise; aerated lung is lighter."""

COARSE_MM, COARSE_SLICE_MM = 2.0, 4.0
"""The voxel that lungs are looked for on, about: in a slice, and from slice to slice."""

LEAST_ML, LEAST_CM2 = 40.0, 10.0
"""Less than this is no lung: in all, or of the scan's height where that is short."""

LEAST_SHARE = 0.17
"""In the slice that shows most of it, the lungs take more of the body than this, or it is no chest."""


@dataclass(frozen=True)
class LungMask:
    """Which voxels are lung.

    Attributes:
        labels: uint8 (slices, rows, columns): 0 none, 1 the patient's right lung, 2 the left.
        right_ml, left_ml: the volumes.
    """

    labels: Bytes
    right_ml: float
    left_ml: float

    @property
    def found(self) -> bool:
        """Whether there is any lung."""
        return self.right_ml + self.left_ml > 0


LungFinder = Callable[[Voxels, Point], LungMask]
"""Finds the lungs in HU, float32 or int16 (slices, rows, columns) as :class:`pulmoscope.core.types.Scan` has them, with
spacing (slice, row, column) in mm. Never raises for want of lungs: the mask is empty then. :func:`lung_mask` is one; a
learned one takes its place wherever a ``LungFinder`` is asked for."""


def lung_mask(hu: Voxels, spacing_mm: Point) -> LungMask:
    """Find the lungs of a chest CT, dense disease in them included.

    Args:
        hu: float32 or int16 (slices, rows, columns), slices from feet to head, rows to the back, columns to the
            patient's left.
        spacing_mm: (slice, row, column).

    Returns:
        An empty mask where no lungs were found (an abdomen, nothing but air).
    """
    depth, factor = _reduction(spacing_mm)
    coarse = _coarse(hu, depth, factor)
    voxel_mm = tuple(
        mm * full / small for mm, full, small in zip(spacing_mm, hu.shape, coarse.shape, strict=True)
    )
    labels = _coarse_labels(coarse, (voxel_mm[0], voxel_mm[1], voxel_mm[2]))
    if not labels.any():
        return LungMask(np.zeros(hu.shape, dtype=np.uint8), 0.0, 0.0)
    full, counts = _refined(labels, hu)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    return LungMask(full, counts[RIGHT] * voxel_ml, counts[LEFT] * voxel_ml)


def _body(pixels: FloatArray, thickness: int) -> BoolArray:
    """The patient without table, blanket and air around, lungs included: bool (rows, columns).

    The largest outline of a slice, filled, less what hangs on to it by less than ``thickness`` px.
    """
    padded = cv2.erode((pixels >= PADDING_HU).astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
    blurred = cv2.GaussianBlur(np.clip(pixels, AIR_HU, 200), (5, 5), 0)
    tissue = ((blurred > DENSE_HU) & ~padded).astype(np.uint8)
    solid = tissue | _cut_lungs(blurred, tissue, padded)
    filled = _largest(solid)
    opened = cv2.morphologyEx(filled, cv2.MORPH_OPEN, disc(thickness))
    return _largest(opened).astype(bool)


def _cut_lungs(blurred: FloatArray, tissue: Bytes, padded: BoolArray) -> Bytes:
    """Lungs that the field of view cuts open: within the body's convex outline, but not of open air's darkness."""
    cut = np.zeros(tissue.shape, dtype=np.uint8)
    outlines, _ = cv2.findContours(tissue, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return cut
    hull = cv2.convexHull(max(outlines, key=cv2.contourArea))
    left, top, width, height = cv2.boundingRect(hull)
    rows, columns = tissue.shape
    if min(left, top, columns - left - width, rows - top - height) > 0:
        return cut  # the whole body is seen
    within = cv2.fillConvexPoly(np.zeros_like(tissue), hull, 1)
    air = ((tissue == 0) & ~padded).astype(np.uint8)
    parts, areas = areas_in_slice(air)
    for part in range(1, len(areas)):
        if areas[part] > 0.004 * tissue.size:
            here = parts == part
            if within[here].mean() > 0.8 and np.median(blurred[here]) > OPEN_AIR_HU:
                cut[here] = 1
    return cut


def _largest(mask: Bytes) -> Bytes:
    """The largest outline, filled."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = np.zeros(mask.shape, dtype=np.uint8)
    if outlines:
        cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return filled


def _reduction(spacing_mm: Point) -> tuple[int, float]:
    """How many slices become one, and by what rows and columns shrink, so that voxels are about as coarse as wanted."""
    return max(1, int(COARSE_SLICE_MM / spacing_mm[0] + 1e-6)), max(1.0, COARSE_MM / min(spacing_mm[1:]))


def _coarse(hu: Voxels, depth: int, factor: float) -> FloatArray:
    """Means of ``depth`` slices and ``factor``² pixels."""
    slices, rows, columns = hu.shape
    size = (max(1, round(columns / factor)), max(1, round(rows / factor)))
    groups = range(0, slices, depth)
    coarse = np.empty((len(groups), size[1], size[0]), dtype=np.float32)
    for target, start in enumerate(groups):
        few = np.maximum(hu[start : start + depth], np.float32(3 * PADDING_HU))
        together = few[0] if len(few) == 1 else few.mean(axis=0)
        coarse[target] = cv2.resize(together, size, interpolation=cv2.INTER_AREA)
    return coarse


def _coarse_labels(coarse: FloatArray, voxel_mm: Point) -> Bytes:
    """The lungs on the coarse grid."""
    labels = np.zeros(coarse.shape, dtype=np.uint8)
    with ThreadPoolExecutor(cores()) as threads:
        body = np.stack(list(threads.map(partial(_body, thickness=max(3, round(8 / voxel_mm[1]))), coarse)))
    if not body.any():
        return labels
    within = (slice(None), _extent(body.any(axis=(0, 2))), _extent(body.any(axis=(0, 1))))
    body, coarse = body[within], np.maximum(coarse[within], np.float32(AIR_HU))
    airy = (coarse < DENSE_HU) & body
    if not airy.any():
        return labels
    airway = airways(coarse, airy, body, voxel_mm)
    is_left = sides(coarse, body, voxel_mm)

    def find(label: int) -> None:
        side = is_left if label == LEFT else ~is_left
        if not side.any():
            return
        half = (slice(None), slice(None), _extent(side.any(axis=(0, 1))))
        inside, hu = (body & side)[half], coarse[half]
        lung = _lung(hu, (airy & ~airway)[half] & inside, voxel_mm)
        if lung.any():
            lung = closed(lung, voxel_mm) & inside
            lung = dents(lung, hu, voxel_mm, is_left=label == LEFT) & inside
            lung = with_dense(lung, hu, inside, voxel_mm, is_left=label == LEFT)
            refilled = filled(closed(lung, voxel_mm)) & inside & ~airway[half]
            labels[within][half][without_domes(refilled, airy[half], voxel_mm)] = label

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(find, (RIGHT, LEFT)))
    labels[within] = with_mirrored(labels[within], coarse, airy, voxel_mm)
    fraction = (labels > 0).sum(axis=(1, 2)) / np.maximum(body.sum(axis=(1, 2)), 1)
    return labels if fraction.max() > LEAST_SHARE else np.zeros_like(labels)


def _extent(any_there: BoolArray | np.bool_) -> slice:
    """From the first to the last place where there is anything."""
    inside = np.flatnonzero(any_there)
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _lung(coarse: FloatArray, airy: BoolArray, voxel_mm: Point) -> BoolArray:
    """One side's aerated lung: its largest connected part that is no gas, and smaller ones like it."""
    parts, count = numbered(airy)
    if not count:
        return airy
    ml = np.bincount(parts.ravel())[1:] * (np.prod(voxel_mm) / 1000)
    keep = np.zeros(count + 1, dtype=bool)
    least = min(LEAST_ML, LEAST_CM2 * len(airy) * voxel_mm[0] / 10)
    main = 0.0
    for number in np.argsort(-ml) + 1:
        volume = float(ml[number - 1])
        if volume < max(least, 0.05 * main):
            break
        if np.percentile(coarse[parts == number], 25) > OPEN_AIR_HU:
            keep[number] = True
            main = main or volume
    return np.asarray(keep[parts])


def _refined(labels: Bytes, hu: Voxels) -> tuple[Bytes, dict[int, int]]:
    """The coarse labels on the scan's own grid, their outline where the scan has it; and each label's voxels."""
    slices, rows, columns = hu.shape
    depth = -(-slices // len(labels))
    full = sparse_zeros(hu.shape)

    def refine(index: int) -> tuple[int, int]:
        at = min(max((index + 0.5) / depth - 0.5, 0), len(labels) - 1)  # between the middles of coarse slices
        low, above = int(at), at - int(at)
        high = min(low + 1, len(labels) - 1)
        left, top, width, height = cv2.boundingRect(np.maximum(labels[low], labels[high]))
        if not width:
            return 0, 0
        down, across = rows / labels.shape[1], columns / labels.shape[2]
        around = np.s_[
            max(0, int((top - 2) * down)) : int((top + height + 2) * down) + 1,
            max(0, int((left - 2) * across)) : int((left + width + 2) * across) + 1,
        ]
        airy = cv2.GaussianBlur(np.asarray(hu[index][around], dtype=np.float32), (3, 3), 0) < DENSE_HU
        lung = full[index][around]
        for label in (RIGHT, LEFT):
            weights = np.rint(255 * ((1 - above) * (labels[low] == label) + above * (labels[high] == label)))
            weight = cv2.resize(weights.astype(np.uint8), (columns, rows))[around]
            lung[(weight > 190) | ((weight > 50) & airy)] = label
        return int(np.count_nonzero(lung == RIGHT)), int(np.count_nonzero(lung == LEFT))

    with ThreadPoolExecutor(cores()) as threads:
        right, left = zip(*threads.map(refine, range(slices)), strict=True)
    return full, {RIGHT: sum(right), LEFT: sum(left)}
