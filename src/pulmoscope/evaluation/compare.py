"""Two systems that were asked about the same patients: what they differ by, and how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray
from pulmoscope.evaluation.bootstrap import Estimate, Values, Weights, estimates, units
from pulmoscope.evaluation.delong import DeLong, delong
from pulmoscope.evaluation.exact import paired_interval
from pulmoscope.evaluation.metrics import PAIR, SCORES, Predictions, Statistics, pairwise

COMPARED = ("macro_auroc", "accuracy", "balanced_accuracy", "mcc")
"""Figures over all classes that are compared."""

COMPARED_BY_CLASS = ("sensitivity", "auroc")

Figure = tuple[str, str]
"""A class (empty: over all classes) and the name of a figure."""


@dataclass(frozen=True)
class Compared:
    """A figure of both systems, and what the first has more of it than the second, with its interval."""

    first: float | None
    second: float | None
    difference: Estimate

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"first": self.first, "second": self.second, "difference": self.difference.plain()}


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test (Psychometrika 1947) of two systems' answers to the same patients.

    A patient with several images counts once, for the system that called more of them rightly: the images of one
    patient are not independent.

    Attributes:
        first_only, second_only: patients whom only (or mostly) the one system called rightly.
        p_value: two-sided, how likely so unequal counts are where both systems are equally often right.
    """

    first_only: int
    second_only: int
    p_value: float


@dataclass(frozen=True)
class Comparison:
    """Two systems over the same images.

    Attributes:
        images, units: how many were counted, and how many patients (images, where unknown) resamples draw.
        several: patients with more than one image. Where there is one, DeLong's test, which takes all images for
            independent, claims too much.
        figures: by class and name, see :data:`COMPARED` and :data:`COMPARED_BY_CLASS`.
        delong: by class, of its AUROC against the rest; None where a class has fewer than two images, or all but one.
    """

    images: int
    units: int
    several: int
    figures: Mapping[Figure, Compared]
    delong: Mapping[str, DeLong | None]
    mcnemar: McNemar


def compare(one: Predictions, other: Predictions, bootstrap: int = 1000, seed: int = 20) -> Comparison:
    """Compare two systems' answers to the same images.

    Every resample draws patients, and for both systems the same ones. Images whose label is no class are left out.

    Args:
        one, other: the same files in the same order, with the same labels, patients and classes.
        bootstrap, seed: as for :func:`pulmoscope.evaluation.metrics.evaluate`.

    Raises:
        ValueError: files, labels, patients or classes differ, or no image has a label among the classes.
    """
    same = ("files", "labels", "patients", "classes")
    differing = [name for name in same if getattr(one, name) != getattr(other, name)]
    if differing:
        raise ValueError(f"the two systems differ in {', '.join(differing)}")
    one, other = (one_model.select(one_model.truth >= 0) for one_model in (one, other))
    if not len(one):
        raise ValueError("no image has a label among the classes")
    unit_of_image = units(one.patients)
    first, second = Statistics(one), Statistics(other)
    names: list[Figure] = [("", name) for name in COMPARED]
    names += [(label, name) for label in one.classes for name in COMPARED_BY_CLASS]
    gaps = _gaps(first, second, np.tile(unit_of_image, 2), len(one), names, bootstrap, seed)
    whole = np.ones((1, len(one)))
    values = [score(whole) for score in (first, second)]
    trials = first.trials(unit_of_image)
    figures = {
        name: Compared(
            _value(values[0][name]),
            _value(values[1][name]),
            _with_interval(gaps[name], trials.get(name, ())),
        )
        for name in names
    }
    right = [one_model.truth == one_model.probabilities.argmax(axis=1) for one_model in (one, other)]
    return Comparison(
        images=len(one),
        units=int(unit_of_image.max()) + 1,
        several=int((np.bincount(unit_of_image) > 1).sum()),
        figures=figures,
        delong={
            label: delong(one.probabilities[:, column], other.probabilities[:, column], one.truth == column)
            for column, label in enumerate(one.classes)
        },
        mcnemar=mcnemar(right[0], right[1], unit_of_image),
    )


