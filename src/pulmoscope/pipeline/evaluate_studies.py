"""From a model of whole studies and a table of labelled studies to predictions, figures of every level, and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.core.files import NOTICE, claim_folder, csv_text, write_bytes, write_json, write_text
from pulmoscope.core.software import versions
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation import plots
from pulmoscope.evaluation.bootstrap import INTERVAL
from pulmoscope.evaluation.embedding import LEAST, map_of
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.evaluation.metrics import evaluate as measure
from pulmoscope.inference.reading import levels_in_words
from pulmoscope.pipeline.evaluate import data_facts, draw, figures, model_facts, synthetic_facts
from pulmoscope.pipeline.predict import Progress, write_predictions
from pulmoscope.pipeline.predict_studies import StudyPredictions, predict_studies
from pulmoscope.report.evaluation import studies_page
from pulmoscope.runtime.model import Model

SCHEMA_VERSION = "1.4"


def evaluate_studies(
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
    """Evaluate every level of a model on every study of a table.

    Writes ``predictions.csv`` (the ensemble, a row a study), ``classifiers.csv``, ``slices.csv``, ``tsne.csv``, the
    pictures, ``report.html`` and, last, ``metrics.json``. The arguments are those of
    :func:`pulmoscope.pipeline.evaluate.evaluate`.

    Returns:
        The content of ``metrics.json``.

    Raises:
        OutputExistsError: ``out`` holds results and ``force`` is not given.
        DatasetError: no study could be read.
    """
    claim_folder(out, "metrics.json", force)
    predictions, failures = predict_studies(model, table, progress)
    ensemble = predictions.ensemble
    write_predictions(out / "predictions.csv", ensemble)
    _write_classifiers(out / "classifiers.csv", predictions)
    _write_slices(out / "slices.csv", predictions.slices)
    known = ensemble.select(ensemble.truth >= 0)
    metrics = measure(known, bootstrap, seed) if len(known) else None
    report = {
        "schema_version": SCHEMA_VERSION,
        "model": model_facts(model),
        "data": data_facts(model, table, split, failures),
        "method": {
            "bootstrap": bootstrap,
            "seed": seed,
            "interval": INTERVAL,
            "calibration_error": "expected, over equal-width bins of the called class's probability",
        },
        **figures(ensemble, known, metrics, model.bundle.conformal, bootstrap=bootstrap, seed=seed),
        "levels": _levels(predictions, bootstrap, seed),
        "synthetic": synthetic_facts(model.bundle.training_data, table),
        "command": command,
        "software": versions("scikit-learn"),
        "notice": NOTICE,
    }
    pictures = draw(known, metrics) if metrics else {}
    if len(ensemble) >= LEAST:
        points = map_of(predictions.vectors, seed)
        pictures["tsne"] = plots.scatter(points, ensemble.labels)
        _write_map(out / "tsne.csv", ensemble, points)
    for name, content in pictures.items():
        write_bytes(out / f"{name}.png", content)
    write_text(out / "report.html", studies_page(report, pictures, levels_in_words(model.bundle.patient)))
    write_json(out / "metrics.json", report)
    return report


def _levels(predictions: StudyPredictions, bootstrap: int, seed: int) -> dict[str, Any]:
    """Figures of the slices, of each patient-level classifier, and of the ensemble; None where no label is known."""

    def of(level: Predictions) -> dict[str, Any] | None:
        known = level.select(level.truth >= 0)
        return measure(known, bootstrap, seed).plain() if len(known) else None

    levels = {"slice": of(predictions.slices)}
    levels |= {name: of(level) for name, level in predictions.patient.items()}
    return levels | {"ensemble": of(predictions.ensemble)}


def _write_classifiers(path: Path, predictions: StudyPredictions) -> None:
    """``file,label,classifier,predicted,p_<class>…``, a row for every study and classifier."""
    rows = [
        [file, label, name, called, *(str(probability) for probability in row)]
        for name, level in [*predictions.patient.items(), ("ensemble", predictions.ensemble)]
        for file, label, called, row in zip(
            level.files, level.labels, level.predicted, level.probabilities.astype(np.float32), strict=True
        )
    ]
    names = [f"p_{name}" for name in predictions.ensemble.classes]
    write_text(path, csv_text(["file", "label", "classifier", "predicted", *names], rows))


def _write_slices(path: Path, slices: Predictions) -> None:
    """``file,slice,patient,label,predicted,p_<class>…``; slices count from 0 at the feet."""
    rows = [
        [*file.rsplit("#", 1), patient, label, called, *(str(probability) for probability in row)]
        for file, patient, label, called, row in zip(
            slices.files,
            slices.patients,
            slices.labels,
            slices.predicted,
            slices.probabilities.astype(np.float32),
            strict=True,
        )
    ]
    names = [f"p_{name}" for name in slices.classes]
    write_text(path, csv_text(["file", "slice", "patient", "label", "predicted", *names], rows))


def _write_map(path: Path, studies: Predictions, points: Any) -> None:
    rows = [
        [file, label, called, f"{x:.4f}", f"{y:.4f}"]
        for file, label, called, (x, y) in zip(
            studies.files, studies.labels, studies.predicted, points, strict=True
        )
    ]
    write_text(path, csv_text(["file", "label", "predicted", "x", "y"], rows))
