"""Do a model's probabilities mean what they say, and what is an answer worth where the disease is rare or common?"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pulmoscope.core.types import Decision
from pulmoscope.datasets.hospitals import UNIDENTIFIED
from pulmoscope.evaluation.audit.positive import called_disease, has_disease, probability
from pulmoscope.evaluation.audit.verdict import Level, Verdict
from pulmoscope.evaluation.bootstrap import Estimate, Values, Weights, estimates, units
from pulmoscope.evaluation.calibration import DebiasedError
from pulmoscope.evaluation.exact import unit_count
from pulmoscope.evaluation.metrics import Predictions

PREVALENCES = (0.01, 0.05, 0.10, 0.20, 0.50)
"""Fractions of patients with the disease at which predictive values are told."""

GOOD, BAD = 0.05, 0.15
"""Debiased calibration error: up to GOOD a probability can be taken at its word, above BAD it can't."""

LEAST = 10
"""Images with and without the disease that a calibration error needs at least."""


@dataclass(frozen=True)
class Calibrated:
    """How far the probability of the disease is off.

    Attributes:
        source: the hospital; empty: all images.
        images, with_disease: how many there are, and how many of them have the disease.
        error: debiased calibration error of the probability of the disease; undefined with fewer than :data:`LEAST`
            images on either side.
        mean_probability, fraction: the mean probability, and how many have the disease: where the first is larger,
            the model sees too much disease.
    """

    source: str
    images: int
    with_disease: int
    error: Estimate
    mean_probability: float
    fraction: float

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "source": self.source,
            "images": self.images,
            "with_disease": self.with_disease,
            "error": self.error.plain(),
            "mean_probability": self.mean_probability,
            "fraction": self.fraction,
        }


def calibration(predictions: Predictions, bootstrap: int = 1000, seed: int = 20) -> list[Calibrated]:
    """Of all images, then of every hospital where there are several.

    Raises:
        ValueError: there is no image.
    """
    names = sorted(set(predictions.hospitals))
    rows = [_calibrated("", predictions, bootstrap, seed)]
    if len(names) > 1:
        rows += [
            _calibrated(
                name, predictions.select([at == name for at in predictions.hospitals]), bootstrap, seed
            )
            for name in names
        ]
    return rows


def _calibrated(source: str, predictions: Predictions, bootstrap: int, seed: int) -> Calibrated:
    sick, chances = has_disease(predictions), probability(predictions)
    error = Estimate(None)
    if min(sick.sum(), (~sick).sum()) >= LEAST:
        debiased = DebiasedError(chances, sick)

        def statistics(weights: Weights) -> Mapping[Hashable, Values]:
            return {"error": debiased(weights)}

        error = estimates(statistics, units(predictions.patients), bootstrap, seed)["error"]
    return Calibrated(
        source, len(predictions), int(sick.sum()), error, float(chances.mean()), float(sick.mean())
    )


@dataclass(frozen=True)
class AsTest:
    """A model as a test for the disease.

    Attributes:
        images: those that it was tried on.
        sensitivity, specificity: of the answer «has the disease».
        values: for every prevalence the positive and the negative predictive value.
    """

    images: int
    sensitivity: Estimate
    specificity: Estimate
    values: tuple[tuple[float, Estimate, Estimate], ...]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "images": self.images,
            "sensitivity": self.sensitivity.plain(),
            "specificity": self.specificity.plain(),
            "at": [
                {"prevalence": prevalence, "ppv": ppv.plain(), "npv": npv.plain()}
                for prevalence, ppv, npv in self.values
            ],
        }


