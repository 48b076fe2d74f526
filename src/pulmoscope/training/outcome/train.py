"""A model of an outcome: chosen by cross-validation, calibrated on held-out patients, fused with what images show.

The base model learns from values. Its log-odds of patients held out in the cross-validation are the input of a second,
small logistic regression: with them alone this is Platt's scaling (1999); where the table has the severity of images,
these are further inputs, which is late fusion. Both levels are sums of one function a value, and so is the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.outcome import SEVERITY
from pulmoscope.core.types import BoolArray
from pulmoscope.datasets.patients import PatientTable
from pulmoscope.recipes.published.outcome_clinical import OutcomeRecipe
from pulmoscope.runtime.outcome import Additive, Linear, sigmoid
from pulmoscope.training.outcome.fit import Learner, fit_logistic, learner

Floats = npt.NDArray[np.float64]

SECOND_PENALTY = 10.0
"""The inverse strength of the second level's penalty: hardly any, as it has few inputs."""
BASE = "log_odds"
"""The base model's log-odds among the inputs of the second level."""


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Attributes:
        additive: the calibrated model of all inputs, of the patients that it learnt from.
        members: the same of patients drawn again.
        strength: of the base model, chosen.
        losses: strength → mean held-out logarithmic loss.
        held_out: calibrated log-odds (patients,) of patients who were held out from the base model.
        second: the second level.
    """

    additive: Additive
    members: tuple[Additive, ...]
    strength: float
    losses: dict[float, float]
    held_out: Floats
    second: Additive


def chosen_inputs(recipe: OutcomeRecipe, table: PatientTable) -> tuple[str, ...]:
    """The values that are learnt from: of the recipe, or all that a patient of the table has.

    Raises:
        DatasetError: no patient has one of the recipe's, or there is none, or none but what images show.
    """
    present = [name for name in table.names if not np.isnan(table.columns([name])).all()]
    if missing := [name for name in recipe.inputs if name not in present]:
        raise DatasetError(
            f"{table.name}: no patient has {', '.join(missing)} (there are: {', '.join(present)})"
        )
    names = recipe.inputs or tuple(present)
    if not set(names) - set(SEVERITY):
        raise DatasetError(f"{table.name}: has no column of a value that is known")
    return tuple(name for name in names if name not in SEVERITY) + tuple(
        name for name in names if name in SEVERITY
    )


def fit(recipe: OutcomeRecipe, table: PatientTable, names: Sequence[str]) -> Fitted:
    """Train on all patients of a table.

    Args:
        names: the inputs, those of images last.

    Raises:
        DatasetError: a fold would have one outcome alone.
    """
    values, happened = table.columns(names), table.happened
    if min(happened.sum(), (~happened).sum()) < 2 * recipe.folds:
        raise DatasetError(
            f"{table.name}: {int(happened.sum())} of {len(table)} patients have the outcome {table.outcome}; "
            f"{2 * recipe.folds} with and without it are needed"
        )
    own = [name for name in names if name not in SEVERITY]
    base, shown = values[:, : len(own)], values[:, len(own) :]
    how = learner(recipe)
    strength, losses, held_out = _cross_validated(how, own, base, happened, recipe)
    images = names[len(own) :]
    second = _second(held_out, images, shown, happened)
    whole = _combined(how.fit(own, base, happened, strength), second)
    generator = np.random.default_rng(recipe.seed)
    members: list[Additive] = []
    while len(members) < recipe.bootstrap:
        drawn = generator.integers(0, len(table), len(table))
        if happened[drawn].all() or not happened[drawn].any():
            continue
        member = how.fit(own, base[drawn], happened[drawn], strength)
        members.append(_combined(member, _second(held_out[drawn], images, shown[drawn], happened[drawn])))
    fused = second.log_odds(np.column_stack([held_out, shown]))
    return Fitted(whole, tuple(members), strength, losses, fused, second)


def _cross_validated(
    how: Learner, names: Sequence[str], values: Floats, happened: BoolArray, recipe: OutcomeRecipe
) -> tuple[float, dict[float, float], Floats]:
    """The strength with the least held-out loss, the loss of each, and the held-out log-odds with it."""
    fold = _folds(happened, recipe)
    held_out = {strength: np.empty(len(happened)) for strength in how.strengths}
    for number in range(recipe.folds):
        inside = fold != number
        for strength, log_odds in held_out.items():
            model = how.fit(names, values[inside], happened[inside], strength)
            log_odds[~inside] = model.log_odds(values[~inside])
    signs = np.where(happened, -1.0, 1.0)
    losses = {
        strength: float(np.logaddexp(0, signs * log_odds).mean()) for strength, log_odds in held_out.items()
    }
    best = min(losses, key=lambda strength: losses[strength])
    return best, losses, held_out[best]


def _folds(happened: BoolArray, recipe: OutcomeRecipe) -> npt.NDArray[np.intp]:
    """The fold of each patient, each outcome shared out."""
    generator = np.random.default_rng(recipe.seed)
    fold = np.empty(len(happened), dtype=np.intp)
    for outcome in (False, True):
        members = generator.permutation(np.flatnonzero(happened == outcome))
        fold[members] = np.arange(len(members)) % recipe.folds
    return fold


def _second(held_out: Floats, images: Sequence[str], shown: Floats, happened: BoolArray) -> Additive:
    """The second level, of the base model's log-odds and what images show; it rises with the former, or leaves it."""
    model = fit_logistic(
        [BASE, *images], np.column_stack([held_out, shown]), happened, SECOND_PENALTY, skewed=np.inf
    )
    link = model.terms[BASE]
    if isinstance(link, Linear) and link.slope < 0:
        return replace(model, terms={**model.terms, BASE: link.scaled(0.0)})
    return model


def _combined(base: Additive, second: Additive) -> Additive:
    """Both levels as one sum; the base's log-odds are not held within those that were seen."""
    link = second.terms[BASE]
    assert isinstance(link, Linear)
    intercept = second.intercept + link.slope * (base.intercept - link.centre)
    terms = {name: term.scaled(link.slope) for name, term in base.terms.items()}
    return Additive(intercept, terms | {name: term for name, term in second.terms.items() if name != BASE})


def threshold(log_odds: Floats, happened: BoolArray, sensitivity: float) -> float:
    """The highest probability from which on the outcome is called, that has a sensitivity; of validation patients."""
    called = np.sort(sigmoid(log_odds[happened]))[::-1]
    return float(called[int(np.ceil(sensitivity * len(called) - 1e-9)) - 1]) if len(called) else 0.5
