"""Fitting the severity of radiographs (``xray-severity``): features → layers → thresholds → intervals → a folder."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import (
    claim_folder,
    csv_text,
    sha256_of,
    sha256_of_file,
    write_bytes,
    write_json,
    write_text,
)
from pulmoscope.core.types import FloatArray
from pulmoscope.core.version import VERSION
from pulmoscope.datasets.table import SampleTable
from pulmoscope.recipes import settings
from pulmoscope.recipes.published.xray_severity import XraySeverityRecipe
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.xray_severity import CARD, MANIFEST, WEIGHTS, SeverityModel, load, manifest
from pulmoscope.training.card.xray_severity import severity_card
from pulmoscope.training.xray_severity.figures import (
    HeldOut,
    cross_validated,
    normal_figures,
    prediction_rows,
    scored_figures,
    widths_of,
)
from pulmoscope.training.xray_severity.images import Material, read_material
from pulmoscope.training.xray_severity.network import fit_map, fit_network, map_feature

PREDICTIONS = "predictions.csv"


def train_xray_severity(
    recipe: XraySeverityRecipe,
    tables: Sequence[SampleTable],
    run: Path,
    *,
    release: str = "",
    terms: str = "",
    command: str = "",
    force: bool = False,
    progress: bool = True,
) -> SeverityModel:
    """Fit, cross-validate and write a severity model; gives it back as it is loaded.

    Args:
        release: version; empty: the beginning of its weights' checksum.
        terms: of the data, for the card.
        command: what was typed, for the card.
        force: replace what is in the folder.

    Raises:
        BundleError: the X-ray model whose features are read is not there, or damaged.
        DatasetError: too few radiographs have scores, or several images can't be read.
        InputError: an image can't be read.
        OutputExistsError: ``run`` holds a severity model already.
        RecipeError: no X-ray model is named, or one without a lung finder.
        ResourceError: memory or disk ran out.
    """
    if not recipe.features:
        raise RecipeError(
            f"{recipe.name}: --set features=MODEL must name the X-ray model whose features are read"
        )
    claim_folder(run, MANIFEST, force)
    reader = Model.load(recipe.features)
    material = read_material(recipe, tables, reader, progress)
    layer = fit_map(material.cells, material.scored.seen.straight.shape[2])
    extra = map_feature(recipe, layer, material.cells)
    held = cross_validated(recipe, material, extra)
    fitted = fit_network(recipe, material.scored, material.normals.of_training, extra)
    weights = _packed(fitted.zone_weights, layer)
    model = SeverityModel(
        folder=run,
        name=recipe.name,
        version=release or sha256_of(weights)[:12],
        features=_identity(reader),
        zone=fitted.zone,
        extent=fitted.extent,
        opacity=fitted.opacity,
        widths=widths_of(recipe, held, material.scored),
        coverage=recipe.coverage,
        zone_weights=fitted.zone_weights,
        map_weights=layer,
        facts={
            "recipe": _recipe(recipe),
            "training_data": _counts(material),
            "figures": _figures(recipe, material, extra, held),
            **{"terms": terms, "command": command, "software": {"pulmoscope": VERSION}},
        },
    )
    _write(model, weights, csv_text(*prediction_rows(held, material.scored)))
    return load(run)


def _figures(
    recipe: XraySeverityRecipe, material: Material, extra: FloatArray, held: HeldOut
) -> dict[str, Any]:
    """What the model is worth."""
    return {
        "cross_validated": scored_figures(recipe, held, material.scored),
        "normals": normal_figures(recipe, material, extra),
    }


def _write(model: SeverityModel, weights: bytes, predictions: str) -> None:
    """Write a model's files, the manifest last."""
    write_bytes(model.folder / WEIGHTS, weights)
    write_text(model.folder / PREDICTIONS, predictions)
    write_text(model.folder / CARD, severity_card(model))
    write_json(model.folder / MANIFEST, manifest(model, sha256_of(weights)))


def _identity(reader: Model) -> dict[str, str]:
    """Which X-ray model's features are read."""
    bundle = reader.bundle
    return {"name": bundle.name, "version": bundle.version, "sha256": bundle.files[bundle.network]}


def _packed(zone: FloatArray, cells: FloatArray) -> bytes:
    """The contents of ``severity.npz``."""
    packed = io.BytesIO()
    np.savez(packed, zone=zone.astype(np.float32), map=cells.astype(np.float32))
    return packed.getvalue()


def _recipe(recipe: XraySeverityRecipe) -> dict[str, Any]:
    """The settings, with no path in them."""
    plain = json.loads(json.dumps(settings.of_tool(recipe)))
    return {**plain, "features": Path(recipe.features).name}


def _counts(material: Material) -> dict[str, Any]:
    """How many images there were of what."""
    scored, normals = material.scored, material.normals
    hospitals, counts = np.unique(normals.hospitals[normals.learnt], return_counts=True)
    return {
        "scored": len(scored.known),
        "patients": len(np.unique(scored.patients)),
        "with_extent": int((~np.isnan(scored.extent)).sum()),
        "with_zones": int((~np.isnan(scored.zones[:, 0])).sum()),
        "normal": {str(name): int(count) for name, count in zip(hospitals, counts, strict=True)},
        "boxed": material.cells.images,
        "labels": dict(material.labels),
        "sources": dict(material.sources),
        "fingerprint": sha256_of(
            "\n".join(sorted(sha256_of_file(one.path) for one in scored.known)).encode()
        ),
    }
