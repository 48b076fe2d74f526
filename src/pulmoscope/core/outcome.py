"""What becomes of a patient, as a model of values predicts it: what a prediction comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pulmoscope.core.severity import SeverityMeasure
from pulmoscope.core.xray_severity import MOST_BRIXIA, MOST_EXTENT, MOST_OPACITY, Estimate, XraySeverity

SEVERITY = {
    "xray_extent": ("Radiograph, geographic extent", f"of {MOST_EXTENT:g}", MOST_EXTENT),
    "xray_opacity": ("Radiograph, opacity", f"of {MOST_OPACITY:g}", MOST_OPACITY),
    "xray_brixia": ("Radiograph, Brixia score", f"of {MOST_BRIXIA:g}", MOST_BRIXIA),
    "ct_percent": ("CT, lung affected", "%", 100.0),
}
"""What an image adds to a patient's values: name → title, unit and highest value."""


OLDEST = 90.0
"""Years; older patients count as of this age, in training and in predictions: their age identifies them (HIPAA Safe
Harbor, 45 CFR 164.514(b)(2)(i)(C))."""


def severity_values(xray: XraySeverity | None = None, ct: SeverityMeasure | None = None) -> dict[str, float]:
    """The values of :data:`SEVERITY` that are known of a patient's images."""
    values: dict[str, float] = {}
    if xray is not None:
        values |= {
            "xray_extent": xray.extent.value,
            "xray_opacity": xray.opacity.value,
            "xray_brixia": xray.brixia.value,
        }
    if ct is not None:
        values["ct_percent"] = ct.percent_affected
    return values


@dataclass(frozen=True)
class Part:
    """What one value adds to a prediction.

    Attributes:
        name: of the value, in the catalogue or in :data:`SEVERITY`; a model of scaled values has names of its own.
        title, unit: for readers.
        value: the patient's; None where it is missing.
        log_odds: what it adds, beside the model's typical patient; of a missing value, what its absence adds.
        low, high: between what training saw it.
    """

    name: str
    title: str
    unit: str
    value: float | None
    log_odds: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcome:
    """The predicted probability of an outcome, and what it is made of.

    Attributes:
        outcome: its name in the table that was learnt from.
        title: what happens, for readers.
        hospital: whose patients were learnt from.
        probability: with the interval of the model: 95 % of the models that were trained on patients drawn again.
        base: the log-odds of the model's typical patient.
        parts: of each value that the model takes; ``base`` and these sum to ``log_odds`` (``math.fsum``).
        log_odds: the logarithm of probability : 1 − probability.
        missing: the names of values that the model takes and that are not known.
        threshold: from which probability on the model calls the outcome; it was chosen on validation patients.
        synthetic: whether the model learnt from simulated records.
        model: name, version and sha256.
        limits: why the figures are worth less here, as sentences.
    """

    outcome: str
    title: str
    hospital: str
    probability: Estimate
    base: float
    parts: tuple[Part, ...]
    log_odds: float
    missing: tuple[str, ...]
    threshold: float
    synthetic: bool
    model: Mapping[str, str]
    limits: tuple[str, ...] = ()
