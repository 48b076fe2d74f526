"""What the fitted severity is worth: by patients left out, by hospitals left out, beside guessing and the readers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import FloatArray
from pulmoscope.core.xray_severity import ZONES
from pulmoscope.evaluation.bootstrap import Values, Weights, estimates, units
from pulmoscope.recipes.published.xray_severity import XraySeverityRecipe
from pulmoscope.runtime.xray_severity import MOST, Widths
from pulmoscope.training.xray_severity.images import Material, ScoredImages
from pulmoscope.training.xray_severity.network import dealt, fit_network

Floats = npt.NDArray[np.float64]

RESAMPLES = 1000
TOTALS = ("extent", "opacity", "brixia")


@dataclass(frozen=True)
class HeldOut:
    """Every scored radiograph by a network that has not seen its patient.

    Attributes:
        folds: int (n,), counted from 1.
        scores: see :meth:`Fitted.scores`.
        guesses: the same keys: the mean score of those that the fold learnt from.
    """

    folds: npt.NDArray[np.intp]
    scores: Mapping[str, Floats]
    guesses: Mapping[str, Floats]


def true_scores(scored: ScoredImages) -> dict[str, Floats]:
    """What readers say, as :meth:`Fitted.scores` has it; NaN where none does."""
    return {
        "extent": scored.extent,
        "opacity": scored.opacity,
        "brixia": scored.zones.sum(axis=1),
        "zone": scored.zones,
    }


def cross_validated(recipe: XraySeverityRecipe, material: Material, extra: FloatArray) -> HeldOut:
    """Leave each fold of patients out once."""
    scored, normals = material.scored, material.normals.of_training
    truth = true_scores(scored)
    folds = np.zeros(len(scored.known), dtype=np.intp)
    scores = {name: np.full_like(values, np.nan) for name, values in truth.items()}
    guesses = {name: np.full_like(values, np.nan) for name, values in truth.items()}
    for number, held in enumerate(dealt(scored.patients, recipe.folds, recipe.seed), start=1):
        fitted = fit_network(recipe, scored[~held], normals, extra)
        folds[held] = number
        for name, values in fitted.scores(scored.seen.straight[held]).items():
            scores[name][held] = values
            guesses[name][held] = np.nanmean(truth[name][~held], axis=0)
    return HeldOut(folds, scores, guesses)


def widths_of(recipe: XraySeverityRecipe, held: HeldOut, scored: ScoredImages) -> dict[str, Widths]:
    """The intervals' half widths: conformal (Vovk et al. 2005), by thirds of the score (Mondrian)."""
    return {
        name: _widths(recipe, name, held.scores[name], true) for name, true in true_scores(scored).items()
    }


def _widths(recipe: XraySeverityRecipe, name: str, scores: Floats, truth: Floats) -> Widths:
    """Half widths of one score; where too few are scored for thirds of it, the same for all, or the whole scale."""
    known = ~np.isnan(truth)
    given, errors = scores[known], np.abs(truth[known] - scores[known])
    thirds = np.unique(np.quantile(given, (1 / 3, 2 / 3)))
    for edges in (thirds[(thirds > given.min()) & (thirds <= given.max())], np.empty(0)):
        widths = _half_widths(errors, np.searchsorted(edges, given, side="right"), recipe.coverage)
        if np.isfinite(widths).all():
            return Widths(tuple(edges.tolist()), tuple(widths.tolist()))
    return Widths((), (MOST[name],))


def _half_widths(errors: Floats, bins: npt.NDArray[np.intp], coverage: float) -> Floats:
    """How far a score of each bin may be off; infinitely far where too few errors are known."""
    from crepes import ConformalRegressor  # brings pandas, and changes how warnings are shown

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that too few are known
        regressor = ConformalRegressor().fit(errors, bins=bins)
        known = np.unique(bins)
        ends = regressor.predict_int(np.zeros(len(known)), bins=known, confidence=coverage)
    return np.asarray(ends[:, 1], dtype=np.float64)


def scored_figures(recipe: XraySeverityRecipe, held: HeldOut, scored: ScoredImages) -> dict[str, Any]:
    """Score → mean absolute error, beside guessing and beside two readers; correlation; how often intervals hold."""
    return {name: _figures(recipe, name, held, scored, true) for name, true in true_scores(scored).items()}


