"""The loss ablation (the paper's experiment 1): with and without quality control, four losses, each cross-validated."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulmoscope.core.files import NOTICE, csv_text, write_bytes, write_json, write_text
from pulmoscope.core.software import versions
from pulmoscope.datasets.table import SampleTable
from pulmoscope.models.spec import LossSpec
from pulmoscope.runtime.severity_bundle import NO_IMPUTER
from pulmoscope.training.severity.charts import bars
from pulmoscope.training.severity.folds import BOOTSTRAP, Fit, cross_validate_severity
from pulmoscope.training.severity.recipe import SeverityRecipe
from pulmoscope.training.severity.run import OWN_CACHE

SCHEMA_VERSION = "1.0"
RESULT = "ablation.json"
LEVELS = ("slice", "majority", "mean", "attention")


def losses(recipe: SeverityRecipe) -> Mapping[str, LossSpec]:
    """The four that are compared; strengths are the recipe's."""
    own = recipe.loss
    plain = LossSpec()
    beta = own.beta or 0.999
    margin = dataclasses.replace(plain, kind="ldam", largest_margin=own.largest_margin, scale=own.scale)
    return {
        "CE": plain,
        "LDAM": margin,
        "CB": dataclasses.replace(plain, beta=beta, deferred=own.deferred),
        "LDAM+CB": dataclasses.replace(margin, beta=beta, deferred=own.deferred),
    }


def ablate(
    recipe: SeverityRecipe,
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
    Writes ``ablation.json``, ``ablation.csv`` and ``ablation.png``.

    Args:
        recipe: its imputer is the one that is compared with none; ``linear`` where it has none itself.
    """
    owned = not recipe.cache
    recipe = dataclasses.replace(recipe, cache=recipe.cache or str(out / OWN_CACHE))
    imputer = "linear" if recipe.imputer == NO_IMPUTER else recipe.imputer
    rows = []
    for kind in (NO_IMPUTER, imputer):
        for name, loss in losses(recipe).items():
            same = kind == recipe.imputer and loss == recipe.loss
            own = dataclasses.replace(
                recipe,
                imputer=kind,  # type: ignore[arg-type]  # one of its names
                loss=loss,
                anomalies=recipe.anomalies and same,  # says nothing about grades
            )
            folder = out / f"{kind}-{name.lower()}"
            found = cross_validate_severity(
                own, table, count, folder, fit, bootstrap=bootstrap, progress=progress
            ).summary
            scores = {level: found["figures"][level]["scores"]["mcc"] for level in LEVELS}
            rows.append({"imputer": kind, "loss": name, "mcc": scores, "seconds": found["seconds"]})
    result = {
        "schema_version": SCHEMA_VERSION,
        "recipe": recipe.name,
        "folds": count,
        "rows": rows,
        "synthetic": found["synthetic"],
        "command": command,
        "software": versions("torch", "timm", "scikit-learn"),
        "notice": NOTICE,
    }
    header = ["imputer", "loss", *(f"{level}_{part}" for level in LEVELS for part in ("mcc", "low", "high"))]
    write_text(
        out / "ablation.csv",
        csv_text(
            header,
            (
                [
                    row["imputer"],
                    row["loss"],
                    *(row["mcc"][level][part] for level in LEVELS for part in ("value", "low", "high")),
                ]
                for row in rows
            ),
        ),
    )
    series = {
        f"{kind}, {level}": [row["mcc"][level] for row in rows if row["imputer"] == kind]
        for level in ("slice", recipe.vote)
        for kind in (NO_IMPUTER, imputer)
    }
    write_bytes(out / "ablation.png", bars(list(losses(recipe)), series, "MCC"))
    write_json(out / RESULT, result)
    if owned:
        shutil.rmtree(out / OWN_CACHE, ignore_errors=True)
    return result
