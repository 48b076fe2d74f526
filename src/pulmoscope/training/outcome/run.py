"""From a recipe and a table to a folder: the model of an outcome, its figures and its card; and a cross-validation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.core.analytes import ANALYTES
from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import claim_folder, sha256_of, write_json, write_text
from pulmoscope.core.outcome import SEVERITY
from pulmoscope.core.software import versions
from pulmoscope.datasets.patients import PatientTable
from pulmoscope.evaluation.bootstrap import INTERVAL
from pulmoscope.evaluation.outcome import outcome_figures
from pulmoscope.recipes.published.outcome_clinical import OutcomeRecipe
from pulmoscope.recipes.settings import of_tool
from pulmoscope.runtime.outcome import CARD, MANIFEST, Input, OutcomeModel, load_outcome, sigmoid
from pulmoscope.training.outcome.card import outcome_card
from pulmoscope.training.outcome.train import BASE, Fitted, chosen_inputs, fit, threshold

SUMMARY = "summary.json"
HELD_OUT, VALIDATION = "train, held out", "val"


def train_outcome(
    recipe: OutcomeRecipe,
    table: PatientTable,
    out: Path,
    *,
    force: bool = False,
    terms: str = "",
    release: str = "",
    command: str = "",
) -> OutcomeModel:
    """Train on the split train, choose the threshold on val, and write the model and its card.

    Args:
        terms: the data's licence or terms of use, for the card.
        release: version of the model; empty: its checksum's beginning.
        command: what was typed.

    Raises:
        DatasetError: a split, an outcome or an input is missing.
        OutputExistsError: ``out`` holds a model, and ``force`` is not given.
    """
    learnt, val = table.split("train"), table.split("val")
    if val.happened.all() or not val.happened.any():
        raise DatasetError(f"{table.name}: the split val needs patients with and without {table.outcome}")
    names = chosen_inputs(recipe, learnt)
    claim_folder(out, MANIFEST, force)
    fitted = fit(recipe, learnt, names)
    log_odds = fitted.additive.log_odds(val.columns(names))
    limit = threshold(log_odds, val.happened, recipe.sensitivity)
    metrics = {
        HELD_OUT: _figures(fitted.held_out, learnt, limit),
        VALIDATION: _figures(log_odds, val, limit),
    }
    model = OutcomeModel(
        folder=out,
        name=recipe.name,
        version=release or sha256_of(repr(fitted.additive).encode())[:12],
        outcome=recipe.outcome,
        title=recipe.happens or recipe.outcome,
        hospital=recipe.hospital or table.hospital,
        synthetic=table.synthetic,
        inputs=_inputs(names, learnt),
        additive=fitted.additive,
        calibration=_calibration(fitted, recipe),
        threshold=limit,
        bootstrap=fitted.members,
        recipe=of_tool(recipe),
        training_data=_training_data(table) | {"sums": table.sums(names), "terms": terms, "command": command},
        metrics=metrics,
        software=versions("scikit-learn"),
    )
    model.save()
    model = load_outcome(out)
    write_text(out / CARD, outcome_card(model))
    return model


def cross_validate_outcome(
    recipe: OutcomeRecipe, table: PatientTable, folds: int, out: Path, force: bool = False
) -> dict[str, Any]:
    """Train on all patients but those of one fold, for each fold, and write the figures of all in ``summary.json``.

    Every fold chooses its strength and is calibrated within its own training patients.

    Raises:
        DatasetError, OutputExistsError: as of :func:`train_outcome`.
    """
    names = chosen_inputs(recipe, table)
    claim_folder(out, SUMMARY, force)
    order = np.random.default_rng(recipe.seed).permutation(len(table))
    order = order[np.argsort(table.happened[order], kind="stable")]
    fold = np.empty(len(table), dtype=np.intp)
    fold[order] = np.arange(len(table)) % folds
    log_odds, limits = np.empty(len(table)), []
    for number in range(folds):
        inside, outside = table.where(fold != number), table.where(fold == number)
        fitted = fit(replace(recipe, bootstrap=2), inside, names)
        log_odds[fold == number] = fitted.additive.log_odds(outside.columns(names))
        limits.append(threshold(fitted.held_out, inside.happened, recipe.sensitivity))
    content = {
        "schema_version": "1.0",
        "recipe": of_tool(recipe),
        "data": _training_data(table),
        "folds": folds,
        "figures": _figures(log_odds, table, float(np.mean(limits))),
        "synthetic": table.synthetic,
    }
    write_json(out / SUMMARY, content)
    return content


def _figures(log_odds: Any, table: PatientTable, limit: float) -> dict[str, Any]:
    found = outcome_figures(sigmoid(log_odds), table.happened, limit)
    return {
        "patients": len(table),
        "events": int(table.happened.sum()),
        "intervals": INTERVAL,
        "figures": {name: estimate.plain() for name, estimate in found.items()},
    }


def _inputs(names: tuple[str, ...], table: PatientTable) -> tuple[Input, ...]:
    values = table.columns(names)
    rows = []
    for name, column in zip(names, values.T, strict=True):
        known = column[~np.isnan(column)]
        rows.append(
            Input(
                name,
                *_described(name),
                float(known.min()),
                float(np.median(known)),
                float(known.max()),
                len(known) / len(column),
            )
        )
    return tuple(rows)


def _described(name: str) -> tuple[str, str]:
    """Title and unit of a value; a scaled one has its name and no unit."""
    if name in SEVERITY:
        return SEVERITY[name][:2]
    if (analyte := ANALYTES.get(name)) is not None:
        return analyte.title, "" if analyte.unit == "1" else analyte.unit
    return name, ""


def _calibration(fitted: Fitted, recipe: OutcomeRecipe) -> dict[str, Any]:
    return {
        "method": f"logistic regression of the log-odds held out in {recipe.folds} folds of the split train (Platt)",
        "base": {
            "strength": fitted.strength,
            "losses": {str(key): loss for key, loss in fitted.losses.items()},
        },
        "second_level": fitted.second.plain(),
        "input": BASE,
    }


def _training_data(table: PatientTable) -> dict[str, Any]:
    splits = sorted(set(table.splits))
    return {
        "table": table.name,
        "counts": {
            split: {
                "patients": len(part := table.split(split)),
                "events": int(part.happened.sum()),
            }
            for split in splits
        },
        "impossible": dict(table.impossible),
        "fingerprint": table.fingerprint,
    }
