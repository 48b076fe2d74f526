"""The light network fitted: two linear layers by regression, then thresholds below which a score is 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression, Ridge

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.types import FloatArray
from pulmoscope.core.xray_severity import MOST_EXTENT, MOST_OPACITY, MOST_ZONE
from pulmoscope.recipes.published.xray_severity import XraySeverityRecipe
from pulmoscope.runtime.xray_severity import Hinge, linear
from pulmoscope.training.xray_severity.images import Cells, Normals, ScoredImages, Zones

Floats = npt.NDArray[np.float64]

_MAP_C = 1e-3
"""Inverse penalty of the map's logistic regression."""
_THRESHOLDS = 80
"""So many thresholds are tried."""


@dataclass(frozen=True)
class Fitted:
    """A fitted network (see :mod:`pulmoscope.runtime.xray_severity`)."""

    zone_weights: FloatArray
    zone: Hinge
    extent: Hinge
    opacity: Hinge

    def scores(self, straight: FloatArray) -> dict[str, Floats]:
        """``extent``, ``opacity``, ``brixia`` (n,) and ``zone`` (n, 6), of zones' features (n, 6, channels)."""
        raw = _raw(self.zone_weights, straight)
        zones = np.minimum(self.zone(raw), MOST_ZONE)
        total = raw.sum(axis=1)
        return {
            "extent": np.clip(self.extent(total), 0, MOST_EXTENT).astype(np.float64),
            "opacity": np.clip(self.opacity(total), 0, MOST_OPACITY).astype(np.float64),
            "brixia": zones.sum(axis=1).astype(np.float64),
            "zone": zones.astype(np.float64),
        }


def fit_map(cells: Cells, channels: int) -> FloatArray:
    """The layer that gives each cell the probability of an opacity: float32 (channels + 1,).

    Logistic regression on the fraction of a cell that lies in readers' boxes. All 0, where there are no boxes, or
    nothing beside them.
    """
    if not cells.images or not 0 < cells.covered.mean() < 1:
        return np.zeros(channels + 1, dtype=np.float32)
    mean = cells.features.mean(axis=0)
    features = np.concatenate([cells.features - mean] * 2)
    answers = np.repeat((1, 0), len(cells.covered))
    weights = np.concatenate([cells.covered, 1 - cells.covered])
    used = weights > 0
    fitted = LogisticRegression(C=_MAP_C, max_iter=300).fit(features[used], answers[used], weights[used])
    direction = fitted.coef_[0]
    return np.append(direction, fitted.intercept_[0] - mean @ direction).astype(np.float32)


def map_feature(recipe: XraySeverityRecipe, layer: FloatArray, cells: Cells) -> FloatArray:
    """The map as one more feature of a zone, so large that the penalty hardly touches it: float32 (channels + 1,)."""
    if not layer.any() or not recipe.map_factor:
        return np.zeros_like(layer)
    return np.asarray(layer * np.float32(recipe.map_factor / linear(layer, cells.features).std()))


def fit_network(
    recipe: XraySeverityRecipe, scored: ScoredImages, normals: Normals, extra: FloatArray
) -> Fitted:
    """Fit the zones' layer on all of these, and thresholds on what layers say that have not seen the patient.

    Args:
        extra: see :func:`map_feature`.

    Raises:
        DatasetError: nobody scored zones, or extents, or opacities.
    """
    has_zones = ~np.isnan(scored.zones[:, 0])
    for name, column in (
        ("zones", scored.zones[:, 0]),
        ("extent", scored.extent),
        ("opacity", scored.opacity),
    ):
        if np.isnan(column).all():
            raise DatasetError(
                f"scores.csv: no radiograph has {name}; zones, extent and opacity are all needed"
            )
    raw = np.zeros((len(scored.known), 6))
    raw_normal = np.zeros((len(normals.hospitals), 6))
    split_normals = dealt(np.arange(len(normals.hospitals)), recipe.folds, recipe.seed)
    for held, held_normals in zip(
        dealt(scored.patients, recipe.folds, recipe.seed + 1), split_normals, strict=True
    ):
        layer = _zone_layer(recipe, scored[~held & has_zones], normals[~held_normals], extra)
        raw[held] = _raw(layer, scored.seen.straight[held])
        raw_normal[held_normals] = _raw(layer, normals.seen.straight[held_normals])

    def hinge(inputs: Floats, scores: Floats, healthy: Floats) -> Hinge:
        known = ~np.isnan(scores)
        repeats = len(healthy) // max(1, len(normals.hospitals))
        weights = np.repeat(
            _evenly(normals.hospitals, recipe.normal_scores * known.sum()) / max(1, repeats), repeats
        )
        return _hinge(
            np.concatenate([inputs[known], healthy]),
            np.concatenate([scores[known], np.zeros(len(healthy))]),
            np.concatenate([np.ones(known.sum()), weights]),
        )

    total, total_normal = raw.sum(axis=1), raw_normal.sum(axis=1)
    return Fitted(
        _zone_layer(recipe, scored[has_zones], normals, extra),
        hinge(raw.ravel(), scored.zones.ravel(), raw_normal.ravel()),
        hinge(total, scored.extent, total_normal),
        hinge(total, scored.opacity, total_normal),
    )


