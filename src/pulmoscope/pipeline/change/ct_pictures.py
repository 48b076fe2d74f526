"""Slices of two CTs of one patient side by side: at the same height of the lungs, in the same window and scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pulmoscope.core.change import CtChange, MeasuredCt
from pulmoscope.pipeline.pictures.lesions import painted
from pulmoscope.pipeline.pictures.xray import data_jpeg, displayed, outlined
from pulmoscope.report.change.ct import SlicePair, slice_title
from pulmoscope.report.slice_axis import axis_of

PARTS = 6
"""Of the lungs' height; of each, one pair is shown."""
_SIDE, _MARGIN_MM = 320, 10.0
"""Of a picture, px; and around the lungs."""

Plane = npt.NDArray[np.generic]


def slice_pairs(change: CtChange) -> tuple[SlicePair, ...]:
    """Of each sixth of the lungs' height, from base to apex, the pair of slices with the most lesion in either CT.

    None where a CT does not show the lungs whole: then heights of the two are no more alike.
    """
    if any(flag.code.startswith("incomplete-") for flag in change.flags):
        return ()
    side_mm = max(_lungs_mm(one) for one in (change.earlier, change.now)) + 2 * _MARGIN_MM
    frames = [_Frame.of(one, side_mm) for one in (change.earlier, change.now)]
    return tuple(
        SlicePair(
            slice_title(change.earlier.scan, earlier),
            slice_title(change.now.scan, now),
            frames[0].picture(earlier),
            frames[1].picture(now),
            height,
        )
        for earlier, now, height in corresponding(change)
    )


def corresponding(change: CtChange) -> list[tuple[int, int, float]]:
    """Pairs of slices, earlier and now, at the same height of the lungs: 0 at their base, 1 at their apex.

    Heights are fractions, as a chest is higher when breathed in. Without any lesion in a part of the height, its middle
    is taken.
    """
    heights = _heights(change.now)
    others = _heights(change.earlier)
    nearest = {index: min(others, key=lambda one: abs(others[one] - at)) for index, at in heights.items()}
    now_mm2, earlier_mm2 = _lesions_mm2(change.now), _lesions_mm2(change.earlier)
    pairs = []
    for part in np.array_split(list(heights), min(PARTS, len(heights))):
        part = part[
            len(part) // PARTS : len(part) - len(part) // PARTS
        ]  # pairs of neighbouring parts lie apart
        affected = [now_mm2[index] + earlier_mm2[nearest[index]] for index in part]
        index = int(part[int(np.argmax(affected))] if any(affected) else part[len(part) // 2])
        pairs.append((nearest[index], index, heights[index]))
    return pairs


@dataclass(frozen=True)
class _Frame:
    """The part of a CT's slices that is shown: a square around both lungs, as large in mm as the other CT's."""

    ct: MeasuredCt
    top: int
    left: int
    rows: int
    columns: int

    @classmethod
    def of(cls, ct: MeasuredCt, side_mm: float) -> _Frame:
        """The square of so many mm a side around the lungs' middle."""
        _, down, across = _spacing(ct)
        (top, bottom), (left, right) = _box(ct)
        rows, columns = round(side_mm / down), round(side_mm / across)
        return cls(ct, (top + bottom - rows) // 2, (left + right - columns) // 2, rows, columns)

    def picture(self, index: int) -> str:
        """A slice with lungs and lesions drawn in, as a ``data:`` address."""
        scan, masks, missing = self.ct.scan, self.ct.masks, self.ct.missing
        pixels = self._cut(displayed(scan.pixels[index], scan.units))
        drawn = painted(
            np.asarray(pixels, dtype=np.float32),
            np.asarray(self._cut(masks.lungs[index]), dtype=np.uint8),
            np.asarray(self._cut(masks.lesions[index]), dtype=np.uint8),
            _SIDE,
        )
        unobserved = None if missing is None else self._cut(missing[index]).astype(bool)
        return data_jpeg(outlined(drawn, unobserved), 85)

    def _cut(self, plane: Plane) -> Plane:
        """What of a plane, (rows, columns), lies in the square; 0 beyond the image."""
        out = np.zeros((self.rows, self.columns), dtype=plane.dtype)
        top, left = max(0, self.top), max(0, self.left)
        inside = plane[top : self.top + self.rows, left : self.left + self.columns]
        down, across = top - self.top, left - self.left
        out[down : down + inside.shape[0], across : across + inside.shape[1]] = inside
        return out


def _heights(ct: MeasuredCt) -> dict[int, float]:
    """The slices that show lung, from the base on, and how far up the lungs each lies, 0 to 1."""
    positions = axis_of(ct.scan).positions
    indices = np.flatnonzero(ct.masks.lungs.any(axis=(1, 2)))
    low, high = positions[indices[0]], positions[indices[-1]]
    return {int(index): (positions[index] - low) / ((high - low) or 1.0) for index in indices}


def _lesions_mm2(ct: MeasuredCt) -> npt.NDArray[np.float64]:
    """Each slice's area of lesion, float64 (slices,)."""
    _, down, across = _spacing(ct)
    return np.asarray(np.count_nonzero(ct.masks.lesions, axis=(1, 2)) * down * across, dtype=np.float64)


def _lungs_mm(ct: MeasuredCt) -> float:
    """The longer side of the box around both lungs, seen from below."""
    _, down, across = _spacing(ct)
    (top, bottom), (left, right) = _box(ct)
    return max((bottom - top) * down, (right - left) * across)


def _box(ct: MeasuredCt) -> tuple[tuple[int, int], tuple[int, int]]:
    """The rows and columns that show lung: the first, and the one behind the last."""
    seen = np.asarray(ct.masks.lungs.any(axis=0))
    rows, columns = np.flatnonzero(np.any(seen, axis=1)), np.flatnonzero(np.any(seen, axis=0))
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)


def _spacing(ct: MeasuredCt) -> tuple[float, float, float]:
    assert ct.scan.spacing_mm is not None  # as it was measured
    return ct.scan.spacing_mm
