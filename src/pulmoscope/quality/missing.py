"""Where a CT's data are missing: regions, rows and slices that something filled with one value.

System A (arXiv 2507.04252, data quality control) slides a window over the local brightness, and takes for missing what
deviates from its surroundings. Brightness alone takes emphysema, gas and white lung for damage: our window asks that
values do not vary at all, and that they begin and end at once, along rows and columns (:mod:`.constant`).

Slices that are missing between two were reported when the study was read (``missing-slices``): they have no voxels
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.threads import cores
from pulmoscope.core.types import BoolArray, Bytes, Point, Voxels
from pulmoscope.quality.constant import Constant, Lost, Sizes, constant, lost_of

SLICE = "constant slice"
"""The kind of a slice that has no picture at all."""
TISSUE_HU = -400.0
"""Denser than that is body."""
THIN_MM = 8.0
"""What is thinner is table, tube or blanket."""
SKIN_MM = 5.0
"""Damage shows by its borders deeper in the body than this."""
PADDING_HU = -1100.0
"""Nothing is lighter than air: what is below was filled in outside the circle that the scanner reconstructed."""
AROUND = 2
"""So many slices below and above tell what may be body."""

_GRID_ROWS = 128
"""Rows, about, of the grid that the body is outlined on."""


@dataclass(frozen=True)
class Missing:
    """What is missing of a volume.

    Attributes:
        mask: bool (slices, rows, columns).
        kinds: per slice in what ways: ``dark block``, ``constant block``, ``saturated block``, ``band``,
            ``dropped rows``, ``constant slice``; empty where nothing is missing.
        body: int64 (slices,), pixels of the patient, lungs included; 0 where nothing at all is missing.
        lost: int64 (slices,), how many of those are missing.
    """

    mask: BoolArray
    kinds: tuple[tuple[str, ...], ...]
    body: npt.NDArray[np.int64]
    lost: npt.NDArray[np.int64]

    @property
    def slices(self) -> tuple[int, ...]:
        """The slices that lack something."""
        return tuple(index for index, kinds in enumerate(self.kinds) if kinds)

    @property
    def fraction(self) -> float:
        """Of the volume's voxels, how many are missing."""
        return float(np.count_nonzero(self.mask)) / self.mask.size

    def body_fraction(self, indices: Sequence[int] | None = None) -> float:
        """Of the body's voxels in these slices (None: all), how many are missing; 0 where there is no body."""
        chosen = slice(None) if indices is None else list(indices)
        return float(self.lost[chosen].sum()) / max(1, int(self.body[chosen].sum()))


def find_missing(hu: Voxels, spacing_mm: Point) -> Missing:
    """Find what is missing in a CT.

    Each slice is looked at by itself first. Where there may be damage, the body that it hides is taken from the slices
    around it: damage must reach into the body. Blocks are found from a 16th of the image's side on, dropped rows from
    an eighth of it.

    Args:
        hu: float32 or int16 (slices, rows, columns), voxels as they were stored.
        spacing_mm: (slice, row, column).
    """
    sizes = Sizes.of(*hu.shape[1:])
    mask = np.zeros(hu.shape, dtype=np.bool_)
    kinds: list[tuple[str, ...]] = [()] * len(hu)
    body, lost = np.zeros(len(hu), dtype=np.int64), np.zeros(len(hu), dtype=np.int64)
    with ThreadPoolExecutor(cores()) as threads:
        looks = list(threads.map(lambda plane: _look(plane, spacing_mm, sizes), hu))
        doubtful = _doubtful(looks, hu, sizes, threads)
        bodies = _bodies(looks, doubtful)

        def look_again(index: int) -> None:
            damage, inside = _damage(hu[index], bodies[index], spacing_mm, sizes)
            mask[index], kinds[index] = damage.mask > 0, damage.kinds
            lost[index] = np.count_nonzero(damage.mask & inside)

        list(threads.map(look_again, doubtful))
    if any(kinds):
        body[:] = [round(float(one.mean()) * hu[0].size) for one in bodies]
    return Missing(mask, tuple(kinds), body, lost)


@dataclass(frozen=True)
class _Look:
    """A slice by itself, as masks on a coarse grid.

    Attributes:
        body: the patient, lungs included; what damage cuts off at the skin is not in it.
        hull: what that is the outline of, convex: all that can be body.
        constant: where anything large has one value.
    """

    body: Bytes
    hull: Bytes
    constant: Bytes


