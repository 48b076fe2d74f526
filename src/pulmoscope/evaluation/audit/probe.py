"""How well a few numbers tell a label, and whether a figure is more than chance: cross-validated and by permutation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, spearmanr

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.evaluation.bootstrap import units

FOLDS = 5
STRENGTH = 0.1
"""Inverse of the probe's L2 penalty: a few dozen images must not teach it their noise."""
PERMUTATIONS = 4999
Scores = npt.NDArray[np.float64]


def cross_validated(features: FloatArray, positive: BoolArray, patients: Sequence[str]) -> Scores | None:
    """What a logistic regression, trained on the other patients, says of each image.

    Args:
        features: float32 (images, numbers).
        positive: bool (images,).
        patients: one an image, empty where unknown.

    Returns:
        float64 (images,), higher is more positive; None where a class has fewer patients than there are folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    groups = units(patients)
    if min(len(set(groups[positive])), len(set(groups[~positive]))) < FOLDS:
        return None
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=500)
    )
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    scores = cross_val_predict(probe, features, positive, groups=groups, cv=folds, method="decision_function")
    return np.asarray(scores, dtype=np.float64)


def auroc(scores: Scores, positive: BoolArray) -> float:
    """The chance that a positive image has the higher score; ties count half (Mann and Whitney 1947)."""
    return float(_auroc_of_ranks(rankdata(scores), positive[None])[0])


def auroc_by_chance(scores: Scores, positive: BoolArray, seed: int) -> float:
    """How often shuffled labels are told as well, at least: the one-sided p of a permutation test."""
    rng, ranks = np.random.default_rng(seed), rankdata(scores)
    shuffled = rng.permuted(np.tile(positive, (PERMUTATIONS, 1)), axis=1)
    reached = _auroc_of_ranks(ranks, shuffled) >= _auroc_of_ranks(ranks, positive[None]) - 1e-12
    return float((1 + reached.sum()) / (1 + PERMUTATIONS))


def _auroc_of_ranks(ranks: Scores, positive: BoolArray) -> Scores:
    count = positive.sum(axis=1)
    above = positive @ ranks - count * (count + 1) / 2
    return np.asarray(above / (count * (positive.shape[1] - count)), dtype=np.float64)


def mean_by_chance(shifts: Scores, seed: int) -> float:
    """How often the mean is as large, at least, where each sign is random: the one-sided p of a sign-flip test."""
    rng = np.random.default_rng(seed)
    signs = rng.choice((-1.0, 1.0), (PERMUTATIONS, len(shifts)))
    reached = signs @ shifts >= shifts.sum() - 1e-12
    return float((1 + reached.sum()) / (1 + PERMUTATIONS))


def follows(score: Scores, probe: Scores, positive: BoolArray) -> float | None:
    """Rank correlation of two scores within each label, averaged (Spearman 1904); None where one does not vary."""
    correlations = [
        float(spearmanr(score[chosen], probe[chosen]).statistic)
        for chosen in (positive, ~positive)
        if len(set(score[chosen])) > 1 and len(set(probe[chosen])) > 1
    ]
    return sum(correlations) / len(correlations) if correlations else None


def donors(positive: BoolArray, groups: npt.NDArray[np.intp], other: bool, seed: int) -> npt.NDArray[np.intp]:
    """For each image another one, of the other label or of its own, of another patient where there is one."""
    rng = np.random.default_rng([seed, int(other)])
    chosen = np.empty(len(positive), dtype=np.intp)
    for index, label in enumerate(positive):
        fitting = (positive != label) if other else (positive == label)
        apart = fitting & (groups != groups[index])
        chosen[index] = rng.choice(np.flatnonzero(apart if apart.any() else fitting))
    return chosen
