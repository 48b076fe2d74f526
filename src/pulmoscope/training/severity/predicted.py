"""What a trained system says of studies that it has not learnt from, at slice and at patient level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, Box, FloatArray
from pulmoscope.datasets.table import Sample
from pulmoscope.evaluation.metrics import Predictions, evaluate
from pulmoscope.inference.reading import Reading
from pulmoscope.inference.shown import Indices, ShownBatch
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.recipes.recipe import expected
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.votes import VOTES
from pulmoscope.training.severity.studies import StandardSlices


@dataclass(frozen=True)
class PredictedStudy:
    """One study's answers.

    Attributes:
        sample: the table's row.
        indices: which of its standardised slices were predicted.
        slices: their probabilities (n, classes).
        votes: each vote's answer: name → probabilities (classes,).
        missing: of each predicted slice, the fraction of what it shows that was missing.
        anomaly: of each predicted slice, the AnoGAN's score; None without one.
    """

    sample: Sample
    indices: tuple[int, ...]
    slices: FloatArray
    votes: Mapping[str, FloatArray]
    missing: FloatArray
    anomaly: FloatArray | None = None


@dataclass(frozen=True)
class PreparedCt:
    """A prepared study as a model's network is shown it (see :class:`pulmoscope.inference.shown.ShownCt`).

    Its slices speak for themselves: the scan that they were made of is not at hand.
    """

    study: StandardSlices
    preprocess: Standardisation

    @property
    def first(self) -> npt.NDArray[np.integer]:
        """Each slice shows itself."""
        return np.arange(len(self.study.images) + 1)

    @property
    def wanted(self) -> Indices:
        """Those that show enough lung."""
        return np.flatnonzero(self.study.enough_lung)

    def batch(self, slices: Indices) -> ShownBatch:
        """Some of them."""
        images = np.asarray(self.study.images[slices], dtype=np.float32) / np.float32(255)
        whole = Box(0, 0, *images.shape[1:])
        return ShownBatch(slices, self.preprocess.tensor(images), images, (whole,) * len(slices))


def predicted(model: Model, study: StandardSlices) -> PredictedStudy:
    """Ask a trained system about one repaired study, as a diagnosis does."""
    bundle = model.bundle
    answer = Reading(model, PreparedCt(study, expected(bundle.preprocess, Standardisation))).answer()
    anomaly = None
    if answer.anomalies is not None and bundle.anomaly is not None:
        anomaly = answer.anomalies[answer.predicted] * np.float32(bundle.anomaly["value"])
    return PredictedStudy(
        study.sample,
        tuple(map(int, answer.predicted)),
        answer.slices[answer.predicted],
        {vote: np.array([*row.values()], dtype=np.float32) for vote, row in answer.levels.items()},
        missing_fractions(study.missing[study.enough_lung], study.shown[study.enough_lung]),
        anomaly,
    )


def missing_fractions(missing: BoolArray, shown: BoolArray) -> FloatArray:
    """Of what each slice (n, size, size) shows, the fraction that is missing: float32 (n,); 0 where it shows
    nothing."""
    lost, all_ = (np.count_nonzero(mask, axis=(1, 2)) for mask in (missing & shown, shown))
    return np.asarray(lost / np.maximum(all_, 1), dtype=np.float32)


def of_slices(studies: Sequence[PredictedStudy], classes: tuple[str, ...]) -> Predictions:
    """Every predicted slice, named ``file#index``, with its patient's label."""
    owners = [one.sample for one in studies for _ in one.indices]
    return Predictions(
        files=tuple(f"{one.sample.file}#{index}" for one in studies for index in one.indices),
        labels=tuple(sample.label for sample in owners),
        patients=tuple(sample.patient or sample.file for sample in owners),
        sources=tuple(sample.source for sample in owners),
        classes=classes,
        probabilities=np.concatenate([one.slices for one in studies]).astype(np.float64),
    )


def of_patients(studies: Sequence[PredictedStudy], classes: tuple[str, ...], vote: str) -> Predictions:
    """Every study, by one of the votes."""
    return Predictions(
        files=tuple(one.sample.file for one in studies),
        labels=tuple(one.sample.label for one in studies),
        patients=tuple(one.sample.patient or one.sample.file for one in studies),
        sources=tuple(one.sample.source for one in studies),
        classes=classes,
        probabilities=np.stack([one.votes[vote] for one in studies]).astype(np.float64),
    )


def figures(
    studies: Sequence[PredictedStudy], classes: tuple[str, ...], bootstrap: int, seed: int
) -> Mapping[str, Mapping[str, Any]]:
    """``slice``, and each vote: all figures with intervals, drawn by patient."""
    levels = {"slice": evaluate(of_slices(studies, classes), bootstrap, seed).plain()}
    for vote in VOTES:
        levels[vote] = evaluate(of_patients(studies, classes, vote), bootstrap, seed).plain()
    return levels
