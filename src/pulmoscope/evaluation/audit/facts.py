"""What a model's bundle and its audit can tell of how the model was made and tried, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pulmoscope.runtime.bundle import CALIBRATION, Bundle, Thresholds

Audit = Mapping[str, Any]
"""The content of ``audit.json``; empty: the model was not audited."""

Known = Callable[[Bundle, Audit], bool]
"""Whether a bundle and its audit tell something."""

OF_DATA = ("internal", "external", "left out", CALIBRATION, "unknown")
"""What data may be to a model whose figures are recorded of them; records of audits are of changed images."""


@dataclass(frozen=True)
class Fact:
    """One thing that may be told.

    Attributes:
        where: the field of the bundle, and after a semicolon the section of its card; or the section of the audit.
        known: whether it is told there.
    """

    where: str
    known: Known


def _data(key: str) -> Known:
    return lambda bundle, audit: bool(bundle.training_data.get(key))


def _recipe(*keys: str) -> Known:
    """Whether the recipe says one of these at all: that a setting is off is told, too."""
    return lambda bundle, audit: any(key in bundle.recipe for key in keys)


def _stated(key: str) -> Known:
    return lambda bundle, audit: bool(bundle.recipe.get(key))


def _part(part: str, *keys: str) -> Known:
    """Whether a part of the audit holds anything under one of these keys, or was made at all where none is given."""

    def known(bundle: Bundle, audit: Audit) -> bool:
        found = audit.get("parts", {}).get(part) or {}
        return bool(found) if not keys else any(found.get(key) for key in keys)

    return known


def _grouped(*names: str) -> Known:
    """Whether the audit has figures of groups by one of these: it lists them empty where nobody knows."""
    return lambda bundle, audit: any(
        audit.get("parts", {}).get("groups", {}).get("by", {}).get(name) for name in names
    )


def _figures(*roles: str) -> Known:
    """Whether figures are recorded of data that are one of these to the model."""
    return lambda bundle, audit: any(
        held.get("figures") and held.get("role") in roles for held in bundle.metrics.values()
    )


def _figure(holds: Callable[[str, Mapping[str, Any]], bool]) -> Known:
    """Whether a figure is recorded whose name and estimate fulfil a condition."""
    return lambda bundle, audit: any(
        holds(name, estimate)
        for held in bundle.metrics.values()
        for name, estimate in held.get("figures", {}).items()
    )


FACTS = {
    "model": Fact("recipe.model; card «What it is»", _recipe("model", "slice")),
    "title": Fact("recipe.title; card «What it is»", _stated("title")),
    "paper": Fact("recipe.paper, published; card «Recipe»", _stated("paper")),
    # Every card that is made from a recipe has it.
    "use": Fact("card «Intended use»", lambda bundle, audit: bool(bundle.recipe)),
    "training": Fact("recipe.phases; card «Recipe»", _recipe("phases", "slice")),
    "augment": Fact("recipe.augment; card «What the network sees»", _recipe("augment")),
    "weights": Fact(
        "recipe.model.pretrained, weights",
        lambda bundle, audit: any(
            "pretrained" in bundle.recipe.get(network, {}) for network in ("model", "slice")
        ),
    ),
    "imbalance": Fact("recipe.class_weights, balance, loss", _recipe("class_weights", "balance", "loss")),
    "words": Fact("recipe.labels, unread, wording", _stated("labels")),
    "wording": Fact("recipe.wording", _stated("wording")),
    "seed": Fact("recipe.seed; card «Recipe»", _recipe("seed")),
    "classes": Fact("classes; card «What it is»", lambda bundle, audit: bool(bundle.classes)),
    "preprocess": Fact("preprocess; card «What the network sees»", lambda bundle, audit: True),
    "votes": Fact(
        "patient, or one network in recipe.model",
        lambda bundle, audit: bundle.patient is not None or "model" in bundle.recipe,
    ),
    "imputer": Fact("imputer; card «What it is»", lambda bundle, audit: bool(bundle.imputer)),
    "counts": Fact("training_data.counts; card «Training data»", _data("counts")),
    "sources": Fact("training_data.sources; card «Training data»", _data("sources")),
    "source classes": Fact("training_data.classes_by_source", _data("classes_by_source")),
    "hospitals": Fact("training_data.classes_by_hospital", _data("classes_by_hospital")),
    "patients": Fact("training_data.patients_known; card «Training data»", _data("patients_known")),
    "views": Fact("training_data.views", _data("views")),
    "warnings": Fact("training_data.warnings", _data("warnings")),
    "terms": Fact("training_data.terms; card «Licence»", _data("terms")),
    "fingerprint": Fact(
        "training_data.sha256, fingerprint; card «Training data»",
        lambda bundle, audit: bool(
            bundle.training_data.get("sha256") or bundle.training_data.get("fingerprint")
        ),
    ),
    "temperature": Fact(
        "calibration; card «Calibration and referral»",
        lambda bundle, audit: bool(bundle.calibration.fitted_on),
    ),
    "calibrated here": Fact(
        "calibration.images; card «Calibration and referral»",
        lambda bundle, audit: bool(bundle.calibration.images),
    ),
    "thresholds": Fact(
        "thresholds; card «Calibration and referral»", lambda bundle, audit: bundle.thresholds != Thresholds()
    ),
    "distance": Fact(
        "thresholds.distance; reference.npz", lambda bundle, audit: bundle.thresholds.distance is not None
    ),
    "view network": Fact("files: view.onnx", lambda bundle, audit: "view.onnx" in bundle.networks),
    "validation": Fact("validation", lambda bundle, audit: bundle.validation is not None),
    "figures": Fact("metrics; card «Figures»", _figures(*OF_DATA)),
    "intervals": Fact(
        "metrics: low, high; card «Figures»",
        _figure(lambda name, estimate: estimate.get("low") is not None),
    ),
    "internal": Fact("metrics, internal; card «Figures»", _figures("internal")),
    "external": Fact("metrics, external; card «Figures»", _figures("external")),
    "left out": Fact("metrics, left out; card «At a hospital left out of training»", _figures("left out")),
    "calibration figures": Fact(
        "metrics: calibration_error, brier; card «Figures»",
        _figure(lambda name, estimate: name in ("calibration_error", "brier")),
    ),
    "recalibrated": Fact("metrics, calibration; card «Figures»", _figures(CALIBRATION)),
    "errors": Fact(
        "metrics: sensitivity, specificity, what else was called; card «Figures»",
        _figure(lambda name, estimate: name.startswith(("sensitivity", "specificity")) or "_called_" in name),
    ),
    "commands": Fact(
        "metrics: command, data_sha256",
        lambda bundle, audit: any(
            "command" in held or "data_sha256" in held for held in bundle.metrics.values()
        ),
    ),
    "software": Fact("software; card «Versions»", lambda bundle, audit: bool(bundle.software)),
    "parts": Fact("files, with their checksums", lambda bundle, audit: bool(bundle.files)),
    "verified": Fact("verified", lambda bundle, audit: bool(bundle.verified)),
    "audit data": Fact("audit: data", lambda bundle, audit: bool(audit.get("data"))),
    "audit erasure": Fact("audit: without lungs, without borders", _part("erasure", "results")),
    "audit shortcuts": Fact("audit: shortcuts", _part("shortcuts")),
    "audit hospitals": Fact("audit: hospital by hospital", _part("hospitals", "rows")),
    "audit left out": Fact("audit: hospitals left out", _part("hospitals", "left_out")),
    "audit repeated": Fact("audit: repeatability", _part("hospitals", "repeatability")),
    "audit maps": Fact("audit: evidence and its tests", _part("evidence", "randomised", "order")),
    "audit robustness": Fact("audit: robustness", _part("robustness", "results")),
    "audit calibration": Fact("audit: calibration", _part("calibration", "errors")),
    "audit prevalence": Fact("audit: predictive values", _part("calibration", "predictive_values")),
    "audit people": Fact("audit: by age and sex", _grouped("age", "sex")),
    "audit views": Fact("audit: by view", _grouped("view")),
    "audit duplicates": Fact("audit: duplicates and shared patients", _part("duplicates")),
}
"""Everything that an item may rest on."""
