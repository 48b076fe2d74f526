"""Does referral catch the wrong answers? How much is reported, and how often that is right.

Selective classification: El-Yaniv and Wiener, «On the foundations of noise-free selective classification», JMLR 2010.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, Decision
from pulmoscope.evaluation.bootstrap import Values, Weights, estimates, units
from pulmoscope.evaluation.exact import unit_count
from pulmoscope.evaluation.metrics import Predictions

ANSWERED = {"error": 1.0, "error_at_90": 0.9, "error_at_50": 0.5}
"""Figure → the fraction of images that is answered, the surest first."""


def referral(predictions: Predictions, bootstrap: int = 1000, seed: int = 20) -> dict[str, Any]:
    """What became of right and of wrong answers, ready for JSON.

    An image whose label the model does not know can't be answered rightly: it counts as wrong.

    Gives ``counts`` (right and wrong answers, reported and referred) and, with intervals, ``reported`` (fraction of all
    images), ``accuracy_reported`` (fraction of the reported answers that is right) and ``wrong_referred`` (fraction of
    the wrong answers that was referred).

    Args:
        predictions: with decisions, at least one image.
        bootstrap, seed: as for :func:`pulmoscope.evaluation.metrics.evaluate`.
    """
    right, reported = _right(predictions), _reported(predictions)

    def fractions(weights: Weights) -> dict[Any, Values]:
        return {
            "reported": weights @ reported / weights.sum(axis=1),
            "accuracy_reported": _share(weights, right & reported, reported),
            "wrong_referred": _share(weights, ~right & ~reported, ~right),
        }

    unit_of_image = units(predictions.patients)
    counted = {"reported": np.ones_like(right), "accuracy_reported": reported, "wrong_referred": ~right}
    trials = {name: [unit_count(unit_of_image, trial)] for name, trial in counted.items()}
    results = estimates(fractions, unit_of_image, bootstrap, seed, trials)
    return {
        "counts": {
            "right_reported": int((right & reported).sum()),
            "right_referred": int((right & ~reported).sum()),
            "wrong_reported": int((~right & reported).sum()),
            "wrong_referred": int((~right & ~reported).sum()),
        },
        **{str(name): estimate.plain() for name, estimate in results.items()},
    }


def risk_by_coverage(predictions: Predictions) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Fraction of wrong answers among the surest images, over the fraction of images that these are.

    Returns:
        ``coverage`` and ``risk``, (steps,); images with one and the same probability come in one step.
    """
    sure = predictions.probabilities.max(axis=1)
    order = np.argsort(-sure, kind="stable")
    wrong = ~_right(predictions)[order]
    kept = np.arange(1, len(order) + 1)
    last = np.append(np.diff(sure[order]) != 0, True)  # of each run of equals
    return (kept / len(order))[last], (np.cumsum(wrong) / kept)[last]


def risk_coverage(predictions: Predictions, bootstrap: int = 1000, seed: int = 20) -> dict[str, Any]:
    """What answering the surest images only is worth, overall and by hospital (source, where none is known): for JSON.

    Gives ``overall`` and ``by_hospital``, each with ``images``, ``error`` (fraction of wrong answers of all),
    ``error_at_90`` and ``error_at_50`` (of the surest 90 % and 50 % of the images), with intervals, and ``points`` of
    the curve, [coverage, risk], at most one a percent.

    Args:
        predictions: at least one image.
        bootstrap, seed: as for :func:`pulmoscope.evaluation.metrics.evaluate`.
    """
    origins = predictions.hospitals or predictions.sources
    return {
        "overall": _risks(predictions, bootstrap, seed),
        "by_hospital": {
            name: _risks(predictions.select([origin == name for origin in origins]), bootstrap, seed)
            for name in sorted(set(origins))
        },
    }


def risk_at(fraction: float, sure: Values, wrong: BoolArray, weights: Weights) -> Values:
    """Fraction of wrong answers among the surest ``fraction`` of the images, of every resample.

    Args:
        fraction: above 0, at most 1; of an image that only a part of belongs to it, that part counts.
        sure: (images,), the higher, the surer; equals stay in their order.
        wrong: (images,).
        weights: (resamples, images).
    """
    order = np.argsort(-sure, kind="stable")
    ordered = weights[:, order]
    wanted = fraction * ordered.sum(axis=1, keepdims=True)
    kept = np.clip(wanted - (ordered.cumsum(axis=1) - ordered), 0, ordered)
    risk: Values = kept @ wrong[order] / wanted[:, 0]
    return risk


def _risks(predictions: Predictions, bootstrap: int, seed: int) -> dict[str, Any]:
    sure, wrong = predictions.probabilities.max(axis=1), ~_right(predictions)

    def at_each(weights: Weights) -> dict[Any, Values]:
        return {name: risk_at(fraction, sure, wrong, weights) for name, fraction in ANSWERED.items()}

    unit_of_image = units(predictions.patients)
    everyone = [unit_count(unit_of_image, np.ones_like(wrong))]
    results = estimates(at_each, unit_of_image, bootstrap, seed, {"error": everyone})
    coverage, risk = risk_by_coverage(predictions)
    steps = np.unique(np.searchsorted(coverage, np.arange(1, 101) / 100 - 1e-9))
    return {
        "images": len(predictions),
        **{str(name): estimate.plain() for name, estimate in results.items()},
        "points": [[float(coverage[step]), float(risk[step])] for step in steps],
    }


def _right(predictions: Predictions) -> BoolArray:
    return np.asarray(predictions.truth == predictions.probabilities.argmax(axis=1))


def _reported(predictions: Predictions) -> BoolArray:
    return np.array([decision == Decision.REPORT for decision in predictions.decisions])


def _share(weights: Weights, part: BoolArray, whole: BoolArray) -> Values:
    total = weights @ whole
    return np.divide(weights @ part, total, out=np.full_like(total, np.nan), where=total > 0)