def as_test(predictions: Predictions, bootstrap: int = 1000, seed: int = 20) -> AsTest:
    """Sensitivity and specificity, and what they come to at :data:`PREVALENCES`."""
    sick, called = has_disease(predictions), called_disease(predictions)
    sensitivity = specificity = Estimate(None)
    if len(predictions):
        unit_of_image = units(predictions.patients)

        def statistics(weights: Weights) -> Mapping[Hashable, Values]:
            return {
                "sensitivity": _fraction(weights, sick & called, sick),
                "specificity": _fraction(weights, ~sick & ~called, ~sick),
            }

        trials = {
            "sensitivity": [unit_count(unit_of_image, sick)],
            "specificity": [unit_count(unit_of_image, ~sick)],
        }
        found = estimates(statistics, unit_of_image, bootstrap, seed, trials)
        sensitivity, specificity = found["sensitivity"], found["specificity"]
    return AsTest(len(predictions), sensitivity, specificity, _at_all(sensitivity, specificity))


def _at_all(sensitivity: Estimate, specificity: Estimate) -> tuple[tuple[float, Estimate, Estimate], ...]:
    return tuple(
        (prevalence, *predictive_values(sensitivity, specificity, prevalence)) for prevalence in PREVALENCES
    )


def reported(predictions: Predictions) -> Predictions:
    """Those that the model reports instead of referring them."""
    return predictions.select([decision == Decision.REPORT for decision in predictions.decisions])


def predictive_values(
    sensitivity: Estimate, specificity: Estimate, prevalence: float
) -> tuple[Estimate, Estimate]:
    """Positive and negative predictive value by Bayes' theorem (Altman and Bland, BMJ 1994;309:102).

    Both grow with sensitivity and with specificity, so their bounds are those at the lower and at the upper ends of
    both intervals: rather too wide. Undefined where nobody would be called so.
    """

    def at(one: float | None, other: float | None, positive: bool) -> float | None:
        if one is None or other is None:
            return None
        sick, healthy = prevalence, 1 - prevalence
        right = one * sick if positive else other * healthy
        wrong = (1 - other) * healthy if positive else (1 - one) * sick
        return right / (right + wrong) if right + wrong > 0 else None

    usable = min(sensitivity.usable, specificity.usable)
    return (
        Estimate(
            at(sensitivity.value, specificity.value, True),
            at(sensitivity.low, specificity.low, True),
            at(sensitivity.high, specificity.high, True),
            usable,
        ),
        Estimate(
            at(sensitivity.value, specificity.value, False),
            at(sensitivity.low, specificity.low, False),
            at(sensitivity.high, specificity.high, False),
            usable,
        ),
    )


def verdicts(rows: Sequence[Calibrated], test: AsTest) -> list[Verdict]:
    """What it comes to: over all, at the worst hospital, and where one patient in ten has the disease."""
    told = [_of_error("calibration", "Over all images", rows[0].error)]
    known = [row for row in rows[1:] if row.error.value is not None and row.source != UNIDENTIFIED]
    if known:
        worst = max(known, key=lambda row: row.error.value or 0.0)
        where = "At the worst hospital" if len(known) > 1 else "At the only hospital with enough images"
        told.append(_of_error("calibration-worst", f"{where} ({worst.source})", worst.error))
    ppv, npv = next((ppv, npv) for prevalence, ppv, npv in test.values if prevalence == 0.10)
    if ppv.value is not None and npv.value is not None:
        says = (
            f"If one in ten of your patients has the disease, {ppv.value:.0%} of those whom it predicts to have it do, "
            f"and {npv.value:.0%} of the others do not."
        )
        told.append(Verdict("predictive-values", "none", says))
    return told


def _of_error(code: str, where: str, error: Estimate) -> Verdict:
    if error.value is None:
        return Verdict(code, "none", f"{where} the calibration error is not known: too few images.")
    level: Level = "good" if error.value <= GOOD else "bad" if error.value > BAD else "doubtful"
    return Verdict(code, level, f"{where} the probability of the disease is off by {error.value:.3f}.")


def _fraction(weights: Weights, part: Any, whole: Any) -> Values:
    total = weights @ whole
    fraction: Values = np.divide(weights @ part, total, out=np.full_like(total, np.nan), where=total > 0)
    return fraction
