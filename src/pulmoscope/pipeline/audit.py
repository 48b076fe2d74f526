"""From a model and a table of labelled images to what the model still tells apart without lungs, or without borders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import BundleError, DatasetError
from pulmoscope.core.files import NOTICE, claim_folder, shareable, write_json, write_text
from pulmoscope.core.software import versions
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.audits import BAD, CLEAN, DROP_BAD, DROP_GOOD, GOOD, PERTURBATIONS, assess
from pulmoscope.evaluation.bootstrap import INTERVAL
from pulmoscope.evaluation.metrics import PAIR, Predictions
from pulmoscope.evaluation.metrics import evaluate as measure
from pulmoscope.io import read_pixels
from pulmoscope.pipeline.evaluate import data_facts, model_facts
from pulmoscope.pipeline.pictures.xray import grey, jpeg, shrunk
from pulmoscope.pipeline.predict import Failure, Progress, predict_table, write_predictions
from pulmoscope.report.audit import Example, View, audit_page
from pulmoscope.runtime.model import Model

SCHEMA_VERSION = "1.1"
EXAMPLES = 3
"""Classes of which an example is shown."""
SIDE = 300
"""Longest side of a picture, px."""


def audit(
    model: Model,
    table: SampleTable,
    out: Path,
    *,
    split: str = "",
    bootstrap: int = 1000,
    seed: int = 20,
    command: str = "",
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate a model under every perturbation, on the images whose labels it knows.

    Writes ``predictions-<perturbation>.csv``, ``report.html`` and, last, ``audit.json``.

    Returns:
        The content of ``audit.json``.

    Raises:
        OutputExistsError: ``out`` holds results and without ``force``.
        BundleError: see :func:`check_auditable`.
        DatasetError: no image could be read, or none has a label among the model's classes.
    """
    check_auditable(model)
    claim_folder(out, "audit.json", force)
    known = replace(table, samples=tuple(sample for sample in table if sample.label in model.bundle.classes))
    if not known.samples:
        raise DatasetError(
            f"{table.root}: no label is one of the model's classes {', '.join(model.bundle.classes)} "
            f"(found: {', '.join(table.classes) or 'none'})"
        )
    chosen = [one for one in PERTURBATIONS if model.finds_lungs or not one.framed]
    answers: dict[str, Predictions] = {}
    failures: tuple[Failure, ...] = ()
    for step, perturbation in enumerate(chosen):
        progress_here = _shifted(progress, step * len(known), len(chosen) * len(known))
        answers[perturbation.code], failed = predict_table(
            model, known, perturbation.apply, progress_here, framed=perturbation.framed
        )
        if perturbation is CLEAN:
            failures = failed
        write_predictions(out / f"predictions-{perturbation.code}.csv", answers[perturbation.code])
    report = {
        "schema_version": SCHEMA_VERSION,
        "model": model_facts(model),
        "data": data_facts(model, known, split, failures),
        **_assessed(answers, bootstrap, seed, seeks=model.finds_lungs),
        "command": command,
        "software": versions("scikit-learn"),
        "notice": NOTICE,
    }
    write_text(out / "report.html", audit_page(report, _examples(known, answers)))
    write_json(out / "audit.json", report)
    return report


def check_auditable(model: Model) -> None:
    """Does the model read single images?

    Raises:
        BundleError: it reads studies, and one whose lungs are hidden is refused before any network sees it.
    """
    if model.bundle.patient is not None:
        raise BundleError(
            f"{model.bundle.folder}: an audit hides the lungs of images; a CT study without lungs is refused before "
            "this model sees it"
        )


def _assessed(
    answers: Mapping[str, Predictions], bootstrap: int, seed: int, *, seeks: bool
) -> dict[str, Any]:
    """``method`` and ``results``: every perturbation beside the images as they are."""
    measured = {code: measure(predictions, bootstrap, seed) for code, predictions in answers.items()}
    clean = measured[CLEAN.code]
    results = [
        assess(
            perturbation,
            measured[perturbation.code],
            clean,
            answers[perturbation.code],
            answers[CLEAN.code],
            seeks=seeks,
        )
        for perturbation in PERTURBATIONS
        if perturbation.code in answers
    ]
    compared = f"{PAIR[0]} against {PAIR[1]}" if clean.pairwise else "mean over the classes, one against rest"
    return {
        "method": {
            "bootstrap": bootstrap,
            "seed": seed,
            "interval": INTERVAL,
            "resampled_by": clean.resampled_by,
            "auroc": compared,
            "auroc_without_lungs": {"good_to": GOOD, "bad_above": BAD},
            "auroc_lost_without_border": {"good_to": DROP_GOOD, "bad_above": DROP_BAD},
        },
        "results": [result.plain() for result in results],
    }


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)


def _examples(table: SampleTable, answers: Mapping[str, Predictions]) -> list[Example]:
    """The first image of each class, under every perturbation."""
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
            called = predictions.classes[int(probabilities.argmax())]
            views.append(View(perturbation.title, jpeg(grey(image)), called, float(probabilities.max())))
        examples.append(Example(shareable(clean.files[row]), label, tuple(views)))
    return examples