def _figures(
    recipe: XraySeverityRecipe, name: str, held: HeldOut, scored: ScoredImages, true: Floats
) -> dict[str, Any]:
    known = ~np.isnan(true.reshape(len(true), -1)[:, 0])
    truth, scores, guesses = (values[known] for values in (true, held.scores[name], held.guesses[name]))
    inside, width = (values[known] for values in _intervals(recipe, name, held, scored, true))
    columns = {
        "mae": np.abs(truth - scores),
        "mae_of_mean": np.abs(truth - guesses),
        "coverage": inside,
        "width": width,
        "bias": scores - truth,
    }
    readers = _readers(scored, name)[known]
    means = {key: values.reshape(len(values), -1).mean(axis=1) for key, values in columns.items()}
    if not np.isnan(readers).all():
        means["mae_between_readers"] = readers

    def statistics(weights: Weights) -> Mapping[Hashable, Values]:
        figures: dict[Hashable, Values] = {}
        for key, values in means.items():
            seen = ~np.isnan(values)
            figures[key] = (weights[:, seen] @ values[seen]) / weights[:, seen].sum(axis=1)
        spread = truth.size // len(truth)
        figures["correlation"] = _correlation(
            np.repeat(weights, spread, axis=1), truth.ravel(), scores.ravel()
        )
        return figures

    patients = units([one.patient for one, has in zip(scored.known, known, strict=True) if has])
    found = estimates(statistics, patients, RESAMPLES, recipe.seed)
    return {
        "images": int(known.sum()),
        "patients": len(np.unique(patients)),
        **{str(key): estimate.plain() for key, estimate in found.items()},
    }


def _intervals(
    recipe: XraySeverityRecipe, name: str, held: HeldOut, scored: ScoredImages, truth: Floats
) -> tuple[Floats, Floats]:
    """Whether each true score lies in the interval that the other folds give, and how wide that is; as ``truth``."""
    inside, width = np.zeros_like(truth), np.zeros_like(truth)
    known = [tuple(index) for index in np.argwhere(~np.isnan(truth))]
    for fold in np.unique(held.folds):
        rest = held.folds != fold
        widths = _widths(recipe, name, held.scores[name][rest], truth[rest])
        for at in (at for at in known if not rest[at[0]]):
            estimate = widths.around(float(held.scores[name][at]), MOST[name])
            inside[at] = estimate.low - 1e-6 <= truth[at] <= estimate.high + 1e-6
            width[at] = estimate.high - estimate.low
    return inside, width


def _readers(scored: ScoredImages, name: str) -> Floats:
    """How far readers are apart, the mean over their pairs: (n,); NaN where fewer than two have scored this."""
    apart = np.full(len(scored.known), np.nan)
    if name not in ("brixia", "zone"):
        return apart
    for index, one in enumerate(scored.known):
        pairs = [
            np.subtract(first, second)
            for first, second in combinations(map(np.array, one.readers.values()), 2)
        ]
        if pairs:
            sums = [abs(pair.sum()) if name == "brixia" else np.abs(pair).mean() for pair in pairs]
            apart[index] = float(np.mean(sums))
    return apart


def _correlation(weights: Weights, first: Floats, second: Floats) -> Values:
    """Pearson's, of each resample."""
    total = weights.sum(axis=1)
    means = [(weights @ values) / total for values in (first, second)]
    both = (weights @ (first * second)) / total - means[0] * means[1]
    spreads = [
        (weights @ values**2) / total - mean**2 for values, mean in zip((first, second), means, strict=True)
    ]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(both / np.sqrt(spreads[0] * spreads[1]))


def normal_figures(recipe: XraySeverityRecipe, material: Material, extra: FloatArray) -> dict[str, Any]:
    """Hospital → mean scores of its radiographs without pneumonia, where the network knows it, and where it does not.

    ``left_out``: by a network that has learnt nothing from the hospital. ``known``: by the one that has, of those
    radiographs that it has not learnt from; None where it has learnt from none, or from all.
    """
    normals = material.normals
    whole = fit_network(recipe, material.scored, normals.of_training, extra)
    figures = {}
    for hospital in np.unique(normals.hospitals):
        there = normals.hospitals == hospital
        without = fit_network(recipe, material.scored, normals[~there].of_training, extra)
        unseen = there & ~normals.learnt
        is_known = unseen.any() and (there & normals.learnt).any()
        figures[str(hospital)] = {
            "left_out": _means(without.scores(normals.seen.straight[there]), recipe.seed),
            "known": _means(whole.scores(normals.seen.straight[unseen]), recipe.seed) if is_known else None,
        }
    return figures


def _means(scores: Mapping[str, Floats], seed: int) -> dict[str, Any]:
    count = len(scores["extent"])

    def statistics(weights: Weights) -> Mapping[Hashable, Values]:
        return {name: (weights @ scores[name]) / weights.sum(axis=1) for name in TOTALS}

    found = estimates(statistics, np.arange(count, dtype=np.intp), RESAMPLES, seed)
    return {"images": count, **{str(name): estimate.plain() for name, estimate in found.items()}}


def prediction_rows(held: HeldOut, scored: ScoredImages) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of ``predictions.csv``: estimates by networks that have not seen the patient, and the truth."""
    truth = true_scores(scored)
    columns = [
        *("file", "patient", "fold", *TOTALS),
        *ZONES,
        *(f"true_{name}" for name in TOTALS),
        *(f"true_{zone}" for zone in ZONES),
    ]
    rows: list[list[object]] = []
    for index, one in enumerate(scored.known):
        estimated = [*(held.scores[name][index] for name in TOTALS), *held.scores["zone"][index]]
        read = [*(truth[name][index] for name in TOTALS), *truth["zone"][index]]
        fold = int(held.folds[index])
        rows.append([one.file, one.patient, fold, *map(_text, estimated), *map(_text, read)])
    return columns, rows


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"
