"""How a body lies in a CT, by its anatomy: whether it is turned, or what its files say of it is wrong.

A scan's slices run from the feet to the head, its rows to the back, its columns to the patient's left, by what the
files say. In every chest the spine lies behind; lungs narrow upwards, hold the domes of the diaphragm below, and
reach farther back there; liver is right, and the heart leans to the left. Each is asked in this order, as each needs
the ones before. Where the evidence is weak nothing is said: heart and liver can lie on the other side (situs
inversus), so that a mirrored study is never refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, Flag, FlagLevel, FloatArray, Point
from pulmoscope.quality.ct.grid import CoarseCt

SPINE_HU = (-300.0, 400.0)
"""Values count within these bounds: neither lung nor metal outweighs bone."""
LEAST_SPINE_HU = 70.0
"""What is lighter there, mean of the slices, is no spine: it has 140 to 210 HU in the same series."""
SPINE_MM, AROUND, OFTEN = 8.0, 0.15, 0.1
"""The spine is looked for in the mean of the slices, blurred by so much, within the lungs' box made larger by this
part of its half sides. The box holds what is lung in at least this fraction of the slices."""
BEHIND, BESIDE, MIDDLE = 0.3, 0.4, 0.35
"""In half depths and half widths of the lungs' box, from its middle. The spine lies 0.35 to 1.1 behind it in four real
series and 60 simulated ones, and at most 0.11 beside it."""
WIDER = 1.0
"""Lungs are wider than deep, by 1.06 to 1.7 in the same series; in a body that is turned by 90 degrees they are not."""
UPRIGHT, AGAINST = -1.0, 0.25
"""The sum of three signs of which end is up, each in units of its usual size; it is 1.2 to 6 in the same series, and
the negative of that in one with head and feet swapped, in which none
speaks for the other by more than that."""
TAPER, SOLIDITY, SULCUS = 0.30, 0.20, 0.15
LIVER_HU, HEART = -20.0, 0.1
"""How much denser the right side is than the left at the lungs' base, 25 to 66 HU in the same series; and how far the
heart leans to the left, -0.1 to 0.6. A mirrored study has less of both."""
TISSUE_HU, BELOW_MM, WALL_MM, BESIDE_SPINE_MM = (-150.0, 100.0), 40.0, 16.0, 15.0
"""What counts as the sides' tissue: values within these bounds, from so far below the lungs, deeper than the body's
wall, and not the spine."""
MOST_CUT = 0.3
"""Of the image's border may be body, or too little of liver and heart is seen to tell where they are."""
LEAST_SLICES, LEAST_MM, LEAST_SIDE_ML = 8, 100.0, 50.0
"""Slices with lung, and the lungs' height, by which up and down can be told; tissue on each side at the base."""


@dataclass(frozen=True)
class _Chest:
    """A chest on the coarse grid; arrays (slices, rows, columns).

    Attributes:
        slices: those that hold lung.
        row, column: where the spine lies.
    """

    values: FloatArray
    body: BoolArray
    lung: BoolArray
    voxel_mm: Point
    slices: npt.NDArray[np.intp]
    row: int
    column: int

    def turned(self) -> _Chest:
        """Each slice turned by 180 degrees."""
        _, rows, columns = self.values.shape
        return replace(
            self,
            values=self.values[:, ::-1, ::-1],
            body=self.body[:, ::-1, ::-1],
            lung=self.lung[:, ::-1, ::-1],
            row=rows - 1 - self.row,
            column=columns - 1 - self.column,
        )

    def swapped(self) -> _Chest:
        """Its slices in the reverse order."""
        return replace(
            self,
            values=self.values[::-1],
            body=self.body[::-1],
            lung=self.lung[::-1],
            slices=len(self.values) - 1 - self.slices[::-1],
        )