def dealt(groups: npt.NDArray[np.generic], folds: int, seed: int) -> Iterator[npt.NDArray[np.bool_]]:
    """Folds in which all of a group are together: for each, bool (n,), what it holds out."""
    names, members = np.unique(groups, return_inverse=True)
    fold_of = np.random.default_rng(seed).permutation(len(names)) % folds
    for fold in range(folds):
        yield fold_of[members] == fold


def _zone_layer(
    recipe: XraySeverityRecipe, scored: ScoredImages, normals: Normals, extra: FloatArray
) -> FloatArray:
    """Ridge regression of a zone's score on its features: float32 (channels + 1,)."""
    views = ("straight", "mirrored") if recipe.mirrored else ("straight",)
    features = [_zone_rows(seen, view) for seen in (scored.seen, normals.seen) for view in views]
    targets = [*([scored.zones.ravel()] * len(views)), *([np.zeros(normals.hospitals.size * 6)] * len(views))]
    healthy = np.repeat(_evenly(normals.hospitals, recipe.normals * len(scored.known)), 6)
    weights = [*([np.ones(scored.zones.size)] * len(views)), *([healthy] * len(views))]
    inputs = np.concatenate(features)
    mean = inputs.mean(axis=0)
    widened = np.column_stack([inputs - mean, (inputs - mean) @ extra[:-1]])
    ridge = Ridge(recipe.penalty * len(views), solver="cholesky")
    ridge.fit(widened, np.concatenate(targets).astype(np.float32), np.concatenate(weights).astype(np.float32))
    direction = ridge.coef_[:-1] + ridge.coef_[-1] * extra[:-1]
    return np.append(direction, ridge.intercept_ - mean @ direction).astype(np.float32)


def _zone_rows(seen: Zones, view: str) -> FloatArray:
    zones: FloatArray = getattr(seen, view)
    return zones.reshape(-1, zones.shape[-1])


def _raw(layer: FloatArray, zones: FloatArray) -> Floats:
    """Raw scores (n, 6) of zones' features (n, 6, channels)."""
    return linear(layer, zones.reshape(-1, zones.shape[-1])).reshape(-1, 6).astype(np.float64)


def _evenly(hospitals: npt.NDArray[np.str_], total: float) -> Floats:
    """Weights that sum to ``total``, as much for each hospital."""
    names, members, counts = np.unique(hospitals, return_inverse=True, return_counts=True)
    return np.asarray(total / max(1, len(names)) / counts[members], dtype=np.float64)


def _hinge(inputs: Floats, scores: Floats, weights: Floats) -> Hinge:
    """The slope and threshold of least squared error."""
    best = (np.inf, 0.0, 0.0)
    for threshold in np.quantile(inputs, np.linspace(0.02, 0.9, _THRESHOLDS)):
        over = np.maximum(0, inputs - threshold)
        if not (squares := float((weights * over * over).sum())):
            continue
        slope = float((weights * over * scores).sum()) / squares
        error = float((weights * (scores - slope * over) ** 2).sum())
        best = min(best, (error, slope, float(threshold)))
    return Hinge(best[1], best[2])
