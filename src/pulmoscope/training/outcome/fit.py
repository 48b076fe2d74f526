"""Two learners whose models are sums of one function a value, so that each value's part is exact.

Both stand any missing value: the logistic regression puts the median in its place, with an indicator that has a
coefficient of its own; boosting sends it down a branch of its own (scikit-learn, HistGradientBoostingClassifier).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray
from pulmoscope.recipes.published.outcome_clinical import OutcomeRecipe
from pulmoscope.runtime.outcome import Additive, Linear, Steps, Term

Floats = npt.NDArray[np.float64]
SKEWED = 1.0
"""The skewness of positive values from which on their logarithm is taken, where that is less skewed."""


@dataclass(frozen=True)
class Learner:
    """How a model is fitted with one setting, which cross-validation chooses, and the settings that are tried.

    Attributes:
        fit: from values (patients, names), NaN where missing, the outcome (patients,), and the strength.
        strengths: what is tried, from the simplest model to the most pliable.
    """

    fit: Callable[[Sequence[str], Floats, BoolArray, float], Additive]
    strengths: tuple[float, ...]


def learner(recipe: OutcomeRecipe) -> Learner:
    """The learner of a recipe."""
    if recipe.model == "logistic":
        return Learner(fit_logistic, tuple(sorted(recipe.penalties)))

    def fit(names: Sequence[str], values: Floats, happened: BoolArray, rounds: float) -> Additive:
        return fit_boosting(names, values, happened, int(rounds), recipe)

    return Learner(fit, tuple(float(rounds) for rounds in sorted(recipe.rounds)))


def fit_logistic(
    names: Sequence[str], values: Floats, happened: BoolArray, penalty: float, skewed: float = SKEWED
) -> Additive:
    """Logistic regression with an L2 penalty, of standardised values and indicators of missing ones.

    Args:
        names: of the values.
        values: (patients, names), NaN where missing.
        happened: (patients,), both outcomes.
        penalty: its inverse strength, C.
        skewed: see :data:`SKEWED`.
    """
    from sklearn.linear_model import LogisticRegression

    scales = [_scale(column, skewed) for column in values.T]
    columns, missing = [], np.isnan(values)
    for (unit, spread), column in zip(scales, values.T, strict=True):
        columns.append(unit(column) / spread)
    absent = [index for index in range(len(names)) if missing[:, index].any() and not missing[:, index].all()]
    design = np.column_stack([*columns, *(missing[:, index].astype(float) for index in absent)])
    model = LogisticRegression(C=penalty, max_iter=5000).fit(design, happened)
    weights = model.coef_[0]
    of_absent = dict(zip(absent, weights[len(names) :], strict=True))
    terms: dict[str, Term] = {}
    for index, (name, (unit, spread)) in enumerate(zip(names, scales, strict=True)):
        slope, lost = float(weights[index]) / spread, float(of_absent.get(index, 0.0))
        terms[name] = Linear(slope, unit.centre, unit.low, unit.high, unit.logarithm, lost)
    return Additive(float(model.intercept_[0]), terms)


def _scale(column: Floats, skewed: float) -> tuple[Linear, float]:
    """A value on its scale, its median and what is missing at 0, and the standard deviation there."""
    known = column[~np.isnan(column)]
    if not len(known):
        return Linear(1.0, 0.0, 0.0, 0.0, False, 0.0), 1.0
    low, high = float(known.min()), float(known.max())
    logarithm = bool(
        low > 0 and _skewness(known) > skewed and abs(_skewness(np.log(known))) < _skewness(known)
    )
    scaled = np.log(known) if logarithm else known
    centre, spread = float(np.median(scaled)), float(scaled.std())
    return Linear(1.0, centre, low, high, logarithm, 0.0), spread if spread > 0 else 1.0


def _skewness(values: Floats) -> float:
    spread = values.std()
    return float((((values - values.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0


def fit_boosting(
    names: Sequence[str], values: Floats, happened: BoolArray, rounds: int, recipe: OutcomeRecipe
) -> Additive:
    """Gradient boosting of trees that have one value each, as functions of steps.

    The steps are read from the fitted model's answers: with every other value missing, its log-odds change with one
    value alone, at edges between the values that training saw. Each function is centred on the training patients.

    Args:
        names, values, happened: as of :func:`fit_logistic`.
        rounds: trees.
        recipe: learning rate, leaves, patients of a leaf, seed.
    """
    from threadpoolctl import threadpool_limits

    # With some thousand patients a second thread of OpenMP gains little, and where processors are busy threads wait for
    # each other up to ten times as long.
    with threadpool_limits(1, user_api="openmp"):
        return _boosted(names, values, happened, rounds, recipe)


def _boosted(
    names: Sequence[str], values: Floats, happened: BoolArray, rounds: int, recipe: OutcomeRecipe
) -> Additive:
    from sklearn.ensemble import HistGradientBoostingClassifier

    levels = {
        name: np.unique(column[~np.isnan(column)]) for name, column in zip(names, values.T, strict=True)
    }
    told = [
        index for index, name in enumerate(names) if len(levels[name]) > 1
    ]  # of others nothing can be learnt
    terms = dict.fromkeys(names, Steps((), (0.0,), 0.0))
    if not told:
        return Additive(float(np.log(happened.mean()) - np.log1p(-happened.mean())), terms)
    model = HistGradientBoostingClassifier(
        learning_rate=recipe.learning_rate,
        max_iter=rounds,
        max_leaf_nodes=recipe.leaves,
        min_samples_leaf=recipe.least_patients,
        interaction_cst="no_interactions",
        early_stopping=False,
        random_state=recipe.seed,
    ).fit(values[:, told], happened)
    nothing = float(model.decision_function(np.full((1, len(told)), np.nan))[0])
    intercept = nothing
    for column, index in enumerate(told):
        known = levels[names[index]]
        asked = np.full((len(known), len(told)), np.nan)
        asked[:, column] = known
        step = _steps(known, model.decision_function(asked) - nothing)
        mean = float(step(values[:, index]).mean())
        intercept += mean
        terms[names[index]] = Steps(step.edges, tuple(height - mean for height in step.heights), -mean)
    return Additive(intercept, terms)


def _steps(levels: Floats, heights: Floats) -> Steps:
    """A function of steps through heights at rising levels; what is missing adds 0."""
    changes = [index for index, (one, other) in enumerate(pairwise(heights)) if abs(one - other) > 1e-12]
    edges = tuple(float((levels[index] + levels[index + 1]) / 2) for index in changes)
    return Steps(edges, (float(heights[0]), *(float(heights[index + 1]) for index in changes)), 0.0)
