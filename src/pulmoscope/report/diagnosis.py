"""A diagnosis, and a whole run, as plain data for JSON (``docs/schemas``)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pulmoscope.core.change import Change
from pulmoscope.core.errors import InputError
from pulmoscope.core.files import NOTICE, sha256_of_all
from pulmoscope.core.types import (
    Diagnosis,
    Explanation,
    Flag,
    FlagLevel,
    Imputed,
    Modality,
    PredictionSet,
    Scan,
    SliceResult,
    Subject,
)
from pulmoscope.report.change.plain import change_json
from pulmoscope.report.outcome import outcome_json
from pulmoscope.report.severity import severity_json
from pulmoscope.report.values import values_json
from pulmoscope.report.xray_severity import xray_severity_json
from pulmoscope.runtime.audited import recorded_trust

SCHEMA_VERSION = "3.1"
"""Of ``diagnosis.json``; the first number changes when an old reader would go wrong."""

INDEX_VERSION = "3.2"
"""Of ``index.json``."""

_LISTED = ("geographic_extent", "opacity", "brixia", "percent_affected", "grade")
"""What ``index.json`` tells of a severity: enough to sort a list by."""


def to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The contents of ``diagnosis.json``.

    ``slices`` and ``levels`` are empty for an X-ray, which has one image and no series. ``severity`` names what is
    measured for the modality; null says that it was not. ``limits`` are the flags about the model; ``audit`` is what
    its recorded audit comes to. No element that identifies a patient is in it.
    """
    scan, prediction = diagnosis.scan, diagnosis.prediction
    return {
        "schema_version": SCHEMA_VERSION,
        "input": {
            "name": scan.name,
            "modality": scan.modality.value,
            "files": [{"name": file.name, "sha256": file.sha256} for file in scan.files],
            "sha256": input_sha256(scan),
            "pixels_sha256": pixels_sha256(scan),
            "slices": int(scan.pixels.shape[0]),
            "spacing_mm": None if scan.spacing_mm is None else [round(step, 6) for step in scan.spacing_mm],
            "units": scan.units.value,
            "acquisition": _acquisition(scan),
        },
        "model": {key: diagnosis.model[key] for key in ("name", "version", "sha256")},
        "quality": {
            "verdict": diagnosis.quality.verdict,
            "flags": [_flag(flag) for flag in diagnosis.quality.flags],
            "imputed": _imputed(diagnosis.imputed),
        },
        "limits": [_flag(flag) for flag in diagnosis.quality.limits],
        "audit": recorded_trust(diagnosis.card.get("metrics", {})),
        "prediction": {
            "label": prediction.label,
            "probabilities": _rounded(prediction.probabilities),
            "decision": prediction.decision.value,
            "reason": prediction.reason,
            "set": _set(prediction.set),
        },
        "slices": [_slice(one_slice) for one_slice in diagnosis.slices],
        "levels": {name: _rounded(probabilities) for name, probabilities in diagnosis.levels.items()},
        "severity": _severity(diagnosis),
        "change": None if diagnosis.change is None else _change(diagnosis.change),
        "explanations": [
            _explanation(shown, name, scan.modality)
            for shown, name in zip(diagnosis.explanations, heat_names(diagnosis), strict=True)
        ],
        **({} if diagnosis.values is None else {"values": values_json(diagnosis.values)}),
        **({} if diagnosis.outcome is None else {"outcome": outcome_json(diagnosis.outcome)}),
        "timings_s": {step: round(seconds, 4) for step, seconds in diagnosis.timings_s.items()},
        "software": dict(diagnosis.software),
        "notice": NOTICE,
    }


