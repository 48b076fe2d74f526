"""What a trained system says of studies that it has not learnt from, at slice and at patient level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.datasets.table import Sample
from pulmoscope.evaluation.metrics import Predictions, evaluate
from pulmoscope.quality.anomaly import AnomalyModel
from pulmoscope.runtime.model import Model, StudyOutputs
from pulmoscope.runtime.votes import VOTES
from pulmoscope.training.severity.studies import StandardSlices


@dataclass(frozen=True)
class Judged:
    """One study's answers.

    Attributes:
        sample: the table's row.
        places: which of its standardised slices were judged.
        said: of these slices, and of the patient.
        missing: of each judged slice, the share of what it shows that was missing.
        anomaly: of each judged slice, the AnoGAN's score; None without one.
    """

    sample: Sample
    places: tuple[int, ...]
    said: StudyOutputs
    missing: FloatArray
    anomaly: FloatArray | None = None


def judge(
    model: Model,
    study: StandardSlices,
    anomalies: AnomalyModel | None = None,
) -> Judged:
    """Ask a trained system about one repaired study.

    Args:
        anomalies: scores slices; None: they are not scored.
    """
    images = study.grey[study.judged]
    return Judged(
        study.sample,
        tuple(int(place) for place in np.flatnonzero(study.judged)),
        model.study(images),
        missing_shares(study.missing[study.judged], study.shown[study.judged]),
        None if anomalies is None else anomalies(images)[0],
    )


def missing_shares(missing: BoolArray, shown: BoolArray) -> FloatArray:
    """Of what each slice (n, size, size) shows, the share that is missing: float32 (n,); 0 where it shows nothing."""
    lost, all_ = (np.count_nonzero(own, axis=(1, 2)) for own in (missing & shown, shown))
    return np.asarray(lost / np.maximum(all_, 1), dtype=np.float32)


def of_slices(judged: Sequence[Judged], classes: tuple[str, ...]) -> Predictions:
    """Every judged slice, named ``file#index``, with its patient's label."""
    owners = [one.sample for one in judged for _ in one.places]
    return Predictions(
        files=tuple(f"{one.sample.file}#{place}" for one in judged for place in one.places),
        labels=tuple(sample.label for sample in owners),
        patients=tuple(sample.patient or sample.file for sample in owners),
        sources=tuple(sample.source for sample in owners),
        classes=classes,
        probabilities=np.concatenate([one.said.slices for one in judged]).astype(np.float64),
    )


def of_patients(judged: Sequence[Judged], classes: tuple[str, ...], vote: str) -> Predictions:
    """Every study, by one of the votes."""
    return Predictions(
        files=tuple(one.sample.file for one in judged),
        labels=tuple(one.sample.label for one in judged),
        patients=tuple(one.sample.patient or one.sample.file for one in judged),
        sources=tuple(one.sample.source for one in judged),
        classes=classes,
        probabilities=np.stack([one.said.patient.votes[vote] for one in judged]).astype(np.float64),
    )


def figures(
    judged: Sequence[Judged], classes: tuple[str, ...], bootstrap: int, seed: int
) -> Mapping[str, Mapping[str, Any]]:
    """``slice``, and each vote: all figures with intervals, drawn by patient."""
    found = {"slice": evaluate(of_slices(judged, classes), bootstrap, seed).plain()}
    for vote in VOTES:
        found[vote] = evaluate(of_patients(judged, classes, vote), bootstrap, seed).plain()
    return found
