"""The loss ablation (the paper's experiment 1): with and without quality control, four losses, each cross-validated."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import NOTICE, csv_text, write_bytes, write_json, write_text
from pulmoscope.core.software import versions
from pulmoscope.core.types import NOT_FILLED
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.compare import difference
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.recipes.recipe import Recipe, expected
from pulmoscope.recipes.specs import LossSpec, VoteSpec
from pulmoscope.runtime.votes import VOTES
from pulmoscope.training.run import PREPARED
from pulmoscope.training.severity.charts import bars
from pulmoscope.training.severity.folds import BOOTSTRAP, Fit, cross_validate_severity
from pulmoscope.training.severity.predicted import PredictedStudy, of_patients, of_slices

SCHEMA_VERSION = "1.0"
RESULT = "ablation.json"
LEVELS = ("slice", *VOTES)
INTERVAL = (
    "95 % percentile bootstrap over patients; each system is trained once, and what another seed "
    "of training would change is not in it; seven gains a level, not corrected for their number"
)


def losses(recipe: Recipe) -> Mapping[str, LossSpec]:
    """The four that are compared; strengths are the recipe's."""
    loss = recipe.loss
    plain = LossSpec()
    beta = loss.beta or 0.999
    margin = dataclasses.replace(plain, kind="ldam", largest_margin=loss.largest_margin, scale=loss.scale)
    return {
        "CE": plain,
        "LDAM": margin,
        "CB": dataclasses.replace(plain, beta=beta, deferred=loss.deferred),
        "LDAM+CB": dataclasses.replace(margin, beta=beta, deferred=loss.deferred),
    }


def _acting(loss: LossSpec) -> LossSpec:
    """The loss without settings that do nothing."""
    plain = LossSpec()
    if loss.kind != "focal":
        loss = dataclasses.replace(loss, gamma=plain.gamma)
    if loss.kind != "ldam":
        loss = dataclasses.replace(loss, largest_margin=plain.largest_margin, scale=plain.scale)
    return loss if loss.beta else dataclasses.replace(loss, deferred=plain.deferred)


def ablate(
    recipe: Recipe,
    table: SampleTable,
    count: int,
    out: Path,
    fit: Fit,
    *,
    bootstrap: int = BOOTSTRAP,
    progress: bool = True,
    command: str = "",
) -> dict[str, Any]:
    """Cross-validate {no quality control, the recipe's imputer} x {CE, LDAM, CB, LDAM+CB}.

    Each is a folder ``out/<imputer>-<loss>``, as ``train --folds`` writes it; all share prepared slices and imputers.
    What is finished is not done again. An AnoGAN is only in the recipe's own system, which is one of the eight.
    Writes ``ablation.json``, ``ablation.csv`` and ``ablation.png``; a row's gain is its MCC less that of the first row,
    {no quality control, CE}, over the same patients.

    Args:
        recipe: its imputer is the one that is compared with none; ``linear`` where it has none itself.

    Raises:
        RecipeError: the recipe's loss is none of the four.
    """
    _check_loss(recipe)
    owned = not recipe.cache
    recipe = dataclasses.replace(recipe, cache=recipe.cache or str(out / PREPARED))
    rows: list[dict[str, Any]] = []
    baseline: Mapping[str, Predictions] = {}
    for name, system in _systems(recipe):
        folder = out / f"{system.controls.imputer}-{name.lower()}"
        validated = cross_validate_severity(
            system, table, count, folder, fit, bootstrap=bootstrap, progress=progress
        )
        predictions = _predictions(validated.studies, recipe.classes)
        baseline = baseline or predictions
        gains = {
            level: difference(predictions[level], baseline[level], "mcc", bootstrap, recipe.seed).plain()
            for level in LEVELS
        }
        rows.append(_row(system.controls.imputer, name, validated.summary, gains))
    result = {
        "schema_version": SCHEMA_VERSION,
        "recipe": recipe.name,
        "folds": count,
        "rows": rows,
        "method": {
            "bootstrap": bootstrap,
            "seed": recipe.seed,
            "interval": INTERVAL,
        },
        "synthetic": validated.summary["synthetic"],
        "command": command,
        "software": versions("torch", "timm", "scikit-learn"),
        "notice": NOTICE,
    }
    _write(out, result, recipe)
    if owned:
        shutil.rmtree(out / PREPARED, ignore_errors=True)
    return result


def _check_loss(recipe: Recipe) -> None:
    if _acting(recipe.loss) not in losses(recipe).values():
        raise RecipeError(
            f"loss.kind={recipe.loss.kind}: must be cross-entropy or ldam, to be among those that are compared"
        )


def _row(imputer: str, loss: str, summary: Mapping[str, Any], gains: Mapping[str, Any]) -> dict[str, Any]:
    """What ``ablation.json`` says of one system."""
    scores = {level: summary["figures"][level]["scores"]["mcc"] for level in LEVELS}
    return {"imputer": imputer, "loss": loss, "mcc": scores, "gain": gains, "seconds": summary["seconds"]}


def _systems(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """The eight, by their loss's name; the first has no quality control and plain cross-entropy."""
    quality = recipe.controls
    other = "linear" if quality.imputer == NOT_FILLED else quality.imputer
    for kind in (NOT_FILLED, other):
        for name, loss in losses(recipe).items():
            is_own = kind == quality.imputer and loss == _acting(recipe.loss)
            anomalies = quality.anomalies and is_own  # they say nothing about grades
            changed = dataclasses.replace(quality, imputer=kind, anomalies=anomalies)  # type: ignore[arg-type]
            yield name, dataclasses.replace(recipe, loss=loss, quality=changed)


def _write(out: Path, result: Mapping[str, Any], recipe: Recipe) -> None:
    """The table, the plot and, last, the JSON."""
    rows = result["rows"]
    columns = [
        (kind, level, part)
        for kind in ("mcc", "gain")
        for level in LEVELS
        for part in ("value", "low", "high")
    ]
    header = ["imputer", "loss", *(f"{level}_{kind}_{part}" for kind, level, part in columns)]
    lines = (
        [row["imputer"], row["loss"], *(row[kind][level][part] for kind, level, part in columns)]
        for row in rows
    )
    write_text(out / "ablation.csv", csv_text(header, lines))
    series = {
        f"{kind}, {level}": [row["mcc"][level] for row in rows if row["imputer"] == kind]
        for level in ("slice", expected(recipe.patient, VoteSpec).decides)
        for kind in dict.fromkeys(row["imputer"] for row in rows)
    }
    write_bytes(out / "ablation.png", bars(list(losses(recipe)), series, "MCC"))
    write_json(out / RESULT, result)


def _predictions(studies: Sequence[PredictedStudy], classes: tuple[str, ...]) -> Mapping[str, Predictions]:
    """The answers at every level."""
    return {"slice": of_slices(studies, classes)} | {
        vote: of_patients(studies, classes, vote) for vote in VOTES
    }
