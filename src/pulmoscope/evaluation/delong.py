"""DeLong's test: whether two AUROCs of the same images differ, by their variances and without resampling."""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray
from pulmoscope.evaluation.bootstrap import ALIKE

QUANTILE = 1.959963984540054
"""Of the standard normal distribution: 95 % lie within as many standard errors on either side."""

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DeLong:
    """Two correlated AUROCs, with what is known of their errors.

    Attributes:
        first, second: the AUROCs.
        first_variance, second_variance, covariance: of the two estimates.
        low, high: the 95 % interval of first less second, by the normal distribution: it may reach beyond -1 and 1.
        z, p_value: the difference in standard errors, and how likely one so far from 0 is, on either side, where the
            true AUROCs are equal.

    ``low``, ``high``, ``z`` and ``p_value`` are None where the difference has no variance, as that of two models which
    rank every pair alike: then nothing can be told.
    """

    first: float
    second: float
    first_variance: float
    second_variance: float
    covariance: float
    low: float | None
    high: float | None
    z: float | None
    p_value: float | None

    @property
    def difference(self) -> float:
        """First less second."""
        return self.first - self.second

    def plain(self) -> dict[str, Any]:
        """For JSON; the AUROCs themselves stand beside it."""
        names = ("first_variance", "second_variance", "covariance", "low", "high", "z", "p_value")
        return {name: getattr(self, name) for name in names}


def delong(first: Scores, second: Scores, positive: BoolArray) -> DeLong | None:
    """DeLong's test of two scores of the same images (DeLong, DeLong and Clarke-Pearson, Biometrics 1988).

    Images count as independent. Where patients have several, the variances are too small, and a bootstrap by patient
    should lead. The placement values come from midranks, so that time grows with n log n (Sun and Xu, IEEE Signal
    Processing Letters 2014, algorithm 2).

    Args:
        first: (images,), the higher, the more likely positive.
        second: the same of the other score.
        positive: (images,), which images are.

    Returns:
        None where there are fewer than two positive or two other images.

    Raises:
        ValueError: the lengths differ.
    """
    if not len(first) == len(second) == len(positive):
        raise ValueError(
            f"two scores and a label an image needed, got {len(first)}, {len(second)} and {len(positive)}"
        )
    counts = int(positive.sum()), int((~positive).sum())
    if min(counts) < 2:
        return None
    of_positive, of_other = (
        np.stack(parts)
        for parts in zip(*(_placements(scores, positive) for scores in (first, second)), strict=True)
    )
    aurocs = of_positive.mean(axis=1)
    covariance = np.cov(of_positive) / counts[0] + np.cov(of_other) / counts[1]
    # From the differences themselves: the sum of variances less covariances would leave rounding where all are alike.
    gaps = of_positive[0] - of_positive[1], of_other[0] - of_other[1]
    error = sqrt(sum(float(gap.var(ddof=1)) / count for gap, count in zip(gaps, counts, strict=True)))
    difference = float(aurocs[0] - aurocs[1])
    known = error > ALIKE
    return DeLong(
        first=float(aurocs[0]),
        second=float(aurocs[1]),
        first_variance=float(covariance[0, 0]),
        second_variance=float(covariance[1, 1]),
        covariance=float(covariance[0, 1]),
        low=difference - QUANTILE * error if known else None,
        high=difference + QUANTILE * error if known else None,
        z=difference / error if known else None,
        p_value=erfc(abs(difference) / error / sqrt(2)) if known else None,
    )


def _placements(scores: Scores, positive: BoolArray) -> tuple[Scores, Scores]:
    """Of every positive image the fraction of others that it ranks above, and of every other one that it ranks below.

    Ties count half.
    """
    ranks = _midranks(scores)
    positives, others = scores[positive], scores[~positive]
    above = (ranks[positive] - _midranks(positives)) / len(others)
    below = 1 - (ranks[~positive] - _midranks(others)) / len(positives)
    return above, below


def _midranks(scores: Scores) -> Scores:
    """Ranks from 1, the same for equal scores: the mean of those that they share."""
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[which], dtype=np.float64)
