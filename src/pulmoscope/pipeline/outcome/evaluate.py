"""A model of an outcome on a table of patients: predictions, figures with intervals, and a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import NOTICE, claim_folder, csv_text, write_bytes, write_json, write_text
from pulmoscope.core.software import versions
from pulmoscope.datasets.patients import PatientTable, Window, read_patients
from pulmoscope.evaluation import plots
from pulmoscope.evaluation.bootstrap import INTERVAL
from pulmoscope.evaluation.outcome import auroc_difference, calibration_groups, outcome_figures
from pulmoscope.report.outcome import evaluation_page
from pulmoscope.runtime.outcome import OutcomeModel

SCHEMA_VERSION = "1.0"
METRICS, PREDICTIONS, PAGE = "metrics.json", "predictions.csv", "report.html"
DAYS = (1, 3, 7, 10, 14)
"""How long before the end of the stay values were taken at least: an outcome that is near is easy to tell."""


@dataclass(frozen=True)
class Source:
    """Where the patients are; what is not given is as in the model's training.

    Attributes:
        folder: the data set, or the table itself.
        table, outcome, outcomes: as in :class:`~pulmoscope.recipes.published.outcome_clinical.OutcomeRecipe`.
        hours: likewise.
        split: which split, or several with commas between them; ``all`` takes every patient.
    """

    folder: Path
    table: str = ""
    outcome: str = ""
    outcomes: str = ""
    hours: float | None = None
    split: str = "test"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits' names."""
        return tuple(self.split.split(","))

    def patients(
        self, model: OutcomeModel, window: Window | None = None, labelled: bool = True
    ) -> PatientTable:
        """The table's patients of the split; what :meth:`whole` raises, or DatasetError where nobody is in it."""
        return self.whole(model, window, labelled).split(*self.splits)

    def whole(self, model: OutcomeModel, window: Window | None = None, labelled: bool = True) -> PatientTable:
        """All patients of the table.

        Args:
            window: other than the first values within ``hours``.
            labelled: whether the outcome is read.

        Raises:
            DatasetError: see :func:`~pulmoscope.datasets.patients.read_patients`.
        """
        recipe = model.recipe
        hours = self.hours if self.hours is not None else float(recipe["hours"])
        return read_patients(
            self.folder,
            self.table or str(recipe["table"]),
            (self.outcome or model.outcome) if labelled else "",
            self.outcomes or str(recipe["outcomes"]),
            window or Window(hours),
        )


def evaluate_outcome(
    model: OutcomeModel,
    source: Source,
    out: Path,
    *,
    beside: OutcomeModel | None = None,
    bootstrap: int = 1000,
    seed: int = 20,
    command: str = "",
    force: bool = False,
) -> dict[str, Any]:
    """Write ``predictions.csv``, pictures, ``report.html`` and, last, ``metrics.json``, whose content is given back.

    Args:
        beside: another model, whose AUROC on the same patients is compared.
        bootstrap: resamples for the intervals; 0: none.
        command: what was typed.

    Raises:
        DatasetError: the table is not as it should be, or has one outcome alone.
        OutputExistsError: ``out`` holds figures, and ``force`` is not given.
    """
    whole = source.whole(model)
    table = whole.split(*source.splits)
    if table.happened.all() or not table.happened.any():
        raise DatasetError(
            f"{table.name}: the split {source.split} has one outcome alone; nothing can be evaluated"
        )
    claim_folder(out, METRICS, force)
    values = table.columns(model.names)
    predicted = model.probabilities(values)
    probabilities, happened = predicted[0], table.happened
    found = outcome_figures(probabilities, happened, model.threshold, bootstrap, seed)
    report: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model": _model(model),
        "data": _data(model, table, source.split, values) | _seen(model, whole, source.splits),
        "threshold": model.threshold,
        "figures": {name: estimate.plain() for name, estimate in found.items()},
        "calibration": calibration_groups(probabilities, happened),
        "by_stay": _by_stay(table, probabilities, model.threshold, bootstrap, seed),
        "by_time": _by_time(model, source, bootstrap, seed) if table.timed else [],
        "truth": _truth(table, probabilities, bootstrap, seed),
        "beside": None if beside is None else _beside(beside, whole, source, probabilities, bootstrap, seed),
        "synthetic": table.synthetic or model.synthetic,
        "method": {"bootstrap": bootstrap, "seed": seed, "interval": INTERVAL},
        "command": command,
        "software": versions("scikit-learn"),
        "notice": NOTICE,
    }
    write_text(out / PREDICTIONS, _predictions(table, predicted, values))
    pictures = {
        "roc": plots.roc_curves([plots.Curve(model.title, happened, probabilities)]),
        "calibration": plots.outcome_calibration(report["calibration"]),
    }
    for name, picture in pictures.items():
        write_bytes(out / f"{name}.png", picture)
    write_text(out / PAGE, evaluation_page(report, pictures))
    write_json(out / METRICS, report)
    return report


def apply_outcome(model: OutcomeModel, source: Source, out: Path, *, force: bool = False) -> PatientTable:
    """Predict every patient of a table whose outcome is not known, and write ``predictions.csv``.

    Raises:
        DatasetError, OutputExistsError: as of :func:`evaluate_outcome`.
    """
    table = source.patients(model, labelled=False)
    claim_folder(out, PREDICTIONS, force)
    values = table.columns(model.names)
    write_text(out / PREDICTIONS, _predictions(table, model.probabilities(values), values, labelled=False))
    return table


