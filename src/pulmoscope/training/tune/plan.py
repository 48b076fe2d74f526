"""What a search tries: every point of a recipe's grid, or points that Optuna's TPE sampler proposes."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optuna import distributions, pruners, samplers

from pulmoscope.core.errors import RecipeError
from pulmoscope.recipes import rules, settings
from pulmoscope.recipes.recipe import Named

Value = float | int | str
Point = Mapping[str, Value]

TRIALS = 20
"""Trials of TPE where nobody says how many."""
ETA = 3
"""ASHA lets one of so many trials go on."""


@dataclass(frozen=True)
class Search:
    """How settings are searched.

    Attributes:
        sampler: ``grid``: every combination; ``tpe``: Optuna's tree-structured Parzen estimator.
        trials: of ``tpe``; None: :data:`TRIALS`.
        ranges: of ``tpe``, ``key=low:high`` or ``key=low:high:log``; other settings of the grid keep its values.
        pruner: stops trials whose validation figure lags behind: ``median``, ``hyperband``, ``asha`` or ``none``.
    """

    sampler: Literal["grid", "tpe"] = "grid"
    trials: int | None = None
    ranges: tuple[str, ...] = ()
    pruner: Literal["none", "median", "hyperband", "asha"] = "none"


@dataclass(frozen=True)
class Plan:
    """A search over one recipe, checked.

    Attributes:
        space: dotted setting → where its values come from.
        trials: how many there are.
        epochs: how many of a trial report a validation figure, at most.
        seed: decides what TPE proposes, together with a trial's number.
    """

    search: Search
    space: Mapping[str, distributions.BaseDistribution]
    trials: int
    epochs: int
    seed: int

    def points(self) -> list[Point]:
        """Every combination, the last setting changing fastest; of ranges, their two ends.

        With ASHA their order is drawn by the seed: in a sorted one each might be better than all before, and go on.
        """
        values = [_values(distribution) for distribution in self.space.values()]
        points: list[Point] = [
            dict(zip(self.space, chosen, strict=True)) for chosen in itertools.product(*values)
        ]
        return (
            random.Random(self.seed).sample(points, len(points)) if self.search.pruner == "asha" else points
        )

    def sampler(self, number: int) -> samplers.BaseSampler:
        """What proposes this trial; seeded by its number, so that a search that was killed goes on as it would have."""
        if self.search.sampler == "grid":
            return samplers.RandomSampler()  # is never asked: every point of the grid is given
        return samplers.TPESampler(seed=self.seed + number)

    def pruner(self) -> pruners.BasePruner:
        """What stops trials.

        The median is looked at from a fifth of the epochs on, when five trials are done. ASHA (Li et al., MLSys 2020,
        algorithm 2, in the variant that stops trials) lets the better third of the trials that got there go on
        after a ninth and after a third of the epochs.
        """
        if self.search.pruner == "median":
            return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=self.epochs // 5)
        if self.search.pruner == "hyperband":
            return pruners.HyperbandPruner(max_resource=self.epochs)
        if self.search.pruner == "asha":
            first = max(1, self.epochs // ETA**2)
            return pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=ETA)
        return pruners.NopPruner()

    def plain(self) -> dict[str, Any]:
        """As data that JSON holds."""
        return {
            "sampler": self.search.sampler,
            "pruner": self.search.pruner,
            "space": {
                name: list(distribution.choices)
                if isinstance(distribution, distributions.CategoricalDistribution)
                else {key: vars(distribution)[key] for key in ("low", "high", "log")}
                for name, distribution in self.space.items()
            },
        }


def tunable(recipe: Named) -> Named:
    """The recipe, if its settings can be compared.

    Raises:
        RecipeError: they can't.
    """
    if recipe.untunable:
        raise RecipeError(f"{recipe.name}: can't be tuned: {recipe.untunable}")
    return recipe


def plan_of(recipe: Named, search: Search) -> Plan:
    """Check a search over a recipe, before any data are read.

    Args:
        recipe: as trials train it (:meth:`~pulmoscope.recipes.recipe.Named.shortened`).

    Raises:
        RecipeError: there is nothing to search, a range makes no sense, or trials can't be pruned.
    """
    grid = recipe.grid
    ranges = dict(_range(recipe, text) for text in search.ranges)
    if search.sampler == "grid" and (ranges or search.trials is not None):
        raise RecipeError("--range, --trials: need --sampler tpe; of a grid every point is tried")
    if not grid and not ranges:
        raise RecipeError(f"{recipe.name}: has no grid to tune; give --sampler tpe and ranges")
    epochs = recipe.reported_epochs
    if search.pruner != "none" and not epochs:
        raise RecipeError(
            f"{recipe.name}: --pruner can't be given: what is held out is predicted when all is trained, so no "
            "epoch has a figure to stop a trial by"
        )
    space = {name: distributions.CategoricalDistribution(values) for name, values in grid.items()} | ranges
    points = math.prod(len(values) for values in grid.values())
    trials = points if search.sampler == "grid" else search.trials or TRIALS
    return Plan(search, space, trials, epochs, recipe.seed)


def as_settings(point: Point) -> list[str]:
    """A point as ``train --set`` takes it."""
    return [f"{name}={value}" for name, value in point.items()]


def _values(distribution: distributions.BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, distributions.CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, distributions.FloatDistribution | distributions.IntDistribution)
    return distribution.low, distribution.high


def _range(recipe: Named, text: str) -> tuple[str, distributions.BaseDistribution]:
    """The setting and the values that ``key=low:high[:log]`` means."""
    name, _, span = text.partition("=")
    begin, _, rest = span.partition(":")
    end, _, scale = rest.partition(":")
    if not (name and begin and end) or scale not in ("", "log"):
        raise RecipeError(f"--range {text}: must be of the form key=low:high or key=low:high:log")
    low, high = (_number(recipe, name, bound, text) for bound in (begin, end))
    if not low < high or (scale and not low > 0):
        raise RecipeError(f"--range {text}: must begin below its end, and with log above 0")
    if all(isinstance(end, int) for end in (low, high)):
        return name, distributions.IntDistribution(int(low), int(high), log=bool(scale))
    return name, distributions.FloatDistribution(low, high, log=bool(scale))


def _number(recipe: Named, name: str, text: str, whole: str) -> float:
    """What a setting is when this text is given for it."""
    changed = settings.apply(recipe, [f"{name}={text}"])
    rules.check(changed)
    plain = settings.to_plain(changed)
    value = {**dict(settings.leaves(plain)), **dict(settings.leaves(plain, numbered=True))}[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RecipeError(f"--range {whole}: {name} must be a number")
    return value
