"""The outcome that a model predicts from the values and the image of one patient, beside the image's diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pulmoscope.core.outcome import severity_values
from pulmoscope.core.types import Diagnosis
from pulmoscope.core.values import LinkedValues
from pulmoscope.inference.outcome import predict_outcome
from pulmoscope.pipeline.clinical.values import Values, same_values


def with_values(
    diagnosis: Diagnosis, given: LinkedValues | None, source: str | Path | Values | None
) -> Diagnosis:
    """The diagnosis with the patient's values, and with the outcome that they predict together with the image.

    Args:
        given: the values that are linked to the image; None: nobody asked about any.
        source: what they were linked from. Where it has a model of an outcome, and values are linked, that is applied.
    """
    diagnosis = replace(diagnosis, values=given)
    model = source.outcome if isinstance(source, Values) else None
    if model is None or given is None or given.link == "none":
        return diagnosis
    severity = severity_values(diagnosis.xray_severity, diagnosis.severity)
    return replace(diagnosis, outcome=predict_outcome(model, given.numbers, severity))


def same_beside(values: Values | None, plain: Mapping[str, Any]) -> bool:
    """Whether a ``diagnosis.json`` has the values that would be linked now, and the outcome that they would predict."""
    found = plain.get("outcome")
    if not same_values(values, plain.get("values")):
        return False
    if values is None or values.outcome is None or plain["values"]["link"] == "none":
        return found is None
    return found is not None and found["model"]["sha256"] == values.outcome.sha256
