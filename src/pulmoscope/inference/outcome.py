"""The outcome that a model predicts of one patient: probability, what each value adds, and what limits it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from pulmoscope.core.outcome import OLDEST, Outcome, Part
from pulmoscope.core.xray_severity import Estimate
from pulmoscope.runtime.outcome import OutcomeModel

FEW = 0.5
"""With less than this fraction of the model's values known a prediction is limited."""


def predict_outcome(
    model: OutcomeModel, values: Mapping[str, float], severity: Mapping[str, float] | None = None
) -> Outcome:
    """Predict a patient's outcome; any value may be missing.

    Args:
        values: by their names in the catalogue, in its units; others than the model's are not looked at.
        severity: what the patient's images show, as :func:`pulmoscope.core.outcome.severity_values` gives it.
    """
    known = {**values, **(severity or {})}
    if "age" in known:
        known["age"] = min(known["age"], OLDEST)
    row = np.array([[known.get(name, math.nan) for name in model.names]], dtype=np.float64)
    probability, low, high = (float(ends[0]) for ends in model.probabilities(row))
    added = model.additive.parts(row)[0]
    parts = tuple(
        Part(
            one.name,
            one.title,
            one.unit,
            None if math.isnan(value) else float(value),
            float(log_odds),
            one.low,
            one.high,
        )
        for one, value, log_odds in zip(model.inputs, row[0], added, strict=True)
    )
    missing = tuple(part.name for part in parts if part.value is None)
    return Outcome(
        outcome=model.outcome,
        title=model.title,
        hospital=model.hospital,
        probability=Estimate(probability, low, high),
        base=model.additive.intercept,
        parts=parts,
        log_odds=float(model.additive.log_odds(row)[0]),
        missing=missing,
        threshold=model.threshold,
        synthetic=model.synthetic,
        model={"name": model.name, "version": model.version, "sha256": model.sha256},
        limits=_limits(model, parts, missing),
    )


def _limits(model: OutcomeModel, parts: tuple[Part, ...], missing: tuple[str, ...]) -> tuple[str, ...]:
    limits = [
        f"The model is of the patients of {model.hospital} and of one outcome, {model.title}. At another hospital, and "
        "of another outcome, it may not hold."
    ]
    if model.synthetic:
        limits.append("The model learnt from simulated records: it says nothing about patients.")
    beyond = [part for part in parts if part.value is not None and not part.low <= part.value <= part.high]
    limits += [
        f"{part.title} is outside of what training saw ({part.low:g} to {part.high:g} {part.unit}".rstrip()
        + "): it counts as the nearest value that was seen."
        for part in beyond
    ]
    if len(missing) > (1 - FEW) * len(parts):
        limits.append(
            f"Of the model's {len(parts)} values {len(missing)} are missing. Its figures were measured on patients who "
            "have most of them; with so few they are worse."
        )
    return tuple(limits)
