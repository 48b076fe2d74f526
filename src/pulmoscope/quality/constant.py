"""What in one CT slice has exactly one value, and whether damage or nature made it so.

Tissue and air are noisy: neighbours differ, if by 1 HU. Exactly one value stands where data were lost and filled in,
and where nature went beyond what can be stored: air below -1024 HU, metal above 3071, whatever a window cut off.
Nature's regions have round borders, at which the picture fades within some pixels (a scanner blurs). Damage has borders
along rows and columns, at which the picture ends at once. Both are measured along the border, inside the body only:
outside it, padding and air may have any shape.

This holds for voxels as they were stored. Resampling along a slice blurs damage's borders, and lossy compression makes
its values uneven: then it is not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, Bytes, FloatArray, Voxels

"""A mask of one slice: 0 or 1."""

STRAIGHT = 0.7
"""Of the border of a damaged region this fraction, at least, runs along rows and columns (a disc: less than half)."""
SHARP = 0.65
"""Across it, the step to the first pixel outside is this part of the step to the second, at least, in the mean (where
an edge of tissue falls anywhere between two pixels, a half; where it is blurred, less)."""
LEAST_STEP_HU = 15.0
"""Mean step across the border: tissue differs from any one value by as much, if by its noise alone."""
SAME = 0.2
"""Beside a dropped row at most this fraction of the pixels has the row's value."""
ALIKE = 0.5
"""The steps from a dropped row to the rows above and below differ by no more than this factor."""
FILLED = 0.98
"""A damaged region that goes on beside the body fills its upright rectangle at least by this fraction."""
DARK_HU, SATURATED_HU = -900.0, 2000.0
"""A block of a value below or above is named so."""

_UP, _DOWN, _LEFT, _RIGHT = (-1, 0), (1, 0), (0, -1), (0, 1)


