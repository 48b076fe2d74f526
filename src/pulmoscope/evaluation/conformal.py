"""Sets of classes with a stated coverage: conformal prediction by class and by hospital.

An image's set holds every class that can't be ruled out. Of new images like those that the sets were fitted on, at
least the stated fraction has its class in its set, whatever the model is worth (Vovk, Gammerman and Shafer,
«Algorithmic Learning in a Random World», 2005, section 2.2); a poor model has large sets. An image and a class fit the
worse, the lower the class's probability: non-conformity is ``1 - p`` (hinge; Johansson et al., IJCNN 2017).

Fitted within categories (Mondrian, section 4.5 there) the coverage holds in each of them. A class with
:data:`FEWEST` images or more is a category of its own. The rarer ones are one category together, which takes in the
next rarer class until it has as many images; its coverage is that of all its images, and may be lower for a rare class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray
from pulmoscope.datasets.hospitals import UNIDENTIFIED
from pulmoscope.evaluation.bootstrap import Estimate, Values, Weights, estimates, units
from pulmoscope.evaluation.exact import unit_count
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.runtime.bundle import Conformal

COVERAGE = 0.9
"""Fraction of images whose class is in their set."""

FEWEST = 50
"""Images from which on a class, or a hospital, is a category of its own."""

LEAST = 25
"""Images without which no sets are fitted: with fewer, nothing can be ruled out, or hardly anything."""

_DIGITS = 6
"""Of a threshold, which is rounded down: a diagnosis states probabilities to as many."""


def fit_conformal(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    hospitals: Sequence[str],
    classes: Sequence[str],
    fitted_on: str,
    coverage: float = COVERAGE,
) -> Conformal | None:
    """Fit the sets on labelled images that training has not seen (with crepes; Boström, COPA 2022).

    The least probability of a category is the one that the fraction ``coverage`` of its ``n`` images reaches for their
    own class: the ``⌈(n + 1) · coverage⌉``-th of them from the highest.

    Args:
        probabilities: (images, classes), calibrated.
        labels: (images,) class numbers.
        hospitals: of each image; those with :data:`FEWEST` images and more get thresholds of their own, too.
        classes: their names, in order of the columns.
        fitted_on: the images, in words.

    Returns:
        None where there are fewer than :data:`LEAST` images.
    """
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.intp)
    if len(truth) < LEAST:
        return None
    names = np.asarray(hospitals)
    known = [str(name) for name in np.unique(names) if name not in ("", UNIDENTIFIED)]
    fits = {
        hospital: _least(values[names == hospital], truth[names == hospital], classes, coverage)
        for hospital in known
        if (names == hospital).sum() >= FEWEST
    }
    images = {name: int((truth == number).sum()) for number, name in enumerate(classes)}
    return Conformal(coverage, _least(values, truth, classes, coverage), fits, images, fitted_on)


def _least(
    values: npt.NDArray[np.float64], truth: npt.NDArray[np.intp], classes: Sequence[str], coverage: float
) -> dict[str, float]:
    """Class → the least probability of its category."""
    from crepes import ConformalClassifier  # brings pandas: half a second, and only fitting needs it

    category = _categories(np.bincount(truth, minlength=len(classes)))
    strange = 1 - values[np.arange(len(truth)), truth]
    own = category[truth]
    fitted = ConformalClassifier().fit(strange, bins=own)
    # What can be the limit is an image's own value; where even 1 is in the set, nothing is ruled out.
    candidates = [np.append(np.unique(strange[own == number]), 1.0) for number in np.unique(category)]
    bins = np.repeat(np.unique(category), [len(part) for part in candidates])
    asked = np.concatenate(candidates)
    inside = fitted.predict_set(asked[:, None], bins=bins, confidence=coverage, smoothing=False)[:, 0] == 1
    scale = 10**_DIGITS
    limits = {
        number: float(np.floor((1 - asked[inside & (bins == number)].max()) * scale) / scale)
        for number in np.unique(category)
    }
    return {name: max(limits[number], 0.0) for name, number in zip(classes, category, strict=True)}


def _categories(counts: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The number of each class's category, from how many images each has."""
    order = np.argsort(counts, kind="stable")
    rare = int((counts < FEWEST).sum())
    while 0 < rare < len(counts) and counts[order[:rare]].sum() < FEWEST:
        rare += 1
    category = np.arange(len(counts))
    category[order[:rare]] = len(counts)
    return category


