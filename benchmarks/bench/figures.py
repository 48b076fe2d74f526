"""What is computed from measured figures: medians, ratios with their range, percentiles, the networks' limit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np


@dataclass(frozen=True)
class Spread:
    """The median of a figure's rounds, and their range.

    Attributes:
        median, low, high: of the rounds.
        rounds: how many there are.
    """

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of at least one value."""
        found = list(values)
        return cls(median(found), min(found), max(found), len(found))

    def __format__(self, spec: str) -> str:
        """``2.0 (1.8–2.1)``, each number by the format given; a single round has no range."""
        if self.rounds == 1:
            return f"{self.median:{spec}}"
        return f"{self.median:{spec}} ({self.low:{spec}}–{self.high:{spec}})"


def ratio(other: Sequence[float], ours: Sequence[float]) -> Spread:
    """How many times the other's cost is ours, round by round: what disturbs a round disturbs both.

    Where one side ran fewer rounds, only those that both ran count.
    """
    return Spread.of(theirs / own for theirs, own in zip(other, ours, strict=False))


def combined_rate(rates: Iterable[float]) -> float:
    """Images per second through several networks, one after the other, at full use of the processor."""
    return 1 / sum(1 / rate for rate in rates)


def percentile(values: Sequence[float], percent: float) -> float:
    """Between neighbours it is interpolated linearly."""
    return float(np.percentile(values, percent))
