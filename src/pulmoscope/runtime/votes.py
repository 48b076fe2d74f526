"""From a patient's slices to the patient: the paper's majority of system A, a mean, and the learnt votes' names."""

from __future__ import annotations

import numpy as np

from pulmoscope.core.types import FloatArray

VOTES = ("majority", "mean", "attention", "regression")
"""The ways from slices to the patient; the last two are learnt (:mod:`pulmoscope.models.patient`)."""


def majority(slices: FloatArray) -> FloatArray:
    """What share of the slices votes for each class: the paper's way (arXiv 2507.04252, «Patient-level voting»).

    A tie goes to the class with the larger mean probability: the shares are moved by less than a vote for it.

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
    found = slices.astype(np.float64).mean(axis=0)
    return np.asarray(found / found.sum(), dtype=np.float32)
