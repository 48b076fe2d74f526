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
from pulmoscope.runtime.outcome import OutcomeModel, load_outcome


def with_values(
    diagnosis: Diagnosis, given: LinkedValues | None, outcome: str | Path | OutcomeModel | None
) -> Diagnosis:
    """The diagnosis with the patient's values, and with the outcome that they predict together with the image.

    Args:
        given: the values that are linked to the image; None: nobody asked about any.
        outcome: the model, or its folder; None: nothing is predicted. Nor is it where no values are linked.

    Raises:
        BundleError: there is no such model, or it is damaged.
    """
    diagnosis = replace(diagnosis, values=given)
    if outcome is None or given is None or given.link == "none":
        return diagnosis
    model = outcome if isinstance(outcome, OutcomeModel) else load_outcome(Path(outcome))
    severity = severity_values(diagnosis.xray_severity, diagnosis.severity)
    return replace(diagnosis, outcome=predict_outcome(model, given.numbers, severity))


def same_outcome(model: OutcomeModel | None, plain: Mapping[str, Any]) -> bool:
    """Whether a ``diagnosis.json`` has what would be predicted now, where its values are the same."""
    found = plain.get("outcome")
    if model is None or plain["values"]["link"] == "none":
        return found is None
    return found is not None and found["model"]["sha256"] == model.sha256
