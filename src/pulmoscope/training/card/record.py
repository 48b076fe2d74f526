"""The figures that an evaluation, an audit or hospitals left out add to a bundle and its card."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import BundleError
from pulmoscope.core.files import write_text
from pulmoscope.runtime.audited import AUDIT
from pulmoscope.runtime.bundle import CALIBRATION, CARD, Bundle, load
from pulmoscope.training.card.hospitals import recorded_hospitals
from pulmoscope.training.card.slices import recorded_slices
from pulmoscope.training.card.text import model_card

NAMES = {"macro_auroc": "auroc"}
"""Figures that are called otherwise in a card than in ``metrics.json``."""
UNKNOWN = "unknown"


def add_metrics(folder: Path, key: str, report: Mapping[str, Any]) -> Bundle:
    """Record an evaluation, an audit or hospitals left out of training in a bundle and in its card.

    Args:
        folder: the bundle's.
        key: the name of the column, e.g. ``test`` or ``external``; an older one of this name is replaced.
        report: the content of ``metrics.json``, ``slices.json``, ``audit.json`` or ``hospitals.json``, of this bundle;
            the last may be of its recipe instead.

    Raises:
        BundleError: the bundle is damaged, or ``report`` is of another model or recipe, or holds no figures.
    """
    bundle = load(folder)
    try:
        if report.get("recipe") is None:
            _check_model(bundle, report["model"])
        figures = recorded(bundle, report)
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{folder}: only a metrics.json, slices.json, audit.json or hospitals.json of this version can be recorded "
            f"({error})"
        ) from error
    updated = dataclasses.replace(bundle, metrics={**bundle.metrics, key: figures}).save()
    # The card last: it follows from the manifest, which does not vouch for it. After a kill recording again makes it.
    write_text(bundle.folder / CARD, model_card(updated))
    return updated


def _check_model(bundle: Bundle, model: Mapping[str, Any]) -> None:
    """Are these facts those of the bundle's own network, calibrated as it is?"""
    expected = {
        "name": bundle.name,
        "version": bundle.version,
        "classes": list(bundle.classes),
        "weights_sha256": bundle.files[bundle.network],
        "temperature": bundle.calibration.temperature,
    }
    for name, value in expected.items():
        if model[name] != value:
            raise BundleError(
                f"{bundle.folder}: only figures of this bundle can be recorded "
                f"({name}: {value}, found: {model[name]})"
            )


def recorded(bundle: Bundle, report: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of ``Bundle.metrics``; see :func:`role_of` for its role."""
    if "rows" in report:
        return recorded_hospitals(bundle, report)
    data = report["data"]
    images, about = data["predicted"], ""
    if "parts" in report:
        role = AUDIT
        figures = {
            name: _estimate(estimate)
            for part in report["parts"].values()
            for name, estimate in part["figures"].items()
        }
    else:
        role = (
            CALIBRATION
            if data.get("used_for_calibration")
            else role_of(data["sources"], bundle.training_data.get("sources", {}))
        )
        if "patients" in report:
            of_slices = recorded_slices(report)
            figures, images, about = of_slices["figures"], of_slices["images"], f"; {of_slices['what']}"
        else:
            figures = _of_evaluation(bundle, report)
    seen = role == "internal" and data["split"] in ("train", "val")
    return {
        "role": role,
        "what": f"split {data['split'] or 'all'} of {', '.join(map(named, data['sources']))}"
        + (", which training or its choices have seen" if seen else "")
        + (f"; calibration used {data['used_for_calibration']} of them" if role == CALIBRATION else "")
        + about,
        "split": data["split"] or "all",
        "sources": sorted(data["sources"]),
        "images": images,
        "figures": figures,
        **({"trust": report["trust"], "verdicts": report["verdicts"]} if role == AUDIT else {}),
        "data_sha256": data["sha256"],
        "command": report["command"],
    }


def _of_evaluation(bundle: Bundle, report: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of ``metrics.json``, those of classes outside the model's among them."""
    figures = key_figures(report["overall"], report["pairwise"])
    positive = bundle.recipe.get("positive", "") if bundle.patient is None else ""
    for row in report["outside_classes"]:
        if positive in row["called"]:
            name = f"{row['source']}_{row['label']}_called_{positive}"
            figures[name] = _estimate(row["called"][positive])
    return figures


def named(source: str) -> str:
    """A source as bundles and cards spell it: ``unknown`` where the table names none."""
    return source or UNKNOWN


def role_of(evaluated: Iterable[str], trained: Iterable[str]) -> str:
    """``internal`` where training knows a source, ``external`` where it knows none of them, else ``unknown``.

    Data whose source is not named may be training's own: they are never external.
    """
    sources, known = set(map(named, evaluated)), set(map(named, trained))
    if (sources & known) - {UNKNOWN}:
        return "internal"
    return "external" if sources and known and UNKNOWN not in sources | known else UNKNOWN


def key_figures(
    overall: Mapping[str, Any] | None, pairwise: Mapping[str, Any] | None
) -> dict[str, dict[str, float | None]]:
    """A card's figures, name → value, low, high, from ``Metrics.plain()`` of all classes and of the pair."""
    figures: dict[str, dict[str, float | None]] = {}
    if overall is not None:
        for name, estimate in overall["scores"].items():
            figures[NAMES.get(name, name)] = _estimate(estimate)
        for label, measures in overall["by_class"].items():
            for name in ("sensitivity", "specificity"):
                figures[f"{name}_{label}"] = _estimate(measures[name])
    if pairwise is not None:
        positive, negative = pairwise.get("positive", "COVID"), pairwise.get("negative", "Normal")
        for name, title in (("macro_auroc", "AUROC"), ("accuracy", "accuracy")):
            figures[f"{title}_{positive}_against_{negative}"] = _estimate(pairwise["scores"][name])
    return figures


def _estimate(estimate: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: estimate[name] for name in ("value", "low", "high")}
