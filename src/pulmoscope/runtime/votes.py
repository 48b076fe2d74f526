"""From a patient's slices to the patient: the paper's majority of system A, a mean, and votes that are learnt."""

from __future__ import annotations

import numpy as np

from pulmoscope.core.types import FloatArray

VOTES = ("majority", "mean", "attention", "regression")
"""The votes of system A; the last two are learnt (:mod:`pulmoscope.models.patient`)."""
WEIGHTED = "-weighted"
"""How the name of a learnt vote ends that takes the slices' vectors once for every class, times its probability."""
DENSITIES = 11
"""How many fractions of dense lung a slice's vector ends with: one for each bound between twelfths of the window."""


def learnt(vote: str) -> bool:
    """Whether a vote is a network."""
    return vote not in _COUNTED


def majority(slices: FloatArray) -> FloatArray:
    """Which fraction of the slices votes for each class: the paper's way (arXiv 2507.04252, «Patient-level voting»).

    A tie goes to the class with the larger mean probability: the fractions are moved by less than a vote for it.

    Args:
        slices: probabilities (slices, classes), at least one slice.

    Returns:
        float32 (classes,), of sum 1.
    """
    votes = np.bincount(slices.argmax(axis=1), minlength=slices.shape[1]) / len(slices)
    moved = votes + mean(slices) * (0.01 / len(slices))
    return np.asarray(moved / moved.sum(), dtype=np.float32)


def mean(slices: FloatArray) -> FloatArray:
    """The mean probability of each class: (slices, classes) -> float32 (classes,)."""
    average = slices.astype(np.float64).mean(axis=0)
    return np.asarray(average / average.sum(), dtype=np.float32)


_COUNTED = {"majority": majority, "mean": mean}


def counted(vote: str, slices: FloatArray) -> FloatArray:
    """The answer of a vote that is not learnt."""
    return _COUNTED[vote](slices)


def with_densities(features: FloatArray, images: FloatArray) -> FloatArray:
    """What the learnt votes of system A get of each slice: float32 (slices, maps + ``DENSITIES``).

    First the network's pooled features, then of all that is not black the fractions that are denser than each twelfth
    of the window (from -900 to 100 HU of the recipe's): how much of the lung is how dense is what a grade is about, and
    a network that learns from a patient's grade in every slice, healthy or not, measures it poorly. Black is what the
    standardisation hides, and what lies at or below the window's lower end.

    Args:
        features: (slices, maps, rows, columns).
        images: of the same slices, (slices, size, size) in [0, 1].
    """
    edges = np.linspace(0, 1, DENSITIES + 2, dtype=np.float32)[1:-1]
    shown = np.count_nonzero(images > 0, axis=(1, 2))
    denser = np.stack([np.count_nonzero(images > edge, axis=(1, 2)) for edge in edges], axis=1)
    fractions = denser / np.maximum(shown, 1)[:, None]
    return np.concatenate([features.mean(axis=(2, 3)), fractions], axis=1).astype(np.float32)


def weighted(vectors: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Slices' vectors once for every class, times its probability: (slices, classes x length)."""
    return (probabilities[:, :, None] * vectors[:, None, :]).reshape(len(vectors), -1)
