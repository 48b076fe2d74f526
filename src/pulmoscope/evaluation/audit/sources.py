"""Can the hospital be told from what a model sees? If so, it can be used in place of the disease."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.datasets.hospitals import UNIDENTIFIED
from pulmoscope.evaluation.audit.verdict import Verdict
from pulmoscope.evaluation.bootstrap import Estimate, Values, Weights, estimates, units
from pulmoscope.evaluation.metrics import Predictions

LEAST = 20
"""Images of one label that a hospital has at least, to be told from others."""
FOLDS = 5
GOOD = 0.2
"""How much of the way from chance to certainty is still little."""


@dataclass(frozen=True)
class Told:
    """How well the hospitals of the images with one label are told apart.

    Attributes:
        label: of all these images.
        hospitals: name → images.
        balanced_accuracy: mean over the hospitals of the fraction that is recognised, cross-validated by patient.
        chance: what guessing gives: one over the number of hospitals.
    """

    label: str
    hospitals: Mapping[str, int]
    balanced_accuracy: Estimate
    chance: float

    @property
    def excess(self) -> float:
        """0: no better than guessing; 1: every image's hospital is known."""
        return max(0.0, ((self.balanced_accuracy.value or 0.0) - self.chance) / (1 - self.chance))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "label": self.label,
            "hospitals": dict(self.hospitals),
            "balanced_accuracy": self.balanced_accuracy.plain(),
            "chance": self.chance,
            "excess": self.excess,
        }


def told_apart(predictions: Predictions, bootstrap: int = 1000, seed: int = 20) -> list[Told]:
    """Predict the hospital from the features, within one label after another, so that the label is no help.

    By logistic regression on standardised features, cross-validated with a patient's images in one fold. Labels of
    which fewer than two hospitals have :data:`LEAST` images are left out, as are images whose hospital nobody knows.

    Raises:
        ValueError: the predictions carry no features or hospitals.
    """
    if predictions.features is None or not predictions.hospitals:
        raise ValueError("features and a hospital for every image are needed")
    results = []
    for label in sorted(set(predictions.labels)):
        chosen = _enough(predictions.select([name == label for name in predictions.labels]))
        if len(set(chosen.hospitals)) > 1:
            results.append(_told(label, chosen, bootstrap, seed))
    return results


def verdict(results: Sequence[Told]) -> Verdict:
    """What the label whose hospitals are told apart best comes to."""
    if not results:
        says = "Whether the hospital can be told from what the model sees is not known: no label is of two hospitals."
        return Verdict("hospital-in-features", "none", says)
    worst = max(results, key=lambda told: told.excess)
    says = (
        f"From what the model sees of an image labelled {worst.label} one can tell its hospital in "
        f"{worst.balanced_accuracy.value:.0%} of cases (guessing: {worst.chance:.0%})."
    )
    return Verdict("hospital-in-features", "good" if worst.excess <= GOOD else "doubtful", says)


def _enough(predictions: Predictions) -> Predictions:
    """The images of hospitals that have enough, of enough patients."""
    counts = Counter(predictions.hospitals)
    patients = Counter(
        hospital for hospital, _ in set(zip(predictions.hospitals, units(predictions.patients), strict=True))
    )
    kept = {
        name for name in counts if name != UNIDENTIFIED and counts[name] >= LEAST and patients[name] >= FOLDS
    }
    return predictions.select([name in kept for name in predictions.hospitals])


def _told(label: str, predictions: Predictions, bootstrap: int, seed: int) -> Told:
    assert predictions.features is not None
    names, truth = np.unique(predictions.hospitals, return_inverse=True)
    unit_of_image = units(predictions.patients)
    right = _predicted(predictions.features, truth, unit_of_image, seed) == truth
    member = np.eye(len(names))[truth]

    def statistics(weights: Weights) -> Mapping[Hashable, Values]:
        total = weights @ member
        recall = np.divide(
            weights @ (member * right[:, None]), total, out=np.full_like(total, np.nan), where=total > 0
        )
        return {"balanced_accuracy": recall.mean(axis=1)}

    found = estimates(statistics, unit_of_image, bootstrap, seed)
    counts = Counter(predictions.hospitals)
    return Told(
        label,
        {str(name): counts[str(name)] for name in names},
        found["balanced_accuracy"],
        1 / len(names),
    )


def _predicted(
    features: npt.NDArray[np.float32],
    truth: npt.NDArray[np.intp],
    groups: npt.NDArray[np.intp],
    seed: int,
) -> npt.NDArray[np.intp]:
    """Each image's hospital, predicted by a model that has seen none of its patient's images."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
    )
    splitter = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=seed)
    predicted = cross_val_predict(classifier, features, truth, groups=groups, cv=splitter)
    return np.asarray(predicted, dtype=np.intp)
