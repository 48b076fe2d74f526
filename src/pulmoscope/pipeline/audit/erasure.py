"""What the model still tells apart when the lungs, or what is around them, are taken away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmoscope.core.files import shareable
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.audit.erasure import (
    BAD,
    CLEAN,
    DROP_BAD,
    DROP_GOOD,
    GOOD,
    PERTURBATIONS,
    assess,
)
from pulmoscope.evaluation.audit.verdict import Verdict
from pulmoscope.evaluation.metrics import PAIR, Predictions
from pulmoscope.evaluation.metrics import evaluate as measure
from pulmoscope.io import read_pixels
from pulmoscope.pipeline.audit.subject import Found, Subject
from pulmoscope.pipeline.pictures.xray import data_jpeg, grey, shrunk

EXAMPLES = 3
"""Classes of which an example is shown."""
SIDE = 300
"""Longest side of a picture, px."""


def found(subject: Subject) -> Found:
    """Every perturbation beside the images as they are."""
    answers = {CLEAN.code: subject.answers}
    for one in PERTURBATIONS:
        if one.apply is not None and (subject.model.finds_lungs or not one.framed):
            answers[one.code] = subject.ask(one.code, one.apply, framed=one.framed)
    return _assessed(answers, subject) | {"examples": _examples(subject.table, answers)}


def _assessed(answers: Mapping[str, Predictions], subject: Subject) -> Found:
    measured = {
        code: measure(predictions, subject.bootstrap, subject.seed) for code, predictions in answers.items()
    }
    clean = measured[CLEAN.code]
    results = [
        assess(
            perturbation,
            measured[perturbation.code],
            clean,
            answers[perturbation.code],
            answers[CLEAN.code],
            seeks=subject.model.finds_lungs,
        )
        for perturbation in PERTURBATIONS
        if perturbation.code in answers
    ]
    return {
        "auroc": f"{PAIR[0]} against {PAIR[1]}"
        if clean.pairwise
        else "mean over the classes, one against rest",
        "resampled_by": clean.resampled_by,
        "auroc_without_lungs": {"good_to": GOOD, "bad_above": BAD},
        "auroc_lost_without_border": {"good_to": DROP_GOOD, "bad_above": DROP_BAD},
        "results": [result.plain() for result in results],
        "verdicts": [
            Verdict(
                result.perturbation.code, result.verdict, f"{result.perturbation.title}: {result.says}."
            ).plain()
            for result in results
            if result.perturbation.takes in ("lungs", "border")
        ],
        "figures": {f"auroc_{result.perturbation.code}": result.auroc.plain() for result in results},
    }


def _examples(table: SampleTable, answers: Mapping[str, Predictions]) -> list[dict[str, Any]]:
    """The first image of each class, under every perturbation, as pictures for the page."""
    clean = answers[CLEAN.code]
    labels = sorted(set(clean.labels), key=lambda name: (name not in PAIR, name))[:EXAMPLES]
    paths = {sample.file: table.path(sample) for sample in table}
    examples = []
    for label in labels:
        row = clean.labels.index(label)
        pixels = shrunk(read_pixels(paths[clean.files[row]]), SIDE)
        views = []
        for perturbation in (one for one in PERTURBATIONS if one.code in answers):
            predictions = answers[perturbation.code]
            image = pixels if perturbation.apply is None else perturbation.apply(pixels)
            probabilities = predictions.probabilities[row]
            views.append(
                {
                    "title": perturbation.title,
                    "picture": data_jpeg(grey(image)),
                    "predicted": predictions.classes[int(probabilities.argmax())],
                    "probability": float(probabilities.max()),
                }
            )
        examples.append({"file": shareable(clean.files[row]), "label": label, "views": views})
    return examples
