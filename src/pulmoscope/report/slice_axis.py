"""Where a study's slices lie from the feet to the head, as numbers for drawings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pulmoscope.core.types import Scan


@dataclass(frozen=True)
class Axis:
    """The slices along the patient; each has a cell of one step around its position.

    Attributes:
        positions: of every slice: mm towards the head where the files say, else its number.
        step: the usual distance between two; where slices are missing, two lie further apart.
        in_mm: whether positions are mm.
    """

    positions: tuple[float, ...]
    step: float
    in_mm: bool

    @property
    def low(self) -> float:
        """The lower end of the lowest slice."""
        return self.positions[0] - self.step / 2

    @property
    def high(self) -> float:
        """The upper end of the highest slice."""
        return self.positions[-1] + self.step / 2

    def fraction(self, position: float) -> float:
        """How far up a position is: 0 at the lower end, 1 at the upper one."""
        return (position - self.low) / (self.high - self.low)


def axis_of(scan: Scan) -> Axis:
    """The axis of a CT."""
    count = len(scan.pixels)
    if scan.z_mm is None:
        return Axis(tuple(float(index) for index in range(count)), 1.0, in_mm=False)
    step = float(np.median(np.diff(scan.z_mm))) if count > 1 else (scan.spacing_mm or (0.0,))[0]
    return Axis(scan.z_mm, step or 1.0, in_mm=True)


def ticks(axis: Axis, most: int = 8) -> tuple[float, ...]:
    """Round positions along the axis, at most ``most``: 1, 2 or 5 times a power of ten apart; numbers are whole."""
    rough = (axis.high - axis.low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    if not axis.in_mm:
        step = max(step, 1.0)
    first, last = math.ceil(axis.low / step), math.floor(axis.high / step)
    return tuple(number * step for number in range(first, last + 1))


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions for labels: in the order of ``wanted`` (ascending), near it, ``gap`` apart, between low and high.

    Where there is no room for that, they are as far apart as there is.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    placed = [max(low, wanted[0])]
    for position in wanted[1:]:
        placed.append(max(position, placed[-1] + gap))
    limit = high
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    return placed
