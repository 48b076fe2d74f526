"""What the model still tells apart when the lungs, or what is around them, are taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pulmoscope.core.files import shareable
from pulmoscope.core.types import FloatArray, Modality
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.audit import ct
from pulmoscope.evaluation.audit.erasure import (
    BAD,
    CLEAN,
    DROP_BAD,
    DROP_GOOD,
    GOOD,
    PERTURBATIONS,
    ROOM,
    Audited,
    Perturbation,
    assess,
    within_hospitals,
)
from pulmoscope.evaluation.audit.verdict import Verdict
from pulmoscope.evaluation.metrics import PAIR, Predictions
from pulmoscope.evaluation.metrics import evaluate as measure
from pulmoscope.io import read_pixels
from pulmoscope.pipeline.audit.lungs import audited_lungs
from pulmoscope.pipeline.audit.studies import with_lungs
from pulmoscope.pipeline.audit.subject import Found, Subject
from pulmoscope.pipeline.pictures.xray import data_jpeg, grey, shrunk

EXAMPLES = 3
"""Classes of which an example is shown."""
SIDE = 300
"""Longest side of a picture, px."""


IMAGES = 400
"""At most so many images are changed, drawn evenly from every hospital's every label."""


def found(subject: Subject) -> Found:
    """Every perturbation beside the images, or CT studies, as they are."""
    if subject.studies:
        return _of_studies(subject)
    table = subject.some(IMAGES)
    answers = {CLEAN.code: subject.answers_of(table)}
    for one in PERTURBATIONS:
        known = one.masked is not None or subject.model.finds_lungs or not one.framed
        if one is not CLEAN and known:
            change = partial(_changed, one, subject)
            answers[one.code] = subject.ask(one.code, change, table=table, framed=one.framed)
    return {
        "images": len(table),
        **_assessed(PERTURBATIONS, answers, subject),
        "examples": _examples(subject, table, answers),
    }


def _of_studies(subject: Subject) -> Found:
    changes = {one.code: with_lungs(one.masked) for one in ct.PERTURBATIONS if one.masked is not None}
    answers = {CLEAN.code: subject.answers} | subject.ask_studies(changes)
    return {"images": len(subject.table), **_assessed(ct.PERTURBATIONS, answers, subject), "examples": []}


def _changed(perturbation: Perturbation, subject: Subject, pixels: FloatArray) -> FloatArray:
    if perturbation.masked is not None:
        return perturbation.masked(pixels, audited_lungs(subject.model, pixels, ROOM))
    return pixels if perturbation.apply is None else perturbation.apply(pixels)


def _assessed(
    perturbations: Sequence[Perturbation], answers: Mapping[str, Predictions], subject: Subject
) -> Found:
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
            seeks=subject.model.finds_lungs or subject.model.bundle.modality == Modality.CT,
            within=within_hospitals(answers[perturbation.code], subject.bootstrap, subject.seed),
        )
        for perturbation in perturbations
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
            Verdict(result.perturbation.code, result.verdict, _sentence(result)).plain()
            for result in [result for result in results if result.verdict != "none"] or results[1:]
        ],
        "figures": {f"auroc_{result.perturbation.code}": result.auroc.plain() for result in results},
    }


def _sentence(result: Audited) -> str:
    """The verdict with its figures: over all images, and from the worst to the best hospital."""
    figures = [] if result.auroc.value is None else [f"AUROC {result.auroc.value:.2f}"]
    within = sorted(auroc.value for auroc in result.within.values() if auroc.value is not None)
    if within:
        lowest, highest = f"{within[0]:.2f}", f"{within[-1]:.2f}"
        figures.append(f"within a hospital {lowest}" + f" to {highest}" * (lowest != highest))
    listed = f" ({'; '.join(figures)})" if figures else ""
    return f"{result.perturbation.title}: {result.says}{listed}."


def _examples(
    subject: Subject, table: SampleTable, answers: Mapping[str, Predictions]
) -> list[dict[str, Any]]:
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
            image = _changed(perturbation, subject, pixels)
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
