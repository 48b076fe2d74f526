"""From which probability on an answer is reported: what the hospital that is worst off can bear.

Such a threshold of a class replaces the one for all classes (``Thresholds.confidence``). It may be lower: that one is
the least probability from which answers of all classes together are right often enough, this one the least at which no
hospital's images are too often reported wrongly as the class. A class that is rarely called wrongly keeps the limit
even when unsure answers are reported.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pulmoscope.core.classes import is_positive
from pulmoscope.core.types import BoolArray
from pulmoscope.datasets.hospitals import UNIDENTIFIED

FALSE_ALARMS = 0.05
"""Largest fraction of a hospital's negative images that are reported as a disease."""

CONFUSED = 0.25
"""Largest fraction of a hospital's images of other diseases that are reported as this one."""

MISSED = 0.09
"""Largest fraction of a hospital's images of diseases that are reported as negative."""

FEWEST = 20
"""A hospital with fewer images to be wrong about has its say only among all hospitals together."""

CANDIDATES = tuple(step / 100 for step in range(70, 100))
"""The thresholds that are tried, from the lowest: where few hospitals can be wrong, few wrong answers are seen."""


def class_thresholds(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, hospitals: Sequence[str], classes: Sequence[str]
) -> dict[str, float]:
    """The lowest threshold of each class at which no hospital has too many wrong reports of it.

    They take the place of a single ``confidence``, which asks how often all reported answers are right together, and so
    lets the largest collection decide. Images whose hospital nobody knows are left out: in such collections the label
    is often a test's, and the image need not show it.

    Args:
        probabilities: (images, classes), calibrated, of validation images.
        labels: (images,) class numbers.
        hospitals: of each image.
        classes: their names, in order of the columns.

    Returns:
        Class → threshold; the highest candidate where none keeps the limits.
    """
    identified = np.array([name != UNIDENTIFIED for name in hospitals], dtype=bool)
    values = np.asarray(probabilities, dtype=np.float64)[identified]
    truth, names = np.asarray(labels, dtype=np.intp)[identified], np.asarray(hospitals)[identified]
    called, sure = values.argmax(axis=1), values.max(axis=1)
    positive = np.array([is_positive(name) for name in classes], dtype=bool)
    thresholds = {}
    for number, name in enumerate(classes):
        ill = positive[truth] & (truth != number)
        limits = ((~positive[truth], FALSE_ALARMS), (ill, CONFUSED)) if positive[number] else ((ill, MISSED),)
        groups = [(group, limit) for chosen, limit in limits for group in _groups(names, chosen)]
        for candidate in CANDIDATES:
            reported = (called == number) & (sure >= candidate)
            if all(reported[group].mean() <= limit for group, limit in groups):
                break
        thresholds[name] = candidate
    return thresholds


def _groups(hospitals: npt.NDArray[np.str_], counted: BoolArray) -> list[npt.NDArray[np.intp]]:
    """The counted images of each hospital that has enough of them, and those of all together."""
    groups = [np.flatnonzero(counted & (hospitals == name)) for name in sorted(set(hospitals))]
    return [
        group for group in [*groups, np.flatnonzero(counted)] if len(group) >= min(FEWEST, counted.sum()) > 0
    ]
