"""Intervals by resampling patients: every statistic is written for weighted images, so one pass does many resamples."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.evaluation.exact import perfect_interval

Weights = npt.NDArray[np.float64]
"""How often each image is in a resample: (resamples, images)."""

Values = npt.NDArray[np.float64]
"""A statistic of each resample: (resamples,); NaN where it is undefined."""

ALIKE = 1e-12
"""Resamples that differ by less are alike but for rounding: they tell nothing of how far the figure may be off."""

INTERVAL = "95 % percentile bootstrap; exact binomial where all resamples are alike"
"""How intervals are made, for results."""

_CELLS = 2_000_000
"""Weights held in memory at a time, so that memory stays flat however many images there are."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % percentile bootstrap interval (Efron 1979).

    Attributes:
        value: of the data as they are; None where it is undefined (no image of the class, say).
        low, high: 2.5th and 97.5th percentile over the usable resamples. Where all of these are alike, as those of a
            perfect score are, the exact interval of :func:`~pulmoscope.evaluation.exact.perfect_interval`; None where
            that is unknown, too, or there is no usable resample.
        usable: the resamples in which the figure was defined.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    usable: int = 0

    def plain(self) -> dict[str, float | int | None]:
        """For JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "usable": self.usable}


def units(patients: Sequence[str]) -> npt.NDArray[np.intp]:
    """What is drawn: the number of each image's patient; an image without a known patient is on its own."""
    keys = [("patient", name) if name else ("image", str(index)) for index, name in enumerate(patients)]
    numbers: dict[tuple[str, str], int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)


def estimates(
    statistics: Callable[[Weights], Mapping[Hashable, Values]],
    unit_of_image: npt.NDArray[np.intp],
    resamples: int,
    seed: int,
    trials: Mapping[Any, Sequence[int]] | None = None,
) -> dict[Hashable, Estimate]:
    """Statistics of the data, and of ``resamples`` draws of as many units as there are, with replacement.

    Args:
        statistics: from weights (resamples, images) to named values (resamples,).
        unit_of_image: (images,), see :func:`units`.
        trials: of figures that are proportions, AUROCs, or means of these: how many independent trials they rest on,
            see :func:`~pulmoscope.evaluation.exact.perfect_interval`.
    """
    counted = trials or {}
    observed = statistics(np.ones((1, len(unit_of_image))))
    resampled: dict[Hashable, list[Values]] = {name: [] for name in observed}
    for weights in _draws(unit_of_image, resamples, seed):
        for name, values in statistics(weights).items():
            resampled[name].append(values)
    return {
        name: _estimate(float(value[0]), resampled[name], counted.get(name, ()))
        for name, value in observed.items()
    }


def _estimate(value: float, resampled: list[Values], trials: Sequence[int]) -> Estimate:
    if np.isnan(value):
        return Estimate(None)
    usable = np.concatenate(resampled) if resampled else np.empty(0)
    usable = usable[~np.isnan(usable)]
    if not len(usable):
        return Estimate(value)
    if np.ptp(usable) < ALIKE:
        low, high = perfect_interval(value, trials) or (None, None)
        return Estimate(value, low, high, len(usable))
    low, high = np.percentile(usable, [2.5, 97.5])
    return Estimate(value, float(low), float(high), len(usable))


def _draws(unit_of_image: npt.NDArray[np.intp], resamples: int, seed: int) -> Iterator[Weights]:
    rng = np.random.default_rng(seed)
    count = int(unit_of_image.max()) + 1
    rows = max(1, _CELLS // len(unit_of_image))
    for start in range(0, resamples, rows):
        times = rng.multinomial(count, np.full(count, 1 / count), size=min(rows, resamples - start))
        yield times[:, unit_of_image].astype(np.float64)
