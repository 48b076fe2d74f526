"""Cross-validation: train and val shared out anew, patients and near-duplicates kept together; one run a fold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import write_json
from pulmoscope.datasets.labels import shares_of
from pulmoscope.datasets.splits import image_groups
from pulmoscope.datasets.table import SampleTable
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.training.frames import prepared
from pulmoscope.training.run import TrainedRun

SCHEMA_VERSION = "1.0"


def folds(table: SampleTable, count: int, seed: int) -> list[SampleTable]:
    """``count`` tables of the same samples of train and val, each with another part as ``val``.

    The parts have about equal fractions of each class, and all images of a patient in one, near-duplicates too (so
    every image is read); an image whose patient is not known stands for itself.

    Raises:
        DatasetError: fewer than two folds, or fewer patients in a class than folds.
    """
    pool = table.split("train", "val")
    labels = np.array([sample.label for sample in pool])
    groups = np.array(image_groups(pool.root, pool.samples))
    patients = {label: len(set(groups[labels == label])) for label in pool.classes}
    rarest = min(patients, key=lambda label: patients[label])
    fewest = patients[rarest]
    if not 2 <= count <= fewest:
        raise DatasetError(
            f"--folds {count}: must be from 2 to {fewest}, the patients of the rarest class, {rarest} "
            "(near-duplicate images count as one)"
        )
    parts = StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(groups, labels, groups)
    tables = []
    for _, held_out in parts:
        chosen = set(held_out.tolist())
        samples = tuple(
            dataclasses.replace(sample, split="val" if index in chosen else "train")
            for index, sample in enumerate(pool)
        )
        tables.append(dataclasses.replace(pool, samples=samples))
    return tables


def cross_validate(
    recipe: Recipe,
    table: SampleTable,
    count: int,
    out: Path,
    fit: Callable[[SampleTable, Path], TrainedRun],
) -> dict[str, Any]:
    """Train every fold in ``out/fold-<n>`` and write ``out/summary.json``.

    Args:
        fit: trains one table in one folder.

    Returns:
        The summary: each fold's validation loss and accuracy, their mean and standard deviation.
    """
    table = prepared(recipe, table)
    shared = {label for label, text in recipe.labels.items() if len(shares_of(text)) > 1}
    classes = recipe.classes or tuple(name for name in table.classes if name not in shared)
    runs = [
        fit(part, out / f"fold-{number}")
        for number, part in enumerate(folds(table.with_labels(classes), count, recipe.seed), 1)
    ]
    kept = ("val_accuracy", "val_loss", "best_epoch", "epochs", "seconds")
    results = [{"fold": n, **{key: run.summary[key] for key in kept}} for n, run in enumerate(runs, 1)]
    summary: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "recipe": recipe.name, "folds": results}
    for key in ("val_accuracy", "val_loss"):
        values = [result[key] for result in results if result[key] is not None]
        summary[key] = (
            {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))} if values else None
        )
    write_json(out / "summary.json", summary)
    return summary
