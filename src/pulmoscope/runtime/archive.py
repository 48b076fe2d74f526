"""Manifests of earlier versions in today's form: a bundle that was ever written can be read for ever.

Version 1 had three kinds of bundles: ``image`` (which did not say so), ``three-level`` (system B) and ``severity``
(system A). What tells them apart is data today: the preprocessing, the patient level, the imputer.
"""

from __future__ import annotations

from typing import Any

from pulmoscope.preprocess.kinds import PREPROCESS, to_plain
from pulmoscope.runtime.votes import VOTES

CURRENT, FIRST = "2", "1"
_CARD = "MODEL_CARD.md"


def upgraded(manifest: dict[str, Any]) -> dict[str, Any]:
    """The contents of a ``bundle.json`` of any version as today's, without ``schema_version``.

    Raises:
        ValueError: it is of a later version, or of a kind that there never was.
        KeyError, TypeError, AttributeError: it is no manifest.
    """
    plain = dict(manifest)
    version = str(plain.pop("schema_version")).partition(".")[0]
    if version == CURRENT:
        return plain
    if version != FIRST:
        raise ValueError(f"schema_version must be {FIRST}.x or {CURRENT}.x, found: {version}")
    kind = plain.pop("kind", "image")
    # The first manifests vouched for the card, which changes when figures are recorded.
    plain["files"] = {name: sha256 for name, sha256 in plain["files"].items() if name != _CARD}
    if kind == "image":
        return {**plain, "preprocess": _named({"XRAY": "xray", "CT": "ct-slice"}[plain["modality"]], plain)}
    if kind == "three-level":
        del plain["normal"]  # the recipe says it
        patient = {"votes": plain["patient"], "decides": "ensemble", "ensemble": plain.pop("ensemble")}
        return {
            **plain,
            "preprocess": _named("ct-body", plain),
            "network": "slice.onnx",
            "patient": patient,
        }
    if kind == "severity":
        patient = {"votes": VOTES, "decides": plain.pop("vote"), "vectors": "densities"}
        return {**plain, "preprocess": {"type": "ct-standard", **plain["preprocess"]}, "patient": patient}
    raise ValueError(f"kind must be image, three-level or severity, found: {kind}")


def _named(kind: str, plain: dict[str, Any]) -> dict[str, Any]:
    """The preprocessing with its type; settings from before they were written have their defaults."""
    return to_plain(PREPROCESS[kind](**plain["preprocess"]))
