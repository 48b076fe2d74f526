"""What a model card says of hospitals that were left out of training, from the content of ``hospitals.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pulmoscope.core.errors import BundleError
from pulmoscope.core.files import sha256_of
from pulmoscope.evaluation.hospitals import LEAST
from pulmoscope.recipes import settings
from pulmoscope.recipes.recipe import Recipe, travelling
from pulmoscope.report.hospitals import NOTHING, SUMMARY, cell
from pulmoscope.runtime.bundle import Bundle

ROLE = "left out"
TITLE = "At a hospital left out of training"
COLUMNS = {
    "AUROC_within": "AUROC within",
    "normals_called_COVID": "normals called COVID",
    "normals_reported_as_COVID": "normals reported as COVID",
    "reported": "reported at all",
}
FIGURES = {
    "auroc_within": "AUROC_within",
    "normals_called_covid": "normals_called_COVID",
    "normals_reported_covid": "normals_reported_as_COVID",
    "wrongly_called": "wrongly_called",
    "wrongly_reported": "wrongly_reported",
}


def recorded_hospitals(bundle: Bundle, report: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of ``Bundle.metrics``, from the content of ``hospitals.json``: only hospitals that count are in it.

    Raises:
        BundleError: no hospital counts, or the models that were asked are of another recipe than the bundle.
    """
    recipe, shorter = report["recipe"], ""
    if recipe is not None:
        shorter = _check_recipe(bundle, recipe["settings"])
    rows = [row for row in report["rows"] if row["counts"]]
    if not rows:
        raise BundleError(
            f"{bundle.folder}: only figures of a hospital that no training has seen can be recorded"
        )
    figures: dict[str, Any] = {}
    for name, figure in FIGURES.items():
        held = report["summary"][name]
        if held["worst"] is not None:
            figures[f"{figure}_mean"] = {"value": held["mean"], "low": None, "high": None}
            figures[f"{figure}_worst"] = _short(held["worst"]) | {"hospital": held["worst"]["hospital"]}
    names = ", ".join(row["hospital"] for row in rows)
    what = (
        f"models of the same recipe, each trained without the hospital it is asked about{shorter}"
        if recipe
        else ("this model, at hospitals that it has not learnt from")
    )
    data = [run["data"]["sha256"] for run in report["runs"]]
    return {
        "role": ROLE,
        "what": f"{what}: {names}",
        "images": sum(row["images"] for row in rows),
        "figures": figures,
        "hospitals": {row["hospital"]: _row(row) for row in rows},
        "data_sha256": data[0] if len(data) == 1 else sha256_of("\n".join(sorted(data)).encode()),
        "command": report["command"],
    }


def left_out_section(metrics: Mapping[str, Any]) -> list[str]:
    """The card's lines: a table for every record, its means and its worst figures."""
    records = {name: record for name, record in metrics.items() if record["role"] == ROLE}
    if not records:
        return ["None is recorded: how it does at a hospital that it has not learnt from is not known."]
    return [line for name, record in records.items() for line in _record(name, record)]


def _record(name: str, kept: Mapping[str, Any]) -> list[str]:
    header = ["hospital", "images", *COLUMNS.values()]
    rows = [
        [hospital, f"{row['images']:,}", *(cell(row.get(key, {}), 3) for key in COLUMNS)]
        for hospital, row in kept["hospitals"].items()
    ]
    means = []
    for key, figure in FIGURES.items():
        worst = kept["figures"].get(f"{figure}_worst")
        if worst is not None:
            mean = kept["figures"][f"{figure}_mean"]["value"]
            means.append(f"- {SUMMARY[key]}: mean {mean:.3f}, worst {cell(worst)} ({worst['hospital']})")
    return [
        f"{name}: {kept['what']}. COVID against Normal (or non-COVID) within one hospital; all images of it, "
        f"95 % bootstrap intervals; {NOTHING} where there are fewer than {LEAST} of a class.",
        "",
        *(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)),
        "",
        *means,
        "",
    ]


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the card tells of a hospital."""
    normals = row["by_label"].get("Normal")
    fractions = (
        {}
        if normals is None or normals["images"] < LEAST
        else {
            "normals_called_COVID": _short(normals["called"]["COVID"]),
            "normals_reported_as_COVID": _short(normals["reported_as"]["COVID"]),
        }
    )
    return {
        "images": row["images"],
        "AUROC_within": _short(row["auroc_within"]),
        **fractions,
        "reported": _short(row["reported"]),
    }


def _short(estimate: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: estimate[name] for name in ("value", "low", "high")}


def _check_recipe(bundle: Bundle, plain: Mapping[str, Any]) -> str:
    """Is this the recipe that the bundle was trained by, but for the hospitals left out? Says where epochs differ."""
    ours, theirs = (_comparable(settings.from_plain(plain_recipe)) for plain_recipe in (bundle.recipe, plain))
    for name in dict.fromkeys((*ours, *theirs)):
        if ours.get(name) != theirs.get(name):
            raise BundleError(
                f"{bundle.folder}: only figures of the same recipe can be recorded "
                f"({name}: {ours.get(name)}, found: {theirs.get(name)})"
            )
    epochs = [_epochs(settings.from_plain(plain_recipe)) for plain_recipe in (plain, bundle.recipe)]
    return "" if epochs[0] == epochs[1] else f", for {epochs[0]} epochs, where the model has {epochs[1]}"


def _epochs(recipe: Recipe) -> int:
    return sum(phase.epochs for phase in recipe.phases)


def _comparable(recipe: Recipe) -> dict[str, Any]:
    """The settings that must agree, dotted path → value: not what is left out, said or measured on the data.

    Nor the number of epochs, as a short schedule is enough to rank by: it is reported. Of weights to begin with, a
    bundle knows the file's name alone.
    """
    phases = tuple(dataclasses.replace(phase, epochs=1) for phase in recipe.phases)
    recipe = dataclasses.replace(travelling(recipe), phases=phases, left_out=(), wording={}, grid={})
    if recipe.normalise == "data":
        recipe = dataclasses.replace(
            recipe, preprocess=dataclasses.replace(recipe.framing, mean=0.5, std=0.5)
        )
    return dict(settings.leaves(settings.to_plain(recipe), numbered=True))