def to_index(
    models: Sequence[Mapping[str, str]],
    entries: Sequence[Mapping[str, Any]],
    version: str,
    studies: Sequence[Mapping[str, Any]] = (),
    places: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The contents of ``index.json``: every input of a run, in the order given, with its outcome.

    Args:
        models: name, version, sha256 and modality of each model of the run.
        entries: one of :func:`diagnosed_entry` or :func:`refused_entry` per input.
        version: of Pulmoscope.
        studies: of each study of several radiographs, its answer.
        places: where the inputs are from, beside the hospitals that the model knows.
    """
    outcomes = [entry["outcome"] for entry in entries]
    decisions = [entry.get("decision") for entry in entries]
    return {
        "schema_version": INDEX_VERSION,
        "models": [
            {key: model[key] for key in ("name", "version", "sha256", "modality")} for model in models
        ],
        "counts": {
            "inputs": len(entries),
            "diagnosed": outcomes.count("diagnosed"),
            "refused": outcomes.count("refused"),
            "report": decisions.count("report"),
            "refer": decisions.count("refer"),
        },
        "inputs": list(entries),
        "studies": list(studies),
        "places": list(places),
        "software": {"pulmoscope": version},
        "notice": NOTICE,
    }


def diagnosed_entry(name: str, folder: str, plain: Mapping[str, Any], report: str | None) -> dict[str, Any]:
    """An input of the index that was diagnosed; ``plain`` is its ``diagnosis.json``."""
    prediction, severity = plain["prediction"], plain["severity"] or {}
    return {
        "input": name,
        "outcome": "diagnosed",
        "folder": folder,
        "modality": plain["input"]["modality"],
        "model": plain["model"]["name"],
        "label": prediction["label"],
        "probability": prediction["probabilities"][prediction["label"]],
        "decision": prediction["decision"],
        "quality": plain["quality"]["verdict"],
        "severity": {key: severity[key] for key in _LISTED if severity.get(key) is not None} or None,
        **({"values": len(plain["values"]["used"])} if plain.get("values") else {}),
        "report": report,
    }


def refused_entry(name: str, error: InputError, finding: str) -> dict[str, Any]:
    """An input of the index that was refused: the kind of refusal, what was found, the rule, and all in one line.

    Args:
        finding: the error's, without a path.
    """
    message = f"{finding} ({error.rule})" if error.rule else finding
    return {
        "input": name,
        "outcome": "refused",
        "code": error.code,
        "finding": finding,
        "rule": error.rule,
        "message": f"{name}: {message}",
    }


def flags_of(plain: Mapping[str, Any]) -> tuple[Flag, ...]:
    """All flags of a ``diagnosis.json``, first those about the image."""
    listed = {Subject.IMAGE: plain["quality"]["flags"], Subject.MODEL: plain["limits"]}
    return tuple(
        Flag(flag["code"], FlagLevel(flag["level"]), flag["finding"], flag["rule"], subject)
        for subject, flags in listed.items()
        for flag in flags
    )


def input_sha256(scan: Scan) -> str:
    """Names a scan's content: the checksum of its file, or of its files' checksums in slice order."""
    return sha256_of_all([file.sha256 for file in scan.files])


def pixels_sha256(scan: Scan) -> str | None:
    """Names an X-ray's pixels as they were read, whatever file they came in; None for a CT."""
    if scan.modality is Modality.CT:
        return None
    rows, columns = scan.pixels.shape[1:]
    sums = hashlib.sha256(f"{rows} {columns} ".encode())
    sums.update(np.ascontiguousarray(scan.pixels, dtype="<f4").data)
    return sums.hexdigest()


def heat_names(diagnosis: Diagnosis) -> list[str]:
    """File names without suffix, one per explanation, safe on any file system and each different.

    ``heat-<class>`` for an X-ray, ``heat-<slice>-<class>-stage<number>`` for a CT.
    """
    series = diagnosis.scan.modality is Modality.CT
    names: list[str] = []
    for shown in diagnosis.explanations:
        target = re.sub(r"[^A-Za-z0-9]+", "-", shown.target).strip("-") or "class"
        name = f"heat-{shown.index:03d}-{target}-stage{shown.stage}" if series else f"heat-{target}"
        taken = {known.lower() for known in names}
        while name.lower() in taken:
            name += f"-{len(names) + 1}"
        names.append(name)
    return names


def slice_name(index: int) -> str:
    """The file name without suffix of a CT's slice as a picture."""
    return f"slice-{index:03d}"


_MEASURED = ("percent_affected", "interval", "left", "right", "grade")
"""What ``severity`` of a CT holds where it was not measured, each None."""


def _severity(diagnosis: Diagnosis) -> dict[str, Any]:
    """How ill the lungs are: of a radiograph as estimated, of a CT as measured."""
    if diagnosis.scan.modality is Modality.XRAY:
        return xray_severity_json(diagnosis)
    return dict.fromkeys(_MEASURED) if diagnosis.severity is None else severity_json(diagnosis)


def _acquisition(scan: Scan) -> dict[str, Any] | None:
    """How a CT was made, but for its date; None where its files don't say."""
    facts = scan.facts
    if facts is None or scan.modality is not Modality.CT:
        return None
    return {
        "kernel": facts.kernel or None,
        "kernel_name": facts.kernel_name or None,
        "thickness_mm": None if facts.thickness_mm is None else round(facts.thickness_mm, 6),
    }


def _slice(result: SliceResult) -> dict[str, Any]:
    return {
        "index": result.index,
        "file": result.file,
        "instance": result.instance,
        "z_mm": None if result.z_mm is None else round(result.z_mm, 3),
        "probabilities": None if result.probabilities is None else _rounded(result.probabilities),
        "lung_fraction": None if result.lung_fraction is None else round(result.lung_fraction, 6),
        "dense_fraction": None if result.dense_fraction is None else round(result.dense_fraction, 6),
        "network": None if result.network is None else _rounded(result.network),
        "lesion_fraction": None if result.lesion_fraction is None else round(result.lesion_fraction, 6),
        "missing_fraction": None if result.missing_fraction is None else round(result.missing_fraction, 6),
        "anomaly_score": None if result.anomaly_score is None else round(result.anomaly_score, 6),
    }


def _set(fitting: PredictionSet | None) -> dict[str, Any] | None:
    """The classes that can't be ruled out; None where the model has no such sets."""
    return None if fitting is None else {"coverage": fitting.coverage, "classes": list(fitting.classes)}


def _change(change: Change) -> dict[str, Any]:
    """What has changed since an earlier scan."""
    return {**change_json(change), "flags": [_flag(flag) for flag in change.flags]}


def _imputed(imputed: Imputed | None) -> dict[str, Any] | None:
    """What was filled in; None where nothing was."""
    if imputed is None:
        return None
    return {"fraction": round(imputed.fraction, 6), "slices": imputed.slices, "imputer": imputed.imputer}


def _explanation(shown: Explanation, name: str, modality: Modality) -> dict[str, Any]:
    """A heat map; a CT has many, so that only their pictures are kept."""
    series = modality is Modality.CT
    return {
        "kind": shown.kind,
        "target": shown.target,
        "slice": shown.index if series else None,
        "stage": shown.stage,
        "file": f"{name}.png",
        "picture": f"{slice_name(shown.index)}.png" if series else None,
        "array": None if series else f"{name}.npz",
        "in_lungs": None if shown.in_lungs is None else round(shown.in_lungs, 6),
    }


def _rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in probabilities.items()}


def _flag(flag: Flag) -> dict[str, str]:
    return {"code": flag.code, "level": flag.level.value, "finding": flag.finding, "rule": flag.rule}