@dataclass(frozen=True)
class Sizes:
    """What is too large to be nature, px.

    Attributes:
        side: of the smallest square of one value that is looked at.
        run: the shortest stretch of a dropped row.
    """

    side: int
    run: int

    @classmethod
    def of(cls, rows: int, columns: int) -> Sizes:
        """For slices of this size: a 16th of the shorter side, and an eighth of a row."""
        return cls(max(6, round(min(rows, columns) / 16)), max(12, columns // 8))


@dataclass(frozen=True)
class Constant:
    """Where a slice has one value: masks (rows, columns).

    Attributes:
        blocks: what a square of :attr:`Sizes.side` px of one value covers.
        runs: stretches of rows of at least :attr:`Sizes.run` px of one value, without the blocks.
    """

    blocks: Bytes
    runs: Bytes

    @property
    def any(self) -> bool:
        """Whether there is anything."""
        return bool(self.blocks.any() or self.runs.any())


@dataclass(frozen=True)
class Lost:
    """What of a slice is lost: mask (rows, columns), and in which ways."""

    mask: Bytes
    kinds: tuple[str, ...]


def constant(plane: Voxels, sizes: Sizes) -> Constant:
    """Slide a window over a slice, float32 or int16 (rows, columns), and keep where its values do not vary at all."""
    across = (plane[:, 1:] == plane[:, :-1]).view(np.uint8)
    down = (plane[1:] == plane[:-1]).view(np.uint8)
    fours = across[:-1] & across[1:] & down[:, :-1]
    blocks = _covered(fours, (sizes.side, sizes.side), plane.shape)
    runs = _covered(across, (1, sizes.run), plane.shape)
    runs[blocks > 0] = 0
    return Constant(blocks, runs)


def lost_of(plane: Voxels, flat: Constant, body: Bytes, inner: Bytes, sizes: Sizes) -> Lost:
    """Which of the constant regions are damage.

    Args:
        plane: float32 or int16 (rows, columns), HU.
        flat: of :func:`constant`.
        body: the patient, lungs included, mask (rows, columns).
        inner: the same without the skin. Borders count there only: the skin may lie on the table, or end at the
            scanner's padding.
        sizes: those of ``flat``.
    """
    plane = np.asarray(plane, dtype=np.float32)  # differences of int16 may overflow
    mask = np.zeros(plane.shape, dtype=np.uint8)
    kinds: list[str] = []
    for region, find in ((flat.blocks, _lost_blocks), (flat.runs, _lost_rows)):
        # Regions of two values may touch: padding, and a band that ends there.
        for value in np.unique(plane[(region & inner) > 0]):
            inside = region & (plane == value).view(np.uint8)
            kinds += find(plane, inside, body, inner, sizes, mask)
    return Lost(mask, tuple(dict.fromkeys(kinds)))


def _covered(equal: Bytes, window: tuple[int, int], shape: tuple[int, ...]) -> Bytes:
    """All pixels of windows (height, width) within which neighbours are equal; ``equal`` lacks a row or column."""
    height, width = window
    within = np.ones((max(1, height - 1), width - 1), np.uint8)
    starts = cv2.erode(equal, within, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    covered = np.zeros(shape, dtype=np.uint8)
    covered[: equal.shape[0], : equal.shape[1]] = starts
    if not starts.any():
        return covered
    return np.asarray(cv2.dilate(covered, np.ones(window, np.uint8), anchor=(width - 1, height - 1)))


@dataclass
class _Border:
    """Sums along the borders of numbered regions, float64 (regions,).

    Attributes:
        pixels, straight: how many there are, and in straight stretches.
        sides: of the straight ones, how many face left or right.
        same: how many have a neighbour outside of their own value.
        step, sharp: of the straight ones: the steps in HU, and what part they are of the steps to the next but one.
    """

    pixels: npt.NDArray[np.float64]
    straight: npt.NDArray[np.float64]
    sides: npt.NDArray[np.float64]
    same: npt.NDArray[np.float64]
    step: npt.NDArray[np.float64]
    sharp: npt.NDArray[np.float64]


def _border(
    plane: FloatArray,
    mask: Bytes,
    labels: npt.NDArray[np.int32],
    count: int,
    inside: Bytes,
    length: int,
    ways: tuple[tuple[int, int], ...],
) -> _Border:
    """Measure borders where they lie ``inside``: straight are stretches of at least ``length`` px.

    Args:
        ways: (down, across) to the neighbours that are looked at.
    """
    sums = _Border(*(np.zeros(count) for _ in range(6)))
    rows, columns = mask.shape
    for way in ways:
        edge = _edge(mask, way)
        along = (1, length) if way[0] else (length, 1)
        straight = cv2.morphologyEx(edge, cv2.MORPH_OPEN, np.ones(along, np.uint8))
        row, column = np.nonzero(edge & inside)
        region, is_straight = labels[row, column], straight[row, column]
        value, near = plane[row, column], plane[row + way[0], column + way[1]]
        step = np.abs(near - value)
        far = np.clip(row + 2 * way[0], 0, rows - 1), np.clip(column + 2 * way[1], 0, columns - 1)
        beyond = np.where(
            mask[far], step, np.abs(plane[far] - value)
        )  # of rows that are dropped in turn, nothing
        sums.pixels += np.bincount(region, minlength=count)
        sums.straight += np.bincount(region, is_straight, count)
        sums.sides += np.bincount(region, is_straight * (way[1] != 0), count)
        sums.same += np.bincount(region, near == value, count)
        sums.step += np.bincount(region, is_straight * step, count)
        sums.sharp += np.bincount(region, is_straight * np.minimum(step / np.maximum(beyond, 1), 1), count)
    return sums


def _edge(mask: Bytes, way: tuple[int, int]) -> Bytes:
    """Pixels of a mask whose neighbour (down, across) exists and is not in it."""
    edge = np.zeros_like(mask)
    rows, columns = mask.shape
    here = (
        slice(max(0, -way[0]), rows - max(0, way[0])),
        slice(max(0, -way[1]), columns - max(0, way[1])),
    )
    there = (
        slice(max(0, way[0]), rows + min(0, way[0])),
        slice(max(0, way[1]), columns + min(0, way[1])),
    )
    edge[here] = mask[here] & ~mask[there] & 1
    return edge


def _lost_blocks(
    plane: FloatArray, blocks: Bytes, body: Bytes, inner: Bytes, sizes: Sizes, mask: Bytes
) -> list[str]:
    """Mark regions of one value that have straight, sharp borders; their kinds."""
    side = sizes.side
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(blocks, connectivity=4)
    border = _border(plane, blocks, labels, count, inner, side, (_UP, _DOWN, _LEFT, _RIGHT))
    straight = np.maximum(border.straight, 1)
    damaged = (
        (border.straight >= STRAIGHT * np.maximum(border.pixels, 2 * side))
        & (border.sharp >= SHARP * straight)
        & (border.step >= LEAST_STEP_HU * straight)
    )
    if not damaged.any():
        return []
    kinds = []
    for number in np.flatnonzero(damaged):
        region = labels == number
        # What runs over into air of the same value around the patient is no rectangle, and ends at the patient.
        *_, width, height, area = boxes[number]
        _mark(mask, region, body, bool(area >= FILLED * width * height))
        kinds.append("band" if border.sides[number] == 0 else _block(float(plane[region][0])))
    return kinds


def _lost_rows(
    plane: FloatArray, runs: Bytes, body: Bytes, inner: Bytes, sizes: Sizes, mask: Bytes
) -> list[str]:
    """Mark thin rows of one value beside which, above and below, the values are others, and like each other."""
    run = sizes.run
    count, labels = cv2.connectedComponents(runs, connectivity=4)
    damaged = np.ones(count, dtype=np.bool_)
    steps = []
    for way in (_UP, _DOWN):
        border = _border(plane, runs, labels, count, inner, run // 2, (way,))
        pixels, straight = np.maximum(border.pixels, run / 2), np.maximum(border.straight, 1)
        damaged &= (
            (border.straight >= STRAIGHT * pixels)
            & (border.same <= SAME * pixels)
            & (border.sharp >= SHARP * straight)
            & (border.step >= LEAST_STEP_HU * straight)
        )
        steps.append(border.step / straight)
    # Between skin and air a sharp kernel can make a straight line too dark to be stored: the sides differ.
    damaged &= np.minimum(*steps) >= ALIKE * np.maximum(*steps)
    if not damaged.any():
        return []
    whole = _border(plane, runs, labels, count, np.ones_like(body), run // 2, (_UP, _DOWN))
    for number in np.flatnonzero(damaged):
        _mark(mask, labels == number, body, bool(whole.same[number] <= SAME * whole.pixels[number]))
    lost = damaged[labels]
    full = (plane == plane[lost][0]).all(axis=1)
    mask[_dropped_across(full, lost.any(axis=1), np.asarray(body.any(axis=1)))] = 1
    return ["dropped rows"]


def _dropped_across(full: BoolArray, damaged: BoolArray, crossing: BoolArray) -> BoolArray:
    """Which rows were dropped from side to side, beside the body and at its ends, too.

    Besides the found ones these are others that cross the body, and those that go on outside it at the same distance.
    None is thicker than the thickest found one: padding and air of the same value were stored, and stay.

    Args:
        full: bool (rows,), those that have the found rows' value from side to side.
        damaged: bool (rows,), those in which a dropped row was found.
        crossing: bool (rows,), those with body.
    """
    dropped = full & damaged
    ends = np.flatnonzero(np.diff(np.concatenate(([False], full, [False]))))
    stretches = [slice(int(start), int(stop)) for start, stop in zip(ends[::2], ends[1::2], strict=True)]
    known = [stretch for stretch in stretches if damaged[stretch].any()]
    if not known:
        return dropped
    thickest = max(stretch.stop - stretch.start for stretch in known)
    thin = {stretch.start: stretch for stretch in stretches if stretch.stop - stretch.start <= thickest}
    for stretch in thin.values():
        if crossing[stretch].any():
            dropped[stretch] = True
    if len(known) > 1:
        apart = min(high.start - low.start for low, high in pairwise(known))
        for start, step in ((known[0].start, -apart), (known[-1].start, apart)):
            while (start := start + step) in thin:
                dropped[thin[start]] = True
    return dropped


def _mark(mask: Bytes, region: BoolArray, body: Bytes, whole: bool) -> None:
    mask[region if whole else region & (body > 0)] = 1


def _block(value: float) -> str:
    if value <= DARK_HU:
        return "dark block"
    return "saturated block" if value >= SATURATED_HU else "constant block"
