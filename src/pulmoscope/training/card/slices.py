"""What a bundle records of an evaluation by slices, from the content of ``slices.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmoscope.core.errors import BundleError
from pulmoscope.runtime.beside_measure import LESION, NETWORK

FIGURES = {
    "slices_answer": "auroc",
    NETWORK: "network_auroc",
    "slices_dense": "dense_auroc",
    LESION: "lesion_auroc",
}
"""What a bundle calls a figure → what ``slices.json`` calls it."""


def recorded_slices(report: Mapping[str, Any]) -> dict[str, Any]:
    """Figures, what they are of, and of how many slices; a figure is the mean of the patients that have it.

    No interval: patients are few, and one patient's is no interval of the mean. Names of patients stay out.

    Raises:
        BundleError: no patient has both infected and clean slices.
    """
    compared = [patient for patient in report["patients"] if patient["auroc"]["value"] is not None]
    if not compared:
        raise BundleError("slices.json: no patient has both infected and clean slices")
    figures = {}
    for name, key in FIGURES.items():
        values = [patient[key]["value"] for patient in compared]
        if None not in values:  # pictures have no measure
            figures[name] = {"value": round(sum(values) / len(values), 6), "low": None, "high": None}
    noun = "patient" if len(compared) == 1 else "patients"
    return {
        "what": f"infected against clean slices of one patient, mean of {len(compared)} {noun}",
        "images": sum(patient["judged"] for patient in compared),
        "figures": figures,
    }
