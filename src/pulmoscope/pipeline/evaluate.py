"""From a model and a table of labelled images to predictions, figures, pictures and a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pulmoscope.core.files import NOTICE, claim_folder, shareable, write_bytes, write_json, write_text
from pulmoscope.core.software import versions
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.datasets.checksum import file_checksums, table_checksum
from pulmoscope.datasets.hospitals import has_learnt, known_to
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation import plots
from pulmoscope.evaluation.bootstrap import INTERVAL
from pulmoscope.evaluation.calibration import BINS, reliability
from pulmoscope.evaluation.conformal import set_figures
from pulmoscope.evaluation.hospitals import hospital_figures, section
from pulmoscope.evaluation.metrics import PAIR, Metrics, Predictions, outside_classes
from pulmoscope.evaluation.metrics import evaluate as measure
from pulmoscope.evaluation.referral import referral, risk_coverage
from pulmoscope.pipeline.predict import Failure, Progress, predict_table, write_predictions
from pulmoscope.pipeline.worst import worst_cases
from pulmoscope.report.evaluation import evaluation_page, worst_page
from pulmoscope.runtime.bundle import Conformal
from pulmoscope.runtime.model import Model

SCHEMA_VERSION = "1.4"

Predict = Callable[[SampleTable, Progress | None], tuple[Predictions, tuple[Failure, ...]]]
"""Predicts every image of a table, as :func:`predict_table` does."""


def evaluate(
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
    predicted_by: Predict | None = None,
) -> dict[str, Any]:
    """Evaluate a model on every image of a table.

    Writes ``predictions.csv``, the pictures, ``report.html``, ``worst.html`` and, last, ``metrics.json``.

    Args:
        split: what the table is called in the results.
        command: how to do it again, for the results.
        progress: called with how many images are done.
        predicted_by: gives the answers of the model; None: :func:`predict_table`.

    Returns:
        The content of ``metrics.json``.

    Raises:
        OutputExistsError: ``out`` holds results and ``force`` is not given.
        DatasetError: no image could be read.
    """
    claim_folder(out, "metrics.json", force)
    predict = predicted_by or (lambda table, progress: predict_table(model, table, progress=progress))
    predictions, failures = predict(table, progress)
    write_predictions(out / "predictions.csv", predictions)
    known = predictions.select(predictions.truth >= 0)
    metrics = measure(known, bootstrap, seed) if len(known) else None
    report = {
        "schema_version": SCHEMA_VERSION,
        "model": model_facts(model),
        "data": data_facts(model, table, split, failures),
        "method": {
            "bootstrap": bootstrap,
            "seed": seed,
            "interval": INTERVAL,
            "calibration_error": f"expected, {BINS} equal-width bins of the called class's probability",
        },
        **figures(predictions, known, metrics, model.bundle.conformal, bootstrap=bootstrap, seed=seed),
        "hospitals": _by_hospital(model, predictions, bootstrap, seed),
        "command": command,
        "software": versions("scikit-learn"),
        "notice": NOTICE,
    }
    pictures = draw(known, metrics) if metrics else {}
    for name, content in pictures.items():
        write_bytes(out / f"{name}.png", content)
    write_text(out / "report.html", evaluation_page(report, pictures))
    write_text(out / "worst.html", worst_page(report, worst_cases(model, table, known)))
    write_json(out / "metrics.json", report)
    return report


def model_facts(model: Model) -> dict[str, Any]:
    """Which model, for results."""
    bundle = model.bundle
    return {
        **model.identity,
        "weights_sha256": bundle.files[bundle.network],
        "classes": list(bundle.classes),
        "temperature": bundle.calibration.temperature,
    }


def data_facts(model: Model, table: SampleTable, split: str, failures: Sequence[Failure]) -> dict[str, Any]:
    """Which data, for results, and how many of them the model was calibrated on.

    Args:
        failures: of the table's files; all others have a prediction.
    """
    failed = {failure.file for failure in failures}
    predicted = [sample for sample in table if sample.file not in failed]
    contents, known = file_checksums(table), frozenset(model.bundle.calibration.images)
    return {
        "layout": table.layout,
        "split": split,
        "images": len(table),
        "predicted": len(predicted),
        "labels": dict(sorted(Counter(sample.label for sample in predicted).items())),
        "sources": dict(sorted(Counter(sample.source for sample in predicted).items())),
        "sha256": table_checksum(table, contents),
        "used_for_calibration": sum(content in known for content in contents),
        "warnings": list(table.warnings),
        "failures": [_failed(failure, table.root) for failure in failures],
    }


def _failed(failure: Failure, root: Path) -> dict[str, str]:
    """A file without a prediction, and why, without the path of the data set."""
    file = shareable(failure.file)
    return {"file": file, "reason": failure.reason.replace(failure.file, file).replace(f"{root}/", "")}


def synthetic_facts(training_data: Mapping[str, Any], table: SampleTable) -> dict[str, bool]:
    """Whether a model has learnt from synthetic studies, and whether it is evaluated on some."""
    return {
        "trained": SYNTHETIC_SOURCE in training_data.get("sources", {}),
        "evaluated": any(sample.source == SYNTHETIC_SOURCE for sample in table),
    }


def figures(
    predictions: Predictions,
    known: Predictions,
    metrics: Metrics | None,
    conformal: Conformal | None,
    *,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """The figures of all predictions, for results; ``known`` are those whose label the model knows."""
    sources = sorted(set(known.sources))
    by_source = {
        source: measure(known.select([name == source for name in known.sources]), bootstrap, seed)
        for source in sources
    }
    return {
        "overall": metrics.plain() if metrics else None,
        "pairwise": _pairwise(metrics),
        "by_source": {
            source: {**comparison.plain(), "pairwise": _pairwise(comparison)}
            for source, comparison in by_source.items()
        },
        "outside_classes": outside_classes(predictions, bootstrap, seed),
        "referral": _referral(predictions, known, bootstrap, seed),
        "sets": set_figures(known, conformal, bootstrap, seed) if metrics and conformal else None,
        "risk_coverage": risk_coverage(known, bootstrap, seed) if metrics else None,
        "reliability": [asdict(bin_) for bin_ in reliability(known.probabilities, known.truth)]
        if metrics
        else [],
    }


def learnt_of(model: Model, predictions: Predictions) -> dict[str, bool | None]:
    """Of every hospital of the predictions, whether the model has learnt from it; None: nobody knows."""
    known = known_to(model.bundle.training_data)
    return {name: has_learnt(known, name) for name in predictions.hospitals}


def _by_hospital(model: Model, predictions: Predictions, bootstrap: int, seed: int) -> dict[str, Any] | None:
    """The figures of every hospital; None where there is one only, without both classes of the pair."""
    if len(set(predictions.hospitals)) < 2 and not set(PAIR) <= set(predictions.labels):
        return None
    return section(hospital_figures(predictions, learnt_of(model, predictions), bootstrap, seed))


def _referral(predictions: Predictions, known: Predictions, bootstrap: int, seed: int) -> dict[str, Any]:
    """What was reported and referred: of the images whose label the model knows, and by source and label of all."""
    keys = list(zip(predictions.sources, predictions.labels, strict=True))
    return {
        "overall": referral(known, bootstrap, seed) if len(known) else None,
        "by_label": [
            {
                "source": source,
                "label": label,
                **referral(predictions.select([key == (source, label) for key in keys]), bootstrap, seed),
            }
            for source, label in sorted(set(keys))
            if label
        ],
    }


def _pairwise(metrics: Metrics | None) -> dict[str, Any] | None:
    if metrics is None or metrics.pairwise is None:
        return None
    positive, negative = PAIR
    return {"positive": positive, "negative": negative, **metrics.pairwise.plain()}


def draw(known: Predictions, metrics: Metrics) -> dict[str, bytes]:
    """The pictures of an evaluation: name → PNG."""
    error = metrics.scores["calibration_error"].value or 0.0
    pictures = {
        "confusion": plots.confusion_matrix(metrics),
        "reliability": plots.reliability_curve(reliability(known.probabilities, known.truth), error),
        "risk_coverage": plots.risk_coverage(known),
    }
    if sum(count > 0 for count in metrics.counts.values()) > 1:
        pictures["roc"] = plots.roc(known)
        pictures["precision_recall"] = plots.precision_recall(known, metrics)
    return pictures
