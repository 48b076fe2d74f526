"""Reads ``diagnosis.json`` as any version has written it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulmoscope.core.types import Modality
from pulmoscope.io.inputs import content_name
from pulmoscope.report.diagnosis import SCHEMA_VERSION
from pulmoscope.report.xray_severity import KEYS

_MAJORS = ("1", "2", SCHEMA_VERSION.partition(".")[0])
_FRACTIONS = ("lung", "dense", "lesion", "missing")
"""Of a slice; before 2.0 they ended in ``_share``."""


def read_diagnosis(path: Path) -> dict[str, Any]:
    """The contents of a ``diagnosis.json`` in today's form, whichever version wrote it.

    Before 3.1 a radiograph's severity was not estimated: all that ``severity`` holds of one is None, also ``reason``.
    Before 3.0 the bands of the left lung were of its thirds, which are no regions any more: ``severity.bands`` is
    without them; ``severity.interval``, ``input.acquisition``, ``change`` and a slice's ``instance`` are None. Before
    2.1 nothing was said of which classes can't be ruled out: ``prediction.set`` is None there.

    A file before 2.0 did not tell flags about the model from those about the image: its ``quality`` is as it was
    written, with all of them, and ``limits`` is empty. A flag of such a file says all in ``finding``.

    Raises:
        OSError: the file can't be read.
        ValueError: it is no ``diagnosis.json``, or of a version that this one does not know.
    """
    diagnosis = json.loads(path.read_text(encoding="utf-8"))
    version = str(diagnosis.get("schema_version", "")) if isinstance(diagnosis, dict) else ""
    major = version.partition(".")[0]
    if major not in _MAJORS:
        raise ValueError(f"{path}: no diagnosis.json of a version up to {SCHEMA_VERSION}")
    try:
        whole = _from_1(diagnosis) if major == "1" else dict(diagnosis)
        if major in ("1", "2"):
            whole = _from_2(whole)
        if "geographic_extent" in (severity := whole["severity"] or {}):
            whole["severity"] = {**dict.fromkeys(KEYS), **severity}
        return whole | {"prediction": {"set": None, **whole["prediction"]}}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: a damaged diagnosis.json of {version}") from error


def _from_1(old: Mapping[str, Any]) -> dict[str, Any]:
    """A diagnosis of 1.0 to 1.4 in today's form."""
    quality = {**old["quality"], "flags": [_flag(flag) for flag in old["quality"]["flags"]]}
    if imputed := quality.get("imputed"):
        quality["imputed"] = {"fraction" if key == "share" else key: value for key, value in imputed.items()}
    modality, sums = Modality(old["input"]["modality"]), [file["sha256"] for file in old["input"]["files"]]
    return {
        **old,
        "input": {"name": content_name(modality, sums), **old["input"]},
        "quality": quality,
        "limits": [],
        "slices": [_slice(row) for row in old["slices"]],
        "levels": old.get("levels", {}),
    }


def _from_2(old: Mapping[str, Any]) -> dict[str, Any]:
    """A diagnosis of 2.0 to 2.1 in today's form."""
    severity = old.get("severity")
    if severity and "percent_affected" in severity:
        severity = {"interval": None, **severity}
        if bands := severity.get("bands"):
            severity["bands"] = {part: held for part, held in bands.items() if not part.startswith("left-")}
    return {
        **old,
        "schema_version": SCHEMA_VERSION,
        "input": {"acquisition": None, **old["input"]},
        "slices": [{"instance": None, **row} for row in old["slices"]],
        "severity": severity,
        "change": None,
    }


def _flag(old: Mapping[str, str]) -> dict[str, str]:
    return {"code": old["code"], "level": old["severity"], "finding": old["detail"], "rule": ""}


def _slice(old: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {f"{name}_share": f"{name}_fraction" for name in _FRACTIONS}
    return {renamed.get(key, key): value for key, value in old.items()}
