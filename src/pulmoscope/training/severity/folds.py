"""Cross-validation of system A: every patient is predicted once, by a system that has not seen them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.core.files import NOTICE, csv_text, write_bytes, write_json, write_text
from pulmoscope.core.software import versions
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation import plots
from pulmoscope.evaluation.bootstrap import INTERVAL
from pulmoscope.evaluation.metrics import evaluate
from pulmoscope.quality.anomaly import ScoreSummary
from pulmoscope.recipes.recipe import Recipe, expected
from pulmoscope.recipes.specs import VoteSpec
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.votes import VOTES
from pulmoscope.training.experiments.anomalies import anomaly_figures, anomaly_picture
from pulmoscope.training.folds import folds
from pulmoscope.training.progress import Reporter
from pulmoscope.training.run import PREPARED, TrainedRun
from pulmoscope.training.severity.held_out import predicted_studies
from pulmoscope.training.severity.predicted import PredictedStudy, figures, of_patients
from pulmoscope.training.severity.run import cache_of, without_dropped

SCHEMA_VERSION = "1.0"
SUMMARY = "summary.json"
BOOTSTRAP = 1000

Fit = Callable[[Recipe, SampleTable, Path], TrainedRun]
"""Trains one table's split train in one folder, and makes the folder a bundle."""


@dataclass(frozen=True)
class Validated:
    """A finished cross-validation.

    Attributes:
        studies: every patient, fold by fold.
        runs: of the folds.
        summary: the contents of ``summary.json``.
    """

    studies: Sequence[PredictedStudy]
    runs: Sequence[TrainedRun]
    summary: Mapping[str, Any]


def severity_folds(recipe: Recipe, table: SampleTable, count: int, reporter: Reporter) -> list[SampleTable]:
    """Share all studies of the recipe's classes out into folds, by patient and stratified; the part is ``val``.

    The data set's own splits play no part: every patient is held out once.

    Raises:
        DatasetError: a class has no study, or fewer patients than folds.
    """
    known = without_dropped(table, recipe, reporter)
    pool = tuple(dataclasses.replace(sample, split="train") for sample in known)
    return folds(dataclasses.replace(known, samples=pool), count, recipe.seed)


def cross_validate_severity(
    recipe: Recipe,
    table: SampleTable,
    count: int,
    out: Path,
    fit: Fit,
    *,
    bootstrap: int = BOOTSTRAP,
    progress: bool = True,
    command: str = "",
) -> Validated:
    """Train every fold in ``out/fold-<n>``; write ``summary.json``, tables and pictures.

    Args:
        recipe: where it names no cache, the folds share one, which is removed when all are done.
        fit: trains one fold; one that is finished is returned as it is.
        command: what was typed.
    """
    reporter = Reporter.of(progress)
    owned = not recipe.cache
    recipe = dataclasses.replace(recipe, cache=recipe.cache or str(out / PREPARED))
    studies: list[PredictedStudy] = []
    runs: list[TrainedRun] = []
    rows: list[dict[str, Any]] = []
    for number, part in enumerate(severity_folds(recipe, table, count, reporter), 1):
        reporter.line(f"Fold {number} of {count}")
        run = fit(recipe, part, out / f"fold-{number}")
        held_out = part.split("val")
        of_fold = _scaled(
            predicted_studies(Model.load(run.folder), recipe, held_out, cache_of(recipe, out), reporter),
            run,
        )
        studies += of_fold
        runs.append(run)
        rows.append(
            {
                "fold": number,
                "seconds": run.summary["seconds"],
                "held_out": [sample.file for sample in held_out],
                **_mcc(of_fold, recipe),
            }
        )
    summary = _summary(recipe, rows, studies, bootstrap, command)
    _write(out, studies, rows, recipe)
    _write_anomalies(out, studies, summary["anomaly"])
    write_json(out / SUMMARY, summary)
    if owned:
        shutil.rmtree(out / PREPARED, ignore_errors=True)
    return Validated(studies, runs, summary)


