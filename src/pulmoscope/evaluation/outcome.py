"""How good the predicted probabilities of an outcome are: discrimination, calibration, and calls at one threshold."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray
from pulmoscope.evaluation.bootstrap import Estimate, Values, Weights, estimates
from pulmoscope.evaluation.calibration import DebiasedError
from pulmoscope.evaluation.metrics import Ranked

Floats = npt.NDArray[np.float64]


class OutcomeStatistics:
    """Every figure of every resample.

    Args:
        probabilities: (patients,).
        happened: (patients,).
        threshold: from which probability on the outcome is called.
    """

    def __init__(self, probabilities: Floats, happened: BoolArray, threshold: float) -> None:
        self._happened = happened.astype(np.float64)
        self._probabilities = probabilities
        self._called = (probabilities >= threshold).astype(np.float64)
        self._squared = (probabilities - self._happened) ** 2
        self._ranked = Ranked(probabilities, happened)
        self._calibration = DebiasedError(probabilities, happened)

    def __call__(self, weights: Weights) -> dict[Hashable, Values]:
        """Figure → values (resamples,), from weights (resamples, patients)."""
        total = weights.sum(axis=1)
        auroc, precision = self._ranked(weights)
        hit = weights @ (self._called * self._happened)
        called, ill = weights @ self._called, weights @ self._happened
        well = total - ill
        right_well = total - called - ill + hit
        product = np.sqrt(called * (total - called) * ill * well)
        return {
            "auroc": auroc,
            "average_precision": precision,
            "calibration_error": self._calibration(weights),
            "predicted_minus_observed": weights @ (self._probabilities - self._happened) / total,
            "brier": weights @ self._squared / total,
            "sensitivity": _ratio(hit, ill),
            "specificity": _ratio(right_well, well),
            "mcc": _ratio(hit * total - called * ill, product),
        }


def _ratio(part: Values, whole: Values) -> Values:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def outcome_figures(
    probabilities: Floats, happened: BoolArray, threshold: float, bootstrap: int = 1000, seed: int = 20
) -> dict[str, Estimate]:
    """Discrimination, calibration and calls by name, with 95 % intervals from patients drawn again.

    Args:
        probabilities, happened: (patients,), one row a patient.
        threshold: from which probability on the outcome is called.
        bootstrap: resamples; 0: no intervals.
    """
    ill = int(happened.sum())
    well = len(happened) - ill
    trials = {"auroc": [min(ill, well)], "sensitivity": [ill], "specificity": [well]}
    found = estimates(
        OutcomeStatistics(probabilities, happened, threshold),
        np.arange(len(happened)),
        bootstrap,
        seed,
        trials,
    )
    return {str(name): estimate for name, estimate in found.items()}


def auroc_difference(
    first: Floats, second: Floats, happened: BoolArray, bootstrap: int = 1000, seed: int = 20
) -> Estimate:
    """The AUROC of ``first`` minus that of ``second``, scores (patients,) of the same patients, drawn together."""
    ranked = Ranked(first, happened), Ranked(second, happened)

    def difference(weights: Weights) -> dict[Hashable, Values]:
        return {"difference": ranked[0](weights)[0] - ranked[1](weights)[0]}

    return estimates(difference, np.arange(len(happened)), bootstrap, seed)["difference"]


def calibration_groups(
    probabilities: Floats, happened: BoolArray, groups: int = 10
) -> list[dict[str, float]]:
    """Patients in groups of equal size by their probability: how many, mean predicted, fraction observed."""
    order = np.argsort(probabilities, kind="stable")
    return [
        {
            "patients": len(members),
            "predicted": float(probabilities[members].mean()),
            "observed": float(happened[members].mean()),
        }
        for members in np.array_split(order, groups)
        if len(members)
    ]
