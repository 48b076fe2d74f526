"""Intervals where the bootstrap has none: every resample of a perfect score is perfect, which says 1.000 to 1.000."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray

ALPHA = 0.05
"""Intervals hold the true value with a probability of at least ``1 - ALPHA``."""


def perfect_interval(value: float, trials: Sequence[int]) -> tuple[float, float] | None:
    """The exact 95 % interval of a proportion, or an AUROC, or a mean of several, that is 0 or 1.

    ``n`` independent trials that all succeed have the two-sided interval of Clopper and Pearson (Biometrika 1934) from
    ``(alpha / 2) ** (1 / n)`` to 1; trials that all fail have its mirror image. Trials are counted in patients, as the
    images of one patient are not independent: see :func:`unit_count`.

    An AUROC is the probability that an image of the class ranks above another (Bamber, J. Math. Psychol. 1975). Each
    patient of the smaller class, paired with one of the other class, is an independent trial of that, and where the
    AUROC is 1 all of them succeed: see :func:`pair_count`. It is wide on purpose, as it uses no other pair. That the
    bootstrap fails there: Obuchowski and Lieber, Acad. Radiol. 2002.

    Of a mean over ``k`` classes it is the mean of the classes' bounds, each with ``alpha / k`` (Bonferroni).

    Args:
        value: the figure.
        trials: independent trials of each of the figures that ``value`` is the mean of; one for a single figure.

    Returns:
        Low and high; None where there is none: nothing was tried, or the value is neither 0 nor 1.
    """
    bound = _bound(trials)
    if bound is None:
        return None
    if np.isclose(value, 1, rtol=0, atol=1e-12):
        return bound, 1.0
    return (0.0, 1 - bound) if np.isclose(value, 0, rtol=0, atol=1e-12) else None


def paired_interval(difference: float, trials: Sequence[int]) -> tuple[float, float] | None:
    """The 95 % interval of what two such figures of the same patients differ by, where that is 0, 1 or -1 throughout.

    At 0 the two differ in none of ``n`` trials, and the difference is no larger than the fraction of trials in which
    they
    do: its exact upper bound (Clopper and Pearson) bounds the difference on both sides. At 1 the first succeeds and the
    second fails in all of them, which has a probability of at least ``b``, the exact lower bound: the difference is at
    least ``b - (1 - b)``; at -1 the mirror image.

    Args:
        trials: as of :func:`perfect_interval`.

    Returns:
        Low and high; None where there is none.
    """
    bound = _bound(trials)
    if bound is None:
        return None
    if np.isclose(difference, 0, rtol=0, atol=1e-12):
        return bound - 1, 1 - bound
    if np.isclose(abs(difference), 1, rtol=0, atol=1e-12):
        return (2 * bound - 1, 1.0) if difference > 0 else (-1.0, 1 - 2 * bound)
    return None


def _bound(trials: Sequence[int]) -> float | None:
    """The least probability of success that trials which all succeed leave likely; None: nothing was tried."""
    if not trials or min(trials) < 1:
        return None
    return float(np.mean([(ALPHA / len(trials) / 2) ** (1 / count) for count in trials]))


def unit_count(unit_of_image: npt.NDArray[np.intp], counted: BoolArray) -> int:
    """How many units (patients) the counted images (images,) are of."""
    return len(np.unique(unit_of_image[counted]))


def pair_count(unit_of_image: npt.NDArray[np.intp], positive: BoolArray, negative: BoolArray) -> int:
    """How many pairs of a positive and a negative image there are at least, no unit (patient) being in two."""
    both = unit_count(unit_of_image, positive | negative) // 2
    return min(unit_count(unit_of_image, positive), unit_count(unit_of_image, negative), both)