def orientation_flags(ct: CoarseCt, lung: BoolArray) -> Iterator[Flag]:
    """What the body's anatomy says against the orientation that the files tell.

    Args:
        lung: bool (slices, rows, columns), on the coarse grid; where there is none, all air within the body is looked
        at.
    """
    if not lung.any():
        lung = ct.airy
    slices = _slices(lung)
    if len(slices) < LEAST_SLICES:
        return
    spine = _spine(ct, lung, slices)
    if spine is None:
        return
    (row, column), behind, beside, wider = spine
    if abs(beside) > BESIDE and abs(behind) < MIDDLE and wider < WIDER:
        side = "left" if beside > 0 else "right"
        finding = f"the body is turned by 90 degrees: the spine lies at the patient's {side}"
        yield Flag("orientation-turned", FlagLevel.REFUSE, finding, "the spine lies behind")
    if abs(behind) < BEHIND or abs(beside) > MIDDLE:
        return
    chest = _Chest(ct.values, ct.body, lung, ct.voxel_mm, slices, row, column)
    if behind < 0:  # the rest is asked of the body as it should lie
        chest = chest.turned()
    swapped = len(slices) * ct.voxel_mm[0] >= LEAST_MM and _upside_down(chest.lung, slices)
    if swapped:
        chest = chest.swapped()
    yield from _told(behind, swapped, _mirrored(chest) if ct.cut <= MOST_CUT else "")


def _told(behind: float, swapped: bool, mirrored: str) -> Iterator[Flag]:
    """The flags of what was found."""
    if behind < 0:
        where = f"the spine lies in front, {-behind:.1f} half depths of the chest before its middle"
        if mirrored:
            code, what = "orientation-front-back", "front and back are swapped"
        else:
            code, what = (
                "orientation-turned",
                "the body is turned by 180 degrees, or front and back are swapped",
            )
        yield Flag(code, FlagLevel.REFUSE, f"{what}: {where}", "the spine lies behind")
    if swapped:
        finding = "head and feet are swapped: the lungs narrow, and the diaphragm lies, at the wrong end"
        yield Flag("orientation-head-feet", FlagLevel.REFUSE, finding, "lungs narrow towards the head")
    if mirrored and behind > 0:
        finding = f"left and right are swapped, or the patient's organs are (situs inversus): {mirrored}"
        yield Flag("orientation-mirrored", FlagLevel.WARN, finding, "the liver is right, the heart left")


def _slices(lung: BoolArray) -> npt.NDArray[np.intp]:
    """From the first to the last slice that holds at least a 20th of the largest cross-section."""
    area = np.count_nonzero(lung, axis=(1, 2))
    held = np.flatnonzero(area > area.max(initial=0) / 20)
    return np.arange(held[0], held[-1] + 1) if len(held) else held


def _spine(
    ct: CoarseCt, lung: BoolArray, slices: npt.NDArray[np.intp]
) -> tuple[tuple[int, int], float, float, float] | None:
    """The brightest place of the slices' mean, near the lungs; None where they have no extent, or none is seen.

    Returns:
        Its row and column; how far it lies behind and left of the middle of the lungs' box, in half depths and half
        widths; how many times as wide as deep the box is.
    """
    part = slice(slices[0], slices[-1] + 1)
    total = np.zeros(ct.values.shape[1:], dtype=np.float32)
    for values, body in zip(ct.values[part], ct.body[part], strict=True):
        total += np.where(body, np.clip(values, *SPINE_HU), np.float32(SPINE_HU[0]))
    mean = cv2.GaussianBlur(total / np.float32(len(slices)), (0, 0), SPINE_MM / ct.voxel_mm[1])
    often = lung[part].mean(axis=0) > OFTEN
    sides = [np.flatnonzero(often.any(axis=axis)) for axis in (1, 0)]
    if min(map(len, sides)) < 2:
        return None
    middle = [(side[0] + side[-1]) / 2 for side in sides]
    half = [(side[-1] - side[0]) / 2 for side in sides]
    start = [max(0, int(at - (1 + AROUND) * reach)) for at, reach in zip(middle, half, strict=True)]
    stop = [int(at + (1 + AROUND) * reach) + 1 for at, reach in zip(middle, half, strict=True)]
    near = mean[start[0] : stop[0], start[1] : stop[1]]
    if near.max() < LEAST_SPINE_HU:
        return None
    row, column = (int(at) for at in np.unravel_index(int(near.argmax()), near.shape))
    row, column = row + start[0], column + start[1]
    wider = half[1] * ct.voxel_mm[2] / (half[0] * ct.voxel_mm[1])
    return (row, column), (row - middle[0]) / half[0], (column - middle[1]) / half[1], wider


