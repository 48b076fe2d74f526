"""The pages of an evaluation, from the content of ``metrics.json`` and its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulmoscope.report.html import data_uri, render
from pulmoscope.report.names import FIGURES

SCORES = {
    key: FIGURES[key]
    for key in (
        "accuracy",
        "balanced_accuracy",
        "mcc",
        "macro_f1",
        "macro_auroc",
        "calibration_error",
        "brier",
    )
}
MEASURES = {
    "sensitivity": FIGURES["sensitivity"],
    "specificity": FIGURES["specificity"],
    "auroc": FIGURES["macro_auroc"],
    "average_precision": FIGURES["average_precision"],
}
PICTURES = {
    "confusion": "Confusion matrix: rows are labels, columns the predicted classes; fractions are of the row.",
    "roc": "ROC curve, each class against the rest.",
    "precision_recall": "Precision–recall curve, each class against the rest.",
    "risk_coverage": "Referral: the fewer images are reported, the surest first, the fewer of them should "
    "be wrong; at each hospital, too.",
    "reliability": "Reliability: on the diagonal, a stated 80 % is right in 80 % of cases. Below: images per bin.",
}

AGREEMENT = {
    "bland_altman": "Percent affected of each study (Bland–Altman): measured less true, over the mean of both. Solid: "
    "bias. Dashed: 95 % limits of agreement.",
    "bland_altman_slices": "The same of each slice that has lung.",
}

RATES = [
    FIGURES[key]
    for key in (
        "normals_called_covid",
        "normals_reported_covid",
        "wrongly_called",
        "wrongly_reported",
        "reported",
    )
]
"""Of a hospital, after its AUROC and its calibration error."""


@dataclass(frozen=True)
class Case:
    """One wrong answer; the pictures are JPEG, the maps lie over the image."""

    file: str
    source: str
    label: str
    called: str
    probability: float
    label_probability: float
    picture: bytes
    called_map: bytes
    label_map: bytes


def evaluation_page(metrics: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """The page ``report.html``.

    Args:
        metrics: the content of ``metrics.json``.
        pictures: PNG by name, see :data:`PICTURES`; those that are missing are left out.
    """
    return render(
        "evaluation.html",
        found=metrics,
        scores=SCORES,
        measures=MEASURES,
        rates=RATES,
        pictures=[(data_uri(pictures[name]), text) for name, text in PICTURES.items() if name in pictures],
    )


def studies_page(metrics: Mapping[str, Any], pictures: Mapping[str, bytes], levels: str) -> str:
    """The page ``report.html`` of a model of whole studies, from the content of its ``metrics.json``.

    Args:
        pictures: PNG by name, see :data:`PICTURES`; ``tsne`` where there is a map.
        levels: what the model's levels are.
    """
    return render(
        "studies.html",
        found=metrics,
        levels=levels,
        scores=SCORES,
        measures=MEASURES,
        rates=RATES,
        pictures=[(data_uri(pictures[name]), text) for name, text in PICTURES.items() if name in pictures],
        map=data_uri(pictures["tsne"]) if "tsne" in pictures else "",
    )


def measure_page(metrics: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """The page ``report.html`` of the density measure, from the content of its ``measure.json``.

    Args:
        pictures: PNG by name, see :data:`AGREEMENT`; those that are missing are left out.
    """
    return render(
        "measure.html",
        found=metrics,
        pictures=[(data_uri(pictures[name]), text) for name, text in AGREEMENT.items() if name in pictures],
    )


def worst_page(metrics: Mapping[str, Any], cases: Sequence[Case]) -> str:
    """The page ``worst.html``: the wrong answers, most sure first."""
    shown = [
        (
            case,
            *(data_uri(picture, "image/jpeg") for picture in (case.picture, case.called_map, case.label_map)),
        )
        for case in cases
    ]
    return render("worst.html", found=metrics, cases=shown)
