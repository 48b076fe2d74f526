"""The AnoGAN's scores of held-out slices, per class as in the paper's Table I, and how they tell the classes apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from pulmoscope.core.types import FloatArray
from pulmoscope.evaluation import plots
from pulmoscope.evaluation.metrics import Predictions, evaluate
from pulmoscope.quality.anomaly import score_table
from pulmoscope.training.severity.predicted import PredictedStudy


def anomaly_figures(
    studies: Sequence[PredictedStudy], classes: tuple[str, ...], bootstrap: int, seed: int
) -> dict[str, Any] | None:
    """``per_class``: the distribution of the slices' scores; ``auroc``: every class against the first.

    None where nothing was scored.
    """
    known = [(one, one.anomaly) for one in studies if one.anomaly is not None]
    if not known:
        return None
    scores = np.concatenate([scores_of_study for _, scores_of_study in known])
    labels = [one.sample.label for one, scores_of_study in known for _ in scores_of_study]
    owners = [
        one.sample.patient or one.sample.file for one, scores_of_study in known for _ in scores_of_study
    ]
    means = np.array([scores_of_study.mean() for _, scores_of_study in known])
    auroc = {
        name: {
            "slice": _auroc(scores, labels, owners, (classes[0], name), bootstrap, seed),
            "study": _auroc(
                means,
                [one.sample.label for one, _ in known],
                [one.sample.patient or one.sample.file for one, _ in known],
                (classes[0], name),
                bootstrap,
                seed,
            ),
        }
        for name in classes[1:]
    }
    return {
        "per_class": {
            name: scores_of_study.plain() for name, scores_of_study in score_table(scores, labels).items()
        },
        "auroc": auroc,
    }


def anomaly_picture(studies: Sequence[PredictedStudy]) -> bytes:
    """How the slices' scores are spread in each class, as PNG."""
    known = [(one, one.anomaly) for one in studies if one.anomaly is not None]
    labels = [one.sample.label for one, scores in known for _ in scores]
    return plots.distributions(
        np.concatenate([scores for _, scores in known]), labels, "anomaly score of a slice"
    )


def _auroc(
    scores: FloatArray | npt.NDArray[np.float64],
    labels: Sequence[str],
    owners: Sequence[str],
    pair: tuple[str, str],
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """How well the score tells the pair's second class from the first, with an interval over patients."""
    kept = [index for index, label in enumerate(labels) if label in pair]
    # Ranks alone matter: any rising function of the score will do.
    ranks = rankdata(np.asarray(scores, dtype=np.float64)[kept]) / (len(kept) + 1)
    evaluation = evaluate(
        Predictions(
            files=tuple(str(index) for index in kept),
            labels=tuple(labels[index] for index in kept),
            patients=tuple(owners[index] for index in kept),
            sources=("",) * len(kept),
            classes=pair,
            probabilities=np.stack([1 - ranks, ranks], axis=1),
        ),
        bootstrap,
        seed,
    )
    return evaluation.by_class[pair[1]]["auroc"].plain()
