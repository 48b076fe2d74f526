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

FALSE_ALARMS = 0.03
"""Largest share of a hospital's images that are reported as a disease that they don't show."""

MISSED = 0.08
"""Largest share of a hospital's images of diseases that are reported as negative."""

FEWEST = 20
"""A hospital with fewer images to be wrong about does not count alone; all such count together."""

CANDIDATES = tuple(step / 100 for step in range(35, 100))
"""The thresholds that are tried, from the lowest."""


def class_thresholds(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, hospitals: Sequence[str], classes: Sequence[str]
) -> dict[str, float]:
    """The lowest threshold of each class at which no hospital has too many wrong reports of it.

    Args:
        probabilities: (images, classes), calibrated, of validation images.
        labels: (images,) class numbers.
        hospitals: of each image.
        classes: their names, in order of the columns.

    Returns:
        Class → threshold; the highest candidate where none keeps the limit.
    """
    shares, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.intp)
    called, sure = shares.argmax(axis=1), shares.max(axis=1)
    found = {}
    for number, name in enumerate(classes):
        others = truth != number
        if not is_positive(name):  # one negative class is not wrong about another
            others &= np.array([is_positive(classes[own]) for own in truth], dtype=bool)
        limit = FALSE_ALARMS if is_positive(name) else MISSED
        groups = _groups(hospitals, others)
        for candidate in CANDIDATES:
            reported = (called == number) & (sure >= candidate)
            if all(reported[group].mean() <= limit for group in groups):
                break
        found[name] = candidate
    return found


def _groups(hospitals: Sequence[str], counted: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.intp]]:
    """The counted images of each hospital that has enough of them; those of all others together."""
    names = np.asarray(hospitals)
    groups = [np.flatnonzero(counted & (names == name)) for name in sorted(set(hospitals))]
    large = [group for group in groups if len(group) >= FEWEST]
    small = [group for group in groups if 0 < len(group) < FEWEST]
    return [*large, np.concatenate(small)] if small else large
