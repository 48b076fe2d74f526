"""From a patient's slices to the patient: the paper's majority of system A, a mean, and votes that are learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pulmoscope.core.types import FloatArray

VOTES = ("majority", "mean", "attention", "regression")
"""The votes of system A; the last two are learnt (:mod:`pulmoscope.models.patient`)."""
CLASSIFIERS = ("maxpool", "maxpool-weighted", "bilstm", "bilstm-weighted", "attention", "attention-max")
"""All learnt votes that there are, but for system A's regression."""
ENSEMBLE = "ensemble"
"""The network that puts several votes together."""
WEIGHTED = "-weighted"
"""How the name of a learnt vote ends that takes the slices' vectors once for every class, times its probability."""
DENSITIES = 11
"""How many fractions of dense lung a slice's vector ends with: one for each bound between twelfths of the window."""


def learnt(vote: str) -> bool:
    """Whether a vote is a network."""
    return vote not in _COUNTED


@dataclass(frozen=True)
class PatientLevel:
    """How the slices of a study become the patient's answer.

    Attributes:
        votes: the ways from slices to the patient, all of which are computed (see :mod:`pulmoscope.runtime.votes`).
        decides: the vote that the model goes by, or ``ensemble``.
        ensemble: the votes whose probabilities the ensemble's network gets, in this order; empty: there is none.
        vectors: what a learnt vote gets of each slice: ``vector``, which the image network gives, or ``densities``: its
            pooled features and how much of the lung is how dense.
    """

    votes: tuple[str, ...]
    decides: str
    ensemble: tuple[str, ...] = ()
    vectors: Literal["vector", "densities"] = "vector"

    def __post_init__(self) -> None:
        """Check that the answer is among the votes (errors: ValueError), and make tuples of JSON's lists."""
        object.__setattr__(self, "votes", tuple(self.votes))
        object.__setattr__(self, "ensemble", tuple(self.ensemble))
        if missing := [name for name in self.ensemble if name not in self.votes]:
            raise ValueError(
                f"patient.votes must name what the ensemble gets (missing: {', '.join(missing)})"
            )
        possible = (*self.votes, *((ENSEMBLE,) if self.ensemble else ()))
        if self.decides not in possible:
            raise ValueError(f"patient.decides must be one of {', '.join(possible)} (found: {self.decides})")

    @property
    def files(self) -> tuple[str, ...]:
        """The networks that it needs."""
        networks = tuple(f"{name}.onnx" for name in self.votes if learnt(name))
        return (*networks, f"{ENSEMBLE}.onnx") if self.ensemble else networks


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
