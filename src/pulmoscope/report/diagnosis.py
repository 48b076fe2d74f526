"""A diagnosis, and a whole run, as plain data for JSON (``docs/schemas``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pulmoscope.core.files import NOTICE, sha256_of
from pulmoscope.core.types import Diagnosis, Explanation, Flag, Modality, Scan

SCHEMA_VERSION = "1.0"
"""Of ``diagnosis.json`` and ``index.json``; the first number changes when an old reader would go wrong."""


def to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The contents of ``diagnosis.json``.

    ``slices`` is empty for an X-ray, which has one image and no series. ``severity`` names what is measured for
    the modality; null says that this model does not measure it. No element that identifies a patient is in it.
    """
    scan, prediction = diagnosis.scan, diagnosis.prediction
    return {
        "schema_version": SCHEMA_VERSION,
        "input": {
            "modality": scan.modality.value,
            "files": [{"name": file.name, "sha256": file.sha256} for file in scan.files],
            "sha256": input_sha256(scan),
            "slices": int(scan.pixels.shape[0]),
            "spacing_mm": None if scan.spacing_mm is None else [round(step, 6) for step in scan.spacing_mm],
        },
        "model": {key: diagnosis.model[key] for key in ("name", "version", "sha256")},
        "quality": {
            "verdict": diagnosis.quality.verdict,
            "flags": [_flag(flag) for flag in diagnosis.quality.flags],
        },
        "prediction": {
            "label": prediction.label,
            "probabilities": {name: round(share, 6) for name, share in prediction.probabilities.items()},
            "decision": prediction.decision.value,
            "reason": prediction.reason,
        },
        "slices": [],
        "severity": {"geographic_extent": None, "opacity": None} if scan.modality is Modality.XRAY else None,
        "explanations": [
            {"kind": shown.kind, "target": shown.target, "file": f"{name}.png", "array": f"{name}.npy"}
            for shown, name in zip(diagnosis.explanations, heat_names(diagnosis.explanations), strict=True)
        ],
        "timings_s": {step: round(seconds, 4) for step, seconds in diagnosis.timings_s.items()},
        "software": dict(diagnosis.software),
        "notice": NOTICE,
    }


def to_index(model: Mapping[str, str], entries: Sequence[Mapping[str, Any]], version: str) -> dict[str, Any]:
    """The contents of ``index.json``: every input of a run, in the order given, with its outcome.

    Args:
        model: name, version and sha256.
        entries: one of :func:`diagnosed_entry` or :func:`refused_entry` per input.
        version: of Pulmoscope.
    """
    outcomes = [entry["outcome"] for entry in entries]
    decisions = [entry.get("decision") for entry in entries]
    return {
        "schema_version": SCHEMA_VERSION,
        "model": dict(model),
        "counts": {
            "inputs": len(entries),
            "diagnosed": outcomes.count("diagnosed"),
            "refused": outcomes.count("refused"),
            "report": decisions.count("report"),
            "refer": decisions.count("refer"),
        },
        "inputs": list(entries),
        "software": {"pulmoscope": version},
        "notice": NOTICE,
    }


def diagnosed_entry(name: str, folder: str, plain: Mapping[str, Any], report: str | None) -> dict[str, Any]:
    """An input of the index that was diagnosed; ``plain`` is its ``diagnosis.json``."""
    prediction = plain["prediction"]
    return {
        "input": name,
        "outcome": "diagnosed",
        "folder": folder,
        "label": prediction["label"],
        "probability": prediction["probabilities"][prediction["label"]],
        "decision": prediction["decision"],
        "quality": plain["quality"]["verdict"],
        "report": report,
    }


def refused_entry(name: str, rule: str, value: str | None, message: str) -> dict[str, Any]:
    """An input of the index that was refused: the rule it breaks, the value found, and the line for the user."""
    return {"input": name, "outcome": "refused", "rule": rule, "value": value, "message": message}


def input_sha256(scan: Scan) -> str:
    """Names a scan's content: the checksum of its file, or of its files' checksums in slice order."""
    sums = [file.sha256 for file in scan.files]
    return sums[0] if len(sums) == 1 else sha256_of("\n".join(sums).encode())


def heat_names(explanations: Sequence[Explanation]) -> list[str]:
    """File names without suffix, ``heat-<class>``, safe on any file system and each different."""
    names: list[str] = []
    for explanation in explanations:
        plain = "heat-" + (re.sub(r"[^A-Za-z0-9]+", "-", explanation.target).strip("-") or "class")
        name, taken = plain, {known.lower() for known in names}
        while name.lower() in taken:
            name += f"-{len(names) + 1}"
        names.append(name)
    return names


def _flag(flag: Flag) -> dict[str, str]:
    return {"code": flag.code, "severity": flag.severity.value, "detail": flag.detail}
