"""Whether probabilities mean what they say, the one number that mends most of it, and how sure is sure enough."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar

from pulmoscope.evaluation.bootstrap import Values, Weights

BINS = 15
"""Equal-width bins of the top class's probability, as in Guo et al. 2017."""

MASS_BINS = 10
"""Bins of equal mass for the debiased calibration error."""

TEMPERATURES = (0.5, 20.0)
"""Where the temperature is looked for: below one half it would more than double what the network claims."""

FOLDS = 5
"""Of the cross-validation that decides whether a bias helps."""

LEAST_GAIN = 0.002
"""By how much a bias must raise the mean logarithm of the probability of held-out labels; less is rounding."""

SPREAD = 1.0
"""Standard deviation of the bias, and of the logarithm of the temperature, before any image is seen: with few images
they stay near 0. Measured on hospitals left out of training (docs/abstention.md)."""

SURE = 0.99
"""Fraction of the reported validation answers that must be right at the confidence threshold."""

CANDIDATES = tuple(step / 100 for step in range(50, 100, 5))
"""The thresholds that are tried."""


@dataclass(frozen=True)
class Bin:
    """Images whose top probability lies in ``(low, high]``: how many, how sure, how often right.

    ``confidence`` and ``accuracy`` are None in an empty bin.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The temperature that makes held-out labels most likely (Guo et al. 2017, section 4.2), within TEMPERATURES.

    Where every answer is right, the likelihood grows without end as the temperature falls, and says nothing about
    how sure is too sure; the temperature is then at least 1.

    Args:
        logits: (images, classes), or (images, 1) for a single sigmoid, that of class 1.
        labels: (images,) class numbers.

    Raises:
        ValueError: the shapes do not fit, or there is no image.
    """
    scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.intp)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not len(truth):
        raise ValueError(
            f"logits (images, classes) and labels (images,) needed, got {scores.shape}, {truth.shape}"
        )
    scores = _two_columns(scores)

    def negative_log_likelihood(log_temperature: float) -> float:
        return _negative_log_likelihood(scores, truth, float(np.exp(log_temperature)))

    low, high = TEMPERATURES
    if (scores.argmax(axis=1) == truth).all():
        low = 1.0
    # Convex in 1 / temperature, so with one minimum in its logarithm.
    minimum = minimize_scalar(
        negative_log_likelihood, bounds=np.log((low, high)), method="bounded", options={"xatol": 1e-6}
    )
    return float(np.exp(minimum.x))


def fit_calibration(
    logits: npt.ArrayLike, labels: npt.ArrayLike, units: npt.ArrayLike, seed: int = 20
) -> tuple[float, tuple[float, ...]]:
    """Temperature and, where it helps, a bias of each class (Alexandari, Kundaje and Shrikumar, ICML 2020).

    A hospital with another mix of diseases, or another device, moves the probabilities of whole classes, which no
    temperature brings back. The bias is kept where it makes held-out labels more likely by :data:`LEAST_GAIN`, in a
    cross-validation by patient of :data:`FOLDS` folds. A class without images keeps a bias of 0.

    Args:
        logits, labels: as of :func:`fit_temperature`.
        units: (images,), the number of each image's patient (see :func:`~pulmoscope.evaluation.bootstrap.units`).
        seed: of the folds.

    Returns:
        The temperature, and the bias of each class; empty where it does not help.

    Raises:
        ValueError: as of :func:`fit_temperature`.
    """
    temperature = fit_temperature(logits, labels)
    scores, truth = _two_columns(logits), np.asarray(labels, dtype=np.intp)
    members, patient = np.unique(units, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(members))[patient] % FOLDS
    gain = 0.0
    for number in range(FOLDS):
        held_out = fold == number
        if held_out.all() or not held_out.any():
            continue
        known, asked = (scores[~held_out], truth[~held_out]), (scores[held_out], truth[held_out])
        plain = _negative_log_likelihood(*asked, fit_temperature(*known))
        gain += (plain - _negative_log_likelihood(*asked, *_with_bias(*known))) * len(asked[1])
    if gain <= LEAST_GAIN * len(truth):
        return temperature, ()
    temperature, bias = _with_bias(scores, truth)
    return temperature, tuple(float(value) for value in bias)