def in_sets(predictions: Predictions, conformal: Conformal, hospital: str = "") -> BoolArray:
    """Which classes are in each image's set, (images, classes).

    Args:
        hospital: that the images are of, where its own thresholds are asked for.
    """
    least = conformal.by_hospital.get(hospital, conformal.by_class)
    return np.asarray(predictions.probabilities >= np.array([least[name] for name in predictions.classes]))


def set_figures(
    predictions: Predictions, conformal: Conformal, bootstrap: int = 1000, seed: int = 20
) -> dict[str, Any]:
    """Whether the sets hold what they promise, and how much they say: ready for JSON.

    Gives ``coverage`` as stated and, each with ``images`` and intervals, ``overall``, ``by_class`` and ``by_hospital``:
    ``coverage`` (fraction of the images whose class is in their set), ``size`` (classes in a set, on average),
    ``singletons`` (fraction of sets of one class) and ``empty``. A hospital whose images the sets were fitted on, too,
    has ``coverage_if_known``: by its own thresholds, which a diagnosis can't use.

    Args:
        predictions: of labels that the model knows, at least one image.
        bootstrap, seed: as for :func:`pulmoscope.evaluation.metrics.evaluate`.
    """
    origins = np.array(predictions.hospitals or predictions.sources)
    groups: dict[tuple[str, str], BoolArray] = {("overall", ""): np.ones(len(predictions), dtype=bool)}
    for number, name in enumerate(predictions.classes):
        groups["by_class", name] = predictions.truth == number
    for name in np.unique(origins):
        groups["by_hospital", str(name)] = origins == name
    groups = {key: members for key, members in groups.items() if members.any()}
    figures = _figures(predictions, conformal, groups, bootstrap, seed)
    plain: dict[str, Any] = {"coverage": conformal.coverage, "by_class": {}, "by_hospital": {}}
    for (part, name), members in groups.items():
        row = {"images": int(members.sum())} | {
            figure: value.plain()
            for (of_part, of_name, figure), value in figures.items()
            if (of_part, of_name) == (part, name)
        }
        if part == "overall":
            plain[part] = row
        else:
            plain[part][name] = row
    return plain


def _figures(
    predictions: Predictions,
    conformal: Conformal,
    groups: dict[tuple[str, str], BoolArray],
    bootstrap: int,
    seed: int,
) -> dict[Any, Estimate]:
    """(Part, name, figure) → the figure of a group's images."""
    rows, truth = np.arange(len(predictions)), predictions.truth
    sets = in_sets(predictions, conformal)
    size = sets.sum(axis=1)
    values = {"coverage": sets[rows, truth], "size": size, "singletons": size == 1, "empty": size == 0}
    asked = {
        (*group, name): (members, value)
        for group, members in groups.items()
        for name, value in values.items()
    }
    for (part, hospital), members in groups.items():
        if part == "by_hospital" and hospital in conformal.by_hospital:
            known = in_sets(predictions, conformal, hospital)[rows, truth]
            asked[part, hospital, "coverage_if_known"] = members, known

    def means(weights: Weights) -> dict[Any, Values]:
        results = {}
        for key, (members, value) in asked.items():
            total = weights @ members
            results[key] = np.divide(
                weights @ (members * value), total, out=np.full_like(total, np.nan), where=total > 0
            )
        return results

    unit_of_image = units(predictions.patients)
    trials = {
        key: [unit_count(unit_of_image, members)] for key, (members, _) in asked.items() if key[2] != "size"
    }
    return estimates(means, unit_of_image, bootstrap, seed, trials)