def _model(model: OutcomeModel) -> dict[str, Any]:
    own = ("name", "version", "sha256", "outcome", "title", "hospital", "synthetic")
    return {name: getattr(model, name) for name in own} | {"kind": model.recipe["model"]}


def _data(
    model: OutcomeModel, table: PatientTable, split: str, values: npt.NDArray[np.float64]
) -> dict[str, Any]:
    missing = np.isnan(values)
    return {
        "table": table.name,
        "hospital": table.hospital,
        "outcome": table.outcome,
        "split": split,
        "patients": len(table),
        "events": int(table.happened.sum()),
        "same_hospital": table.hospital == model.hospital or table.name == model.training_data["table"],
        "same_outcome": table.outcome == model.outcome,
        "absent": [name for index, name in enumerate(model.names) if missing[:, index].all()],
        "missing_fraction": float(missing.mean()),
        "impossible": dict(table.impossible),
        "sha256": table.fingerprint,
    }


def _seen(model: OutcomeModel, table: PatientTable, splits: tuple[str, ...]) -> dict[str, bool]:
    """Whether a model may have learnt from some of these patients, and its threshold been chosen on some.

    So it is where a table of the training's name is asked about that split; and, whatever its name, where the values of
    what is asked about are those of that split, or where all values are the training's and its splits are others.

    Args:
        table: all patients, before ``splits`` are taken.
    """
    before, now = model.training_data["sums"], table.sums(model.names)
    chosen = set(now) if "all" in splits else {"all", *splits}
    named = table.name == model.training_data["table"]

    def seen(split: str) -> bool:
        same = before[split] in [now[part] for part in chosen & set(now)]
        drawn_again = before["all"] == now["all"] and before[split] != now.get(split)
        return same or drawn_again or (named and (split in splits or "all" in splits))

    return {"learnt_from": seen("train"), "threshold_from": seen("val")}


def _by_stay(
    table: PatientTable,
    probabilities: npt.NDArray[np.float64],
    threshold: float,
    bootstrap: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The same predictions of those patients whose stay did not end before so many days."""
    rows = []
    for days in (0, *DAYS):
        kept = table.stay_days >= days
        if 0 < table.happened[kept].sum() < kept.sum():
            figures = outcome_figures(probabilities[kept], table.happened[kept], threshold, bootstrap, seed)
            rows.append(_row(days, table.happened[kept], figures["auroc"].plain()))
    return rows


def _by_time(model: OutcomeModel, source: Source, bootstrap: int, seed: int) -> list[dict[str, Any]]:
    """Of a table with a row a time: the last values that were taken so many days before the end of the stay."""
    rows = []
    for days in (0, *DAYS):
        try:
            table = source.patients(model, Window(before_end_hours=24.0 * days))
        except DatasetError:
            continue  # nobody has a value so early
        if not 0 < table.happened.sum() < len(table):
            continue
        probabilities = model.probabilities(table.columns(model.names))[0]
        figures = outcome_figures(probabilities, table.happened, model.threshold, bootstrap, seed)
        rows.append(_row(days, table.happened, figures["auroc"].plain()))
    return rows


def _row(days: int, happened: npt.NDArray[np.bool_], auroc: Mapping[str, Any]) -> dict[str, Any]:
    return {"days": days, "patients": len(happened), "events": int(happened.sum()), "auroc": auroc}


def _truth(
    table: PatientTable, probabilities: npt.NDArray[np.float64], bootstrap: int, seed: int
) -> dict[str, Any] | None:
    """Of simulated records: the AUROC of the probabilities that they were drawn with, and by how much it is more."""
    if not table.truth:
        return None
    return {
        name: {
            "auroc": outcome_figures(true, table.happened, 0.5, bootstrap, seed)["auroc"].plain(),
            "difference": auroc_difference(true, probabilities, table.happened, bootstrap, seed).plain(),
        }
        for name, true in table.truth.items()
    }


def _beside(
    other: OutcomeModel,
    whole: PatientTable,
    source: Source,
    probabilities: npt.NDArray[np.float64],
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    table = whole.split(*source.splits)
    scores = other.probabilities(table.columns(other.names))[0]
    figures = outcome_figures(scores, table.happened, other.threshold, bootstrap, seed)
    return {
        "model": _model(other),
        "figures": {name: estimate.plain() for name, estimate in figures.items()},
        "difference": auroc_difference(probabilities, scores, table.happened, bootstrap, seed).plain(),
        **_seen(other, whole, source.splits),
    }


def _predictions(
    table: PatientTable,
    predicted: tuple[npt.NDArray[np.float64], ...],
    values: npt.NDArray[np.float64],
    labelled: bool = True,
) -> str:
    """A row a patient; a local file, as it names patients as the table does.

    Args:
        labelled: whether the outcome is known. Where it is not, splits mean nothing, and may have been drawn.
    """
    header = [
        "patient",
        *(["split", table.outcome] if labelled else []),
        "probability",
        "low",
        "high",
        "log_odds",
    ]
    rows = []
    for index, (patient, split) in enumerate(zip(table.patients, table.splits, strict=True)):
        probability, low, high = (float(ends[index]) for ends in predicted)
        odds = math.log(probability) - math.log1p(-probability) if 0 < probability < 1 else math.nan
        known = [split, int(table.happened[index])] if labelled else []
        missing = int(np.isnan(values[index]).sum())
        rows.append([patient, *known, *(f"{one:.6g}" for one in (probability, low, high, odds)), missing])
    return csv_text([*header, "missing"], rows)