def _look(plane: Voxels, spacing_mm: Point, sizes: Sizes) -> _Look:
    flat = constant(plane, sizes)
    body, hull = _outlines(plane, flat, spacing_mm)
    either = (flat.blocks | flat.runs) * np.uint8(255)
    return _Look(body, hull, cv2.resize(either, body.shape[::-1], interpolation=cv2.INTER_AREA))


def _doubtful(looks: Sequence[_Look], hu: Voxels, sizes: Sizes, threads: ThreadPoolExecutor) -> list[int]:
    """The slices that look damaged, or show so little body that damage may have hidden it."""
    areas = [int(np.count_nonzero(look.body)) for look in looks]
    little = float(np.median(areas)) / 2

    def doubt(index: int) -> bool:
        look, area = looks[index], areas[index]
        if not look.constant.any():
            return False
        # A band along the skin is not within the slice's own outline.
        near = [other.hull for other in looks[max(0, index - AROUND) : index + AROUND + 1]]
        within = np.asarray(np.maximum.reduce(near))
        if not area or not (look.constant & within * np.uint8(255)).any():
            return not area
        full = _full(within, hu[index].shape)
        return area < little or bool(lost_of(hu[index], constant(hu[index], sizes), full, full, sizes).kinds)

    return [index for index, doubted in enumerate(threads.map(doubt, range(len(looks)))) if doubted]


def _bodies(looks: Sequence[_Look], doubtful: Sequence[int]) -> list[Bytes]:
    """The body of each slice; of a doubtful one also what the nearest sound slices below and above both have."""
    sound = [index for index, look in enumerate(looks) if index not in doubtful and look.body.any()]
    bodies = [look.body for look in looks]
    for index in doubtful:
        below = [other for other in sound if other < index][-1:]
        above = [other for other in sound if other > index][:1]
        if around := below + above:
            bodies[index] = looks[index].body | (looks[around[0]].body & looks[around[-1]].body)
        else:
            bodies[index] = looks[index].hull
    return bodies


def _damage(plane: Voxels, coarse: Bytes, spacing_mm: Point, sizes: Sizes) -> tuple[Lost, Bytes]:
    """What of a slice is missing, its body being known; and the body on the slice's own grid."""
    body = _full(coarse, plane.shape)
    flat = constant(plane, sizes)
    if _is_empty(plane):
        return Lost(np.ones_like(body), (SLICE,)), body
    size = 2 * max(1, round(SKIN_MM * len(coarse) / (spacing_mm[1] * len(plane)))) + 1
    shrunk = cv2.erode(coarse, np.ones((size, size), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return lost_of(plane, flat, body, _full(shrunk, plane.shape), sizes), body


def _is_empty(plane: Voxels) -> bool:
    """Whether a slice has one value only, but for padding."""
    kept = plane[plane >= PADDING_HU]
    return not len(kept) or bool(kept.min() == kept.max())


def _outlines(plane: Voxels, flat: Constant, spacing_mm: Point) -> tuple[Bytes, Bytes]:
    """The patient, lungs included, and the convex outline, on a coarse grid: masks; empty where there is no tissue."""
    rows, columns = plane.shape
    factor = max(1, rows // _GRID_ROWS)
    tissue = (plane > TISSUE_HU).view(np.uint8) & ~(flat.blocks | flat.runs) & 1
    size = (columns // factor, rows // factor)
    fraction = cv2.resize(tissue * np.uint8(255), size, interpolation=cv2.INTER_AREA)
    thin = max(3, round(THIN_MM / (spacing_mm[1] * factor)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thin, thin))
    # Every other row may have been dropped.
    solid = cv2.morphologyEx((fraction > 100).astype(np.uint8), cv2.MORPH_OPEN, disc)
    for border in (solid[0], solid[-1], solid[:, 0], solid[:, -1]):
        if len(inside := np.flatnonzero(border)):
            border[inside[0] : inside[-1]] = 1  # lungs that the picture's border cuts open
    body, hull = np.zeros_like(solid), np.zeros_like(solid)
    shapes, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if shapes:
        areas = [cv2.contourArea(shape) for shape in shapes]
        # A band may have cut the body in two; arms lie beside it.
        parts = [shape for shape, area in zip(shapes, areas, strict=True) if area >= max(areas) / 10]
        cv2.drawContours(body, parts, -1, 1, cv2.FILLED)
        cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(parts)), 1)
    return body, hull


def _full(mask: Bytes, shape: tuple[int, ...]) -> Bytes:
    """A coarse mask on the slice's own grid."""
    return np.asarray(cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST))
