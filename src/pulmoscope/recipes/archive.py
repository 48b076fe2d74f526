"""Recipes that earlier versions wrote, as this one reads them: ``recipe.json`` of runs, ``recipe`` of bundles.

Before version 2 a recipe was of single images, of three levels (``slice``, ``patient``, ``ensemble``) or of severity
(``misgan``, ``anogan``), each with names of its own, and told nowhere by what code its images are prepared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmoscope.recipes.rules import GRADED_VOTES

VERSION = "2.0"
"""Of recipes as plain data; the first one that holds systems of every kind."""

_IMAGES = {"XRAY": "xray", "CT": "ct-slice"}


def upgraded(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe of any version, as plain data of this one; what it lacks has its default when it is read."""
    if not isinstance(plain.get("preprocess", {}), Mapping) or "type" in plain.get("preprocess", {}):
        return dict(plain)
    if "slice" in plain:
        return _three_level(plain)
    if "misgan" in plain:
        return _severity(plain)
    kind = _IMAGES.get(plain.get("modality", "XRAY"), "xray")
    return {**plain, **_typed(plain, kind, "image")}


def _typed(plain: Mapping[str, Any], preprocess: str, augment: str) -> dict[str, Any]:
    return {
        "preprocess": {"type": preprocess, **plain.get("preprocess", {})},
        "augment": {"type": augment, **plain.get("augment", {})},
    }


def _three_level(plain: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in plain.items() if key != "slice"}
    level = dict(plain["slice"])
    model, phases = level.pop("model"), level.pop("phases")
    patient = dict(plain.get("patient", {}))
    votes = {"votes": patient.pop("classifiers")} if "classifiers" in patient else {}
    return {
        **kept,
        **_typed(plain, "ct-body", "slice"),
        "modality": "CT",
        "normal": plain.get("normal", "Normal"),
        "model": {**model, "stages": 3},
        "phases": [{**phase, "monitor": "accuracy"} for phase in phases],
        "batch_size": level.pop("batch_size", 64),
        "slices": level,
        "patient": {**patient, **votes},
        "ensemble": plain.get("ensemble", {}),
    }


def _severity(plain: Mapping[str, Any]) -> dict[str, Any]:
    moved = ("imputer", "anomalies", "misgan", "anogan", "vote")
    kept = {key: value for key, value in plain.items() if key not in moved}
    slices = dict(plain.get("slices", {}))
    before = {"epochs": 30, "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
    phase = {name: slices.pop(name, default) for name, default in before.items()}
    return {
        **kept,
        **_typed(plain, "ct-standard", "slice"),
        "modality": "CT",
        "classes": plain.get("classes", ["CT-0", "CT-1", "CT-2", "CT-3"]),
        "normal": "CT-0",
        "drop": plain.get("drop", ["CT-4"]),
        "phases": [{"name": "train", "optimizer": "sgd", "schedule": "cosine", "monitor": "none", **phase}],
        "batch_size": slices.pop("batch_size", 32),
        "slices": {"per_study": 12, **slices},
        "quality": {
            "imputer": plain.get("imputer", "misgan"),
            "anomalies": plain.get("anomalies", True),
            "misgan": plain["misgan"],
            "anogan": plain["anogan"],
        },
        "patient": {
            "votes": list(GRADED_VOTES),
            "decides": plain.get("vote", "majority"),
            **{"epochs": 60, "batch_size": 32, "l1": 0.0, "l2": 0.0},
        },
    }
