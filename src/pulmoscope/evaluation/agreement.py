"""How far a measure agrees with the truth: limits of agreement, and means with intervals over patients."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from pulmoscope.evaluation.bootstrap import Estimate, Values, Weights, estimates

Floats = npt.NDArray[np.float64]

NORMAL_95 = 1.96


@dataclass(frozen=True)
class Agreement:
    """Bias and 95 % limits of agreement, in the unit of what was measured.

    Attributes:
        bias: the mean of the differences; low, high: between which 95 % of them are expected.
    """

    bias: Estimate
    low: Estimate
    high: Estimate

    def plain(self) -> dict[str, dict[str, float | int | None]]:
        """For JSON."""
        return {"bias": self.bias.plain(), "low": self.low.plain(), "high": self.high.plain()}


def limits_of_agreement(differences: Floats) -> Agreement | None:
    """Bias, bias ± 1.96 standard deviations, and the 95 % intervals of all three.

    Source: Bland and Altman, Lancet 327 (1986) 307: the standard error of the bias is √(s²/n), that of the limits
    about √(3s²/n), each times the quantile of Student's t with n - 1 degrees of freedom. Differences are taken for
    independent and for normally distributed.

    Args:
        differences: measured less true, (n,).

    Returns:
        None of fewer than two differences.
    """
    count = len(differences)
    if count < 2:
        return None
    bias, spread = float(differences.mean()), float(differences.std(ddof=1))
    error = float(stats.t.ppf(0.975, count - 1)) * spread / count**0.5

    def around(value: float, reach: float) -> Estimate:
        return Estimate(value, value - reach, value + reach)

    return Agreement(
        bias=around(bias, error),
        low=around(bias - NORMAL_95 * spread, 3**0.5 * error),
        high=around(bias + NORMAL_95 * spread, 3**0.5 * error),
    )


def means(
    columns: Mapping[str, Floats],
    unit_of_row: npt.NDArray[np.intp],
    resamples: int,
    seed: int,
    trials: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Estimate]:
    """The mean of each column over the rows in which it is known, with its bootstrap interval.

    Args:
        columns: name → values (rows,); NaN where unknown.
        unit_of_row: (rows,), what is drawn: see :func:`pulmoscope.evaluation.bootstrap.units`.
        trials: of columns that are 0 or 1, see :func:`pulmoscope.evaluation.bootstrap.estimates`.
    """

    def statistics(weights: Weights) -> Mapping[Hashable, Values]:
        return {name: ratio(values, np.ones(len(values)), weights) for name, values in columns.items()}

    if not len(unit_of_row):
        return {name: Estimate(None) for name in columns}
    found = estimates(statistics, unit_of_row, resamples, seed, trials)
    return {name: found[name] for name in columns}


def ratio(above: Floats, below: Floats, weights: Weights) -> Values:
    """Of each resample the sum of ``above`` by that of ``below``, over the rows in which ``above`` is known.

    Args:
        above, below: (rows,).
        weights: (resamples, rows).

    Returns:
        (resamples,); NaN where nothing is summed.
    """
    known = ~np.isnan(above)
    total = weights[:, known] @ below[known]
    summed = weights[:, known] @ above[known]
    return np.asarray(np.divide(summed, total, out=np.full(len(weights), np.nan), where=total > 0))