def _upside_down(lung: BoolArray, slices: npt.NDArray[np.intp]) -> bool:
    """Whether the last slices are the lungs' lower end: by all three signs, and clearly by their sum."""
    fifth = max(1, len(slices) // 5)
    low, high = slices[:fifth], slices[-fifth:]
    widths = np.array([_extent(lung[index].any(axis=0)) for index in slices])
    taper = (widths[:fifth].mean() - widths[-fifth:].mean()) / widths.max()
    solidity = np.mean([_solidity(lung[index]) for index in high]) - np.mean(
        [_solidity(lung[index]) for index in low]
    )
    sulcus = (_height(lung[low]) - _height(lung[high])) / _extent(np.asarray(lung.any(axis=(0, 2))))
    signs = taper / TAPER, solidity / SOLIDITY, sulcus / SULCUS
    return bool(max(signs) < AGAINST and sum(signs) < UPRIGHT)


def _extent(any_there: npt.NDArray[np.bool_]) -> int:
    """From the first to the last place where there is anything."""
    inside = np.flatnonzero(any_there)
    return int(inside[-1]) - int(inside[0]) + 1 if len(inside) else 0


def _solidity(plane: BoolArray) -> float:
    """How much of its convex outline the lung fills on either side; at the base domes take the rest."""
    filled, hull = 0.0, 0.0
    middle = np.flatnonzero(plane.any(axis=0))
    if not len(middle):
        return 0.0
    split = int(middle[0] + middle[-1]) // 2
    for half in (plane[:, :split], plane[:, split:]):
        outlines, _ = cv2.findContours(half.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        if outlines:
            around = cv2.convexHull(np.concatenate(outlines))
            filled += float(np.count_nonzero(half))
            hull += cv2.contourArea(around) + cv2.arcLength(around, True) / 2 + 1
    return filled / max(hull, 1.0)


def _height(lung: BoolArray) -> float:
    """The mean row of the lung in these slices."""
    of_rows = np.count_nonzero(lung, axis=(0, 2))
    return float(of_rows @ np.arange(len(of_rows))) / max(1, int(of_rows.sum()))


def _mirrored(chest: _Chest) -> str:
    """What says that left and right are swapped; empty where liver and heart do not say so both."""
    liver, heart = _liver(chest), _heart(chest)
    if liver is None or heart is None or liver > LIVER_HU or heart > HEART:
        return ""
    return (
        f"at the lungs' base the left side is {-liver:.0f} HU denser, and the heart does not lean to the left"
    )


def _liver(chest: _Chest) -> float | None:
    """How much denser the right side is than the left, from 40 mm below the lungs up to a quarter of their height, HU.

    Liver fills the one; stomach, spleen and fat share the other. None where too little of either is seen.
    """
    first, count = int(chest.slices[0]), len(chest.slices)
    base = slice(max(0, first - int(BELOW_MM / chest.voxel_mm[0])), first + max(1, count // 4))
    rows, columns = (2 * int(WALL_MM / step) + 1 for step in chest.voxel_mm[1:])
    kernel = np.ones((rows, columns), np.uint8)
    inner = np.stack([cv2.erode(plane.astype(np.uint8), kernel) > 0 for plane in chest.body[base]])
    inner &= ~chest.lung[base]
    clipped = np.clip(chest.values[base], *TISSUE_HU)
    gap = int(BESIDE_SPINE_MM / chest.voxel_mm[2])
    parts = slice(0, max(0, chest.column - gap)), slice(chest.column + gap + 1, None)
    right, left = (clipped[:, :, part][inner[:, :, part]] for part in parts)
    if min(right.size, left.size) * float(np.prod(chest.voxel_mm)) / 1000 < LEAST_SIDE_ML:
        return None
    return float(right.mean() - left.mean())


def _heart(chest: _Chest) -> float | None:
    """How far what lies between the lungs in front of the spine leans to the left, -1 to 1; None where nothing does."""
    count = len(chest.slices)
    chosen = chest.slices[int(0.3 * count) : int(0.6 * count) + 1]
    front = chest.lung[chosen][:, : max(0, chest.row - int(BESIDE_SPINE_MM / chest.voxel_mm[1]))]
    right, left = front[:, :, : chest.column][:, :, ::-1], front[:, :, chest.column + 1 :]
    if not (right.size and left.size):
        return None
    both = right.any(axis=2) & left.any(axis=2)
    to_right, to_left = (float(side.argmax(axis=2)[both].sum()) for side in (right, left))
    return (to_left - to_right) / (to_left + to_right) if to_left + to_right > 0 else None
