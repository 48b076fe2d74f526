"""Whether probabilities mean what they say, the one number that mends most of it, and how sure is sure enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

BINS = 15
"""Equal-width bins of the top class's probability, as in Guo et al. 2017."""

TEMPERATURES = (0.5, 20.0)
"""Where the temperature is looked for: below one half it would more than double what the network claims."""

SURE = 0.99
"""Share of the reported validation answers that must be right at the confidence threshold."""

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
    if scores.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
    right = scores[np.arange(len(truth)), truth]

    def negative_log_likelihood(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        total = np.logaddexp.reduce(scores / temperature, axis=1)
        return float((total - right / temperature).mean())

    low, high = TEMPERATURES
    if (scores.argmax(axis=1) == truth).all():
        low = 1.0
    # Convex in 1 / temperature, so with one minimum in its logarithm.
    found = minimize_scalar(
        negative_log_likelihood, bounds=np.log((low, high)), method="bounded", options={"xatol": 1e-6}
    )
    return float(np.exp(found.x))


def confidence_threshold(probabilities: npt.ArrayLike, labels: npt.ArrayLike, sure: float = SURE) -> float:
    """The lowest of 0.5, 0.55 … 0.95 at which the share ``sure`` of the answers reported is right; else 0.95.

    Args:
        probabilities: (images, classes), calibrated.
        labels: (images,) class numbers.
    """
    shares = np.asarray(probabilities)
    confidence, right = shares.max(axis=1), shares.argmax(axis=1) == np.asarray(labels)
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
    shares, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.intp)
    confidence, right = shares.max(axis=1), shares.argmax(axis=1) == truth
    numbers = bin_numbers(confidence)
    found = []
    for number in range(BINS):
        inside = numbers == number
        some = bool(inside.any())
        found.append(
            Bin(
                number / BINS,
                (number + 1) / BINS,
                int(inside.sum()),
                float(confidence[inside].mean()) if some else None,
                float(right[inside].mean()) if some else None,
            )
        )
    return tuple(found)