def _two_columns(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Logits (images, classes); of a single sigmoid, that of class 1, with 0 for the other."""
    scores = np.asarray(logits, dtype=np.float64)
    return np.concatenate([np.zeros_like(scores), scores], axis=1) if scores.shape[1] == 1 else scores


def _negative_log_likelihood(
    scores: npt.NDArray[np.float64],
    truth: npt.NDArray[np.intp],
    temperature: float,
    bias: npt.ArrayLike = 0.0,
) -> float:
    """The mean over the images."""
    scaled = scores / temperature + np.asarray(bias)
    return float((np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(len(truth)), truth]).mean())


def _with_bias(
    scores: npt.NDArray[np.float64], truth: npt.NDArray[np.intp]
) -> tuple[float, npt.NDArray[np.float64]]:
    """Temperature and bias of the highest posterior; both have normal priors, see :data:`SPREAD`."""
    present = np.unique(truth)

    def unpacked(values: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        bias = np.zeros(scores.shape[1])
        bias[present] = values[1:]
        return float(np.exp(values[0])), bias

    def loss(values: npt.NDArray[np.float64]) -> float:
        prior = float((values**2).sum()) / (2 * SPREAD**2)
        return _negative_log_likelihood(scores, truth, *unpacked(values)) + prior / len(truth)

    bounds = [tuple(np.log(TEMPERATURES)), *[(None, None)] * len(present)]
    return unpacked(minimize(loss, np.zeros(1 + len(present)), method="L-BFGS-B", bounds=bounds).x)


def confidence_threshold(probabilities: npt.ArrayLike, labels: npt.ArrayLike, sure: float = SURE) -> float:
    """The lowest of 0.5, 0.55 … 0.95 at which the fraction ``sure`` of the answers reported is right; else 0.95.

    Args:
        probabilities: (images, classes), calibrated.
        labels: (images,) class numbers.
    """
    values = np.asarray(probabilities)
    confidence, right = values.max(axis=1), values.argmax(axis=1) == np.asarray(labels)
    for candidate in CANDIDATES:
        reported = confidence >= candidate
        if reported.any() and right[reported].mean() >= sure:
            return candidate
    return CANDIDATES[-1]


def bin_numbers(confidence: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """The bin, 0 … BINS - 1, of each top probability."""
    return np.clip(np.ceil(confidence * BINS).astype(np.intp) - 1, 0, BINS - 1)


def reliability(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Bin, ...]:
    """The reliability curve's bins, from probabilities (images, classes) and class numbers (images,)."""
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.intp)
    confidence, right = values.max(axis=1), values.argmax(axis=1) == truth
    numbers = bin_numbers(confidence)
    bins = []
    for number in range(BINS):
        inside = numbers == number
        some = bool(inside.any())
        bins.append(
            Bin(
                number / BINS,
                (number + 1) / BINS,
                int(inside.sum()),
                float(confidence[inside].mean()) if some else None,
                float(right[inside].mean()) if some else None,
            )
        )
    return tuple(bins)


class DebiasedError:
    """The debiased calibration error of one probability (Kumar, Liang and Ma, NeurIPS 2019, section 4).

    The plain error over bins is too high on few images: even where every probability is right, chance moves the
    fraction of hits in a bin. What chance adds to its square is known, and taken off: with ``p`` and ``y`` the mean
    probability and the fraction of hits of the ``n`` images in a bin, its squared error is ``(p - y)² - y (1 - y) / (n
    - 1)``. The bins' errors are weighted by their mass; the error is the root of the sum, 0 where that is below 0. A
    bin of fewer than two images adds nothing, as the authors' own code has it.

    Bins are those of the images as they are, of equal mass, with images of one probability together; they stay the
    same in every resample. Resampling moves the fractions a second time, so an interval lies rather above the value.

    Args:
        probabilities: (images,), of the event.
        outcomes: (images,), whether it happened.
        bins: how many there are at most.

    Raises:
        ValueError: the shapes differ, or there is no image.
    """

    def __init__(self, probabilities: npt.ArrayLike, outcomes: npt.ArrayLike, bins: int = MASS_BINS) -> None:
        values, hits = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
        if values.ndim != 1 or hits.shape != values.shape or not len(values):
            raise ValueError(
                f"probabilities and outcomes (images,) needed, got {values.shape} and {hits.shape}"
            )
        parts = [part for part in np.array_split(np.sort(values), bins) if len(part)]
        edges = np.unique([(one[-1] + other[0]) / 2 for one, other in pairwise(parts)])
        numbers = np.searchsorted(edges, values, side="left")
        self._member = np.eye(len(edges) + 1)[numbers]
        self._shares, self._hits = self._member * values[:, None], self._member * hits[:, None]

    def __call__(self, weights: Weights) -> Values:
        """The error of every resample, from weights (resamples, images)."""
        images = weights @ self._member
        some = np.maximum(images, 1)
        mean, rate = weights @ self._shares / some, weights @ self._hits / some
        by_chance = rate * (1 - rate) / np.maximum(images - 1, 1)
        squared = np.where(images >= 2, (mean - rate) ** 2 - by_chance, 0)
        error: Values = (images * squared).sum(axis=1) / weights.sum(axis=1)
        return np.sqrt(np.maximum(error, 0))