def _summary(
    recipe: Recipe,
    rows: Sequence[Mapping[str, Any]],
    studies: Sequence[PredictedStudy],
    bootstrap: int,
    command: str,
) -> dict[str, Any]:
    """The contents of ``summary.json``."""
    decides = expected(recipe.patient, VoteSpec).decides
    return {
        "schema_version": SCHEMA_VERSION,
        "recipe": recipe.name,
        "settings": {
            "imputer": recipe.controls.imputer,
            "loss": dataclasses.asdict(recipe.loss),
            "vote": decides,
        },
        "classes": list(recipe.classes),
        "folds": list(rows),
        "figures": figures(studies, recipe.classes, bootstrap, recipe.seed),
        "anomaly": anomaly_figures(studies, recipe.classes, bootstrap, recipe.seed),
        "method": {
            "folds": "by patient, stratified; from a held-out fold nothing is learnt, and nothing chosen but the two "
            "thresholds of its own model (referral, anomaly), which play no part in these figures",
            "bootstrap": bootstrap,
            "seed": recipe.seed,
            "interval": f"{INTERVAL}, over patients",
        },
        "synthetic": any(one.sample.source == SYNTHETIC_SOURCE for one in studies),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "command": command,
        "software": versions("torch", "timm", "scikit-learn"),
        "notice": NOTICE,
    }


def _write(
    out: Path, studies: Sequence[PredictedStudy], rows: Sequence[Mapping[str, Any]], recipe: Recipe
) -> None:
    """The tables and pictures."""
    names = ["fold", "seconds", "slice", *VOTES]
    write_text(out / "folds.csv", csv_text(names, ([row[name] for name in names] for row in rows)))
    _write_predictions(out, studies, recipe)
    patients = of_patients(studies, recipe.classes, expected(recipe.patient, VoteSpec).decides)
    write_bytes(out / "confusion.png", plots.confusion_matrix(evaluate(patients, 0)))


def _write_anomalies(out: Path, studies: Sequence[PredictedStudy], anomaly: Mapping[str, Any] | None) -> None:
    """How the slices' scores are spread in each class: ``anomaly.csv``, as in the paper's Table I, and a picture."""
    if anomaly is None:
        for name in ("anomaly.csv", "anomaly.png"):  # of an earlier run
            (out / name).unlink(missing_ok=True)
        return
    names = [cells.name for cells in dataclasses.fields(ScoreSummary)]
    rows = ([label, *(cells[name] for name in names)] for label, cells in anomaly["per_class"].items())
    write_text(out / "anomaly.csv", csv_text(["class", *names], rows))
    write_bytes(out / "anomaly.png", anomaly_picture(studies))


def _scaled(studies: Sequence[PredictedStudy], run: TrainedRun) -> list[PredictedStudy]:
    """The studies with anomaly scores in units of the fold's own: every fold has an AnoGAN with a scale of its own."""
    return [
        one
        if one.anomaly is None
        else dataclasses.replace(one, anomaly=one.anomaly / np.float32(run.summary["anomaly_scale"]))
        for one in studies
    ]


def _mcc(studies: Sequence[PredictedStudy], recipe: Recipe) -> dict[str, float | None]:
    """A fold's MCC of slices and by each vote."""
    levels = figures(studies, recipe.classes, 0, recipe.seed)
    return {name: scores["scores"]["mcc"]["value"] for name, scores in levels.items()}


def _write_predictions(out: Path, studies: Sequence[PredictedStudy], recipe: Recipe) -> None:
    """``predictions.csv``, a row a patient, and ``slices.csv``, a row a slice; probabilities by class."""
    classes, decides = recipe.classes, expected(recipe.patient, VoteSpec).decides
    columns = [f"p_{name}" for name in classes]
    called = {vote: of_patients(studies, classes, vote).predicted for vote in VOTES}
    patients = of_patients(studies, classes, decides)
    rows = [
        [
            file,
            patient,
            source,
            label,
            called[decides][index],
            *_plain(row),
            *(called[vote][index] for vote in VOTES),
        ]
        for index, (file, patient, source, label, row) in enumerate(
            zip(
                patients.files,
                patients.patients,
                patients.sources,
                patients.labels,
                patients.probabilities,
                strict=True,
            )
        )
    ]
    header = ["file", "patient", "source", "label", "predicted", *columns, *VOTES]
    write_text(out / "predictions.csv", csv_text(header, rows))
    slices = [
        [one.sample.file, index, one.sample.label, classes[int(row.argmax())], *_plain(row), f"{gone:.4f}"]
        + [""] * (one.anomaly is None)
        + ([] if one.anomaly is None else [f"{one.anomaly[at]:.6f}"])
        for one in studies
        for at, (index, row, gone) in enumerate(zip(one.indices, one.slices, one.missing, strict=True))
    ]
    header = ["file", "slice", "label", "predicted", *columns, "missing_share", "anomaly"]
    write_text(out / "slices.csv", csv_text(header, slices))


def _plain(row: Any) -> list[str]:
    return [f"{float(probability):.6f}" for probability in row]