def common_classes(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    """The classes over which two systems can be compared: all, where they have the same, else COVID and Normal.

    Where the classes differ, a probability of one system says something else than that of the other, as it is shared
    out among other rivals. Of a pair, made to sum to 1, both say the same.

    Raises:
        ValueError: the classes differ, and not both systems have the pair.
    """
    if set(one) == set(other):
        return tuple(one)
    if not set(PAIR) <= set(one) & set(other):
        found = " against ".join(", ".join(sorted(classes)) for classes in (one, other))
        raise ValueError(f"neither the same classes nor {' and '.join(PAIR)} in both: {found}")
    return PAIR


def in_common(one: Predictions, other: Predictions) -> tuple[Predictions, Predictions]:
    """Two systems' answers over :func:`common_classes`, in one order (errors: as there)."""
    classes = common_classes(one.classes, other.classes)
    if set(classes) < set(one.classes) | set(other.classes):
        return pairwise(one, *PAIR), pairwise(other, *PAIR)
    columns = [other.classes.index(name) for name in classes]
    return one, replace(other, classes=classes, probabilities=other.probabilities[:, columns], logits=None)


def difference(
    one: Predictions, other: Predictions, score: str, bootstrap: int = 1000, seed: int = 20
) -> Estimate:
    """What two systems differ by, asked about the same patients: a score of ``one`` less that of ``other``.

    Every resample draws patients, and for both systems the same ones; their images may be others. Images whose label is
    no class of the model are left out, as in :func:`pulmoscope.evaluation.metrics.evaluate`.

    Args:
        one, other: with the name of every patient.
        score: of ``SCORES``.
        bootstrap, seed: as for :func:`pulmoscope.evaluation.metrics.evaluate`.

    Raises:
        ValueError: the patients are not the same, or there is no such score.
    """
    if score not in SCORES:
        raise ValueError(f"a score is one of {', '.join(SCORES)} (found: {score})")
    one, other = (one_model.select(one_model.truth >= 0) for one_model in (one, other))
    if set(one.patients) != set(other.patients) or not all(one.patients):
        raise ValueError("both systems must have been asked about the same patients, by name")
    resampled = units([*one.patients, *other.patients])
    name = ("", score)
    return _gaps(Statistics(one), Statistics(other), resampled, len(one), [name], bootstrap, seed)[name]


def mcnemar(first: BoolArray, second: BoolArray, unit_of_image: npt.NDArray[np.intp]) -> McNemar:
    """The test from which images (images,) each system called rightly, and whose they are."""
    lead = np.bincount(unit_of_image, weights=first.astype(float) - second.astype(float))
    one, other = int((lead > 0).sum()), int((lead < 0).sum())
    count = one + other
    tail = sum(comb(count, number) for number in range(min(one, other) + 1))
    return McNemar(one, other, min(1.0, 2 * tail / 2**count))


def _gaps(
    first: Statistics,
    second: Statistics,
    unit_of_image: npt.NDArray[np.intp],
    size: int,
    names: Sequence[Figure],
    bootstrap: int,
    seed: int,
) -> dict[Any, Estimate]:
    """Differences; ``unit_of_image`` is of the first system's ``size`` images and then of the second's."""

    def gap(weights: Weights) -> dict[Any, Values]:
        one, other = first(weights[:, :size]), second(weights[:, size:])
        return {name: one[name] - other[name] for name in names}

    return estimates(gap, unit_of_image, bootstrap, seed)


def _with_interval(gap: Estimate, trials: Sequence[int]) -> Estimate:
    """A difference with its exact interval, where all resamples are alike and the bootstrap has none."""
    if gap.value is None or gap.low is not None or not gap.usable:
        return gap
    low, high = paired_interval(gap.value, trials) or (None, None)
    return Estimate(gap.value, low, high, gap.usable)


def _value(values: Values) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])
