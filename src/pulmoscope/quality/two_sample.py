"""Are the images of two places of one distribution? Energy distance, permuted within classes.

Székely & Rizzo, «Energy statistics: a class of statistics based on distances», J. Stat. Plan. Inference 143 (2013):
twice the mean distance between the two, less the mean distances within each. One side's images are re-weighted to the
other's mix of classes, so that the classes' prevalence does not count (Lipton et al., «Detecting and Correcting for
Label Shift with Black Box Predictors», ICML 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, FloatArray

Indices = npt.NDArray[np.int64]

LEAST_OF_CLASS = 10
"""Images of a class that a hospital must have to vouch for it."""
LEAST_COMPARABLE = 2 / 3
"""Fraction of a place's images whose class a hospital must know to be compared with it."""
DRAWS = 499
"""Permutations of a test."""


@dataclass(frozen=True)
class TwoSampleTest:
    """A place's images (n of them) beside a hospital's (m).

    Attributes:
        apart: (n + m, n + m), distances between all of them, the place's first.
        classes: (n + m,), of each.
        place: bool (n + m,), which are the place's.
        weight: (n + m,), what an image weighs if it is counted as the hospital's; all of a class weigh the same.
        used: bool, of all of the hospital's images which are among the m: those of classes that the place has, too.
    """

    apart: FloatArray
    classes: Indices
    place: BoolArray
    weight: FloatArray
    used: BoolArray

    @classmethod
    def of(
        cls, points: FloatArray, classes: Indices, known: FloatArray, known_classes: Indices
    ) -> TwoSampleTest | None:
        """Compare the images of those classes that the hospital can vouch for; None: these are too few of the place's.

        Args:
            points: the place's images, (images, dimensions).
            classes: of each of them, as an index.
            known, known_classes: the same of the hospital's images.
        """
        enough = np.bincount(known_classes, minlength=int(classes.max()) + 1) >= LEAST_OF_CLASS
        comparable = enough[classes]
        if comparable.mean() < LEAST_COMPARABLE:
            return None
        points, classes = points[comparable], classes[comparable]
        used = np.isin(known_classes, classes)
        both = np.concatenate([classes, known_classes[used]])
        place = np.arange(len(both)) < len(classes)
        ours, theirs = np.bincount(classes), np.bincount(both[~place])
        weight = ours[both] / len(classes) / theirs[both]
        return cls(_distances(np.concatenate([points, known[used]])), both, place, weight, used)

    @property
    def distance(self) -> float:
        """The energy distance, without bias: about 0 for images of one distribution."""
        return float(self._energy(self.place[None])[0])

    @property
    def weights(self) -> FloatArray:
        """What each of the hospital's images weighs, also of those that are not compared; together 1."""
        weights = np.zeros(len(self.used), dtype=self.weight.dtype)
        weights[self.used] = self.weight[~self.place]
        return weights

    def chance(self, rng: np.random.Generator) -> float:
        """How often permuting place and hospital within the classes gives at least this distance."""
        shuffled = np.repeat(self.place[None], DRAWS, axis=0)
        for label in np.unique(self.classes):
            own = np.flatnonzero(self.classes == label)
            shuffled[:, own] = rng.permuted(shuffled[:, own], axis=1)
        return float((1 + (self._energy(shuffled) >= self.distance).sum()) / (1 + DRAWS))

    def _energy(self, place: BoolArray) -> FloatArray:
        """The distance under each division, bool (divisions, n + m), of the images into place and hospital."""
        ours = place / place.sum(axis=1, keepdims=True)
        theirs = ~place * self.weight
        from_ours = ours @ self.apart
        between = (from_ours * theirs).sum(axis=1)
        within = (from_ours * ours).sum(axis=1) / _other(ours)
        return np.asarray(
            2 * between - within - ((theirs @ self.apart) * theirs).sum(axis=1) / _other(theirs)
        )


def _other(weights: FloatArray) -> FloatArray:
    """How likely two images drawn by their weights are different ones, (divisions,)."""
    return np.asarray(1 - (weights**2).sum(axis=1))


def _distances(points: FloatArray) -> FloatArray:
    squares = (points**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0)))
