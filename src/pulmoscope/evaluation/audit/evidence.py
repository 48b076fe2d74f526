"""What a model's bundle and its audit can tell of how the model was made and tried, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pulmoscope.runtime.bundle import CALIBRATION, Bundle, Thresholds

Audit = Mapping[str, Any]
"""The content of ``audit.json``; empty: the model was not audited."""

NOT_KNOWN = "not known"
"""What a section of an audit says of itself where it could not be made."""


@dataclass(frozen=True)
class Evidence:
    """One thing that may be told.

    Attributes:
        where: the field of the bundle, and after a semicolon the section of its card; or the section of the audit.
        known: whether it is told there.
    """

    where: str
    known: Callable[[Bundle, Audit], bool]


def _data(key: str) -> Callable[[Bundle, Audit], bool]:
    return lambda bundle, audit: bool(bundle.training_data.get(key))


def _recipe(*keys: str) -> Callable[[Bundle, Audit], bool]:
    """Whether the recipe says one of these at all: that a setting is off is told, too."""
    return lambda bundle, audit: any(key in bundle.recipe for key in keys)


def _stated(key: str) -> Callable[[Bundle, Audit], bool]:
    return lambda bundle, audit: bool(bundle.recipe.get(key))


def _audited(*sections: str) -> Callable[[Bundle, Audit], bool]:
    """Whether an audit holds one of these sections, and it was made."""
    return lambda bundle, audit: any(_made(audit.get(section)) for section in sections)


def _made(section: Any) -> bool:
    """Whether a section of an audit holds anything but that nothing is known."""
    if isinstance(section, Mapping) and "status" in section:
        return bool(section["status"] != NOT_KNOWN)
    return bool(section) and section != NOT_KNOWN


def _figures(*roles: str) -> Callable[[Bundle, Audit], bool]:
    """Whether figures are recorded of data that are this to the model; without roles: of any."""
    return lambda bundle, audit: any(
        held.get("figures") and (not roles or held.get("role") in roles) for held in bundle.metrics.values()
    )


def _figure(
    holds: Callable[[str, Mapping[str, Any]], bool],
) -> Callable[[Bundle, Audit], bool]:
    """Whether a figure is recorded whose name and estimate fulfil a condition."""
    return lambda bundle, audit: any(
        holds(name, estimate)
        for held in bundle.metrics.values()
        for name, estimate in held.get("figures", {}).items()
    )


EVIDENCE = {
    "model": Evidence("recipe.model; card «What it is»", _recipe("model", "slice")),
    "title": Evidence("recipe.title; card «What it is»", _stated("title")),
    "paper": Evidence("recipe.paper, published; card «Recipe»", _stated("paper")),
    # Every card that is made from a recipe has it.
    "use": Evidence("card «Intended use»", lambda bundle, audit: bool(bundle.recipe)),
    "training": Evidence("recipe.phases; card «Recipe»", _recipe("phases", "slice")),
    "augment": Evidence("recipe.augment; card «What the network sees»", _recipe("augment")),
    "weights": Evidence(
        "recipe.model.pretrained, weights",
        lambda bundle, audit: any(
            "pretrained" in bundle.recipe.get(network, {}) for network in ("model", "slice")
        ),
    ),
    "imbalance": Evidence("recipe.class_weights, balance, loss", _recipe("class_weights", "balance", "loss")),
    "words": Evidence("recipe.labels, unread, wording", _stated("labels")),
    "wording": Evidence("recipe.wording", _stated("wording")),
    "seed": Evidence("recipe.seed; card «Recipe»", _recipe("seed")),
    "classes": Evidence("classes; card «What it is»", lambda bundle, audit: bool(bundle.classes)),
    "preprocess": Evidence("preprocess; card «What the network sees»", lambda bundle, audit: True),
    "votes": Evidence(
        "patient, or one network in recipe.model",
        lambda bundle, audit: bundle.patient is not None or "model" in bundle.recipe,
    ),
    "imputer": Evidence("imputer; card «What it is»", lambda bundle, audit: bool(bundle.imputer)),
    "counts": Evidence("training_data.counts; card «Training data»", _data("counts")),
    "sources": Evidence("training_data.sources; card «Training data»", _data("sources")),
    "source classes": Evidence("training_data.classes_by_source", _data("classes_by_source")),
    "hospitals": Evidence("training_data.classes_by_hospital", _data("classes_by_hospital")),
    "patients": Evidence("training_data.patients_known; card «Training data»", _data("patients_known")),
    "views": Evidence("training_data.views", _data("views")),
    "warnings": Evidence("training_data.warnings", _data("warnings")),
    "terms": Evidence("training_data.terms; card «Licence»", _data("terms")),
    "fingerprint": Evidence(
        "training_data.sha256, fingerprint; card «Training data»",
        lambda bundle, audit: bool(
            bundle.training_data.get("sha256") or bundle.training_data.get("fingerprint")
        ),
    ),
    "temperature": Evidence(
        "calibration; card «Calibration and referral»",
        lambda bundle, audit: bool(bundle.calibration.fitted_on),
    ),
    "calibrated here": Evidence(
        "calibration.images; card «Calibration and referral»",
        lambda bundle, audit: bool(bundle.calibration.images),
    ),
    "thresholds": Evidence(
        "thresholds; card «Calibration and referral»", lambda bundle, audit: bundle.thresholds != Thresholds()
    ),
    "distance": Evidence(
        "thresholds.distance; reference.npz", lambda bundle, audit: bundle.thresholds.distance is not None
    ),
    "view network": Evidence("files: view.onnx", lambda bundle, audit: "view.onnx" in bundle.files),
    "validation": Evidence("validation", lambda bundle, audit: bundle.validation is not None),
    "figures": Evidence("metrics; card «Figures»", _figures()),
    "intervals": Evidence(
        "metrics: low, high; card «Figures»",
        _figure(lambda name, estimate: estimate.get("low") is not None),
    ),
    "internal": Evidence("metrics, internal; card «Figures»", _figures("internal")),
    "external": Evidence("metrics, external; card «Figures»", _figures("external")),
    "left out": Evidence(
        "metrics, left out; card «At a hospital left out of training»", _figures("left out")
    ),
    "calibration figures": Evidence(
        "metrics: calibration_error, brier; card «Figures»",
        _figure(lambda name, estimate: name in ("calibration_error", "brier")),
    ),
    "recalibrated": Evidence("metrics, calibration; card «Figures»", _figures(CALIBRATION)),
    "errors": Evidence(
        "metrics: sensitivity, specificity, what else was called; card «Figures»",
        _figure(lambda name, estimate: name.startswith(("sensitivity", "specificity")) or "_called_" in name),
    ),
    "commands": Evidence(
        "metrics: command, data_sha256",
        lambda bundle, audit: any(
            "command" in held or "data_sha256" in held for held in bundle.metrics.values()
        ),
    ),
    "software": Evidence("software; card «Versions»", lambda bundle, audit: bool(bundle.software)),
    "parts": Evidence("files, with their checksums", lambda bundle, audit: bool(bundle.files)),
    "verified": Evidence("verified", lambda bundle, audit: bool(bundle.verified)),
    "audit figures": Evidence("audit: results", _audited("results")),
    "audit data": Evidence("audit: data", _audited("data")),
    "audit hospitals": Evidence("audit: hospitals", _audited("hospitals", "left_out")),
    "audit maps": Evidence("audit: heat maps and their tests", _audited("maps", "sanity", "deletion")),
    "audit robustness": Evidence("audit: robustness", _audited("robustness")),
    "audit calibration": Evidence("audit: calibration", _audited("calibration")),
    "audit prevalence": Evidence("audit: predictive values", _audited("predictive_values")),
    "audit subgroups": Evidence("audit: subgroups", _audited("subgroups")),
    "audit duplicates": Evidence("audit: duplicates and shared patients", _audited("duplicates")),
    "audit repeated": Evidence("audit: repeatability, reproducibility", _audited("repeatability")),
}
"""Everything that an item may rest on."""
