"""Whether a network of CT slices is known to find disease no better than the measure of lesions does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

NETWORK, LESION = "slices_network", "slices_lesion"
"""Figures of a bundle: AUROC of infected against clean slices of a patient, by the network alone and by measure."""


class Beside(NamedTuple):
    """AUROC of infected against clean slices of one patient, mean of the patients: of the network, of the measure."""

    network: float
    measure: float
    what: str


def no_better_than_measure(metrics: Mapping[str, Any]) -> Beside | None:
    """The record in which a network does worst beside the measure; None: in none it does as badly as the measure.

    Args:
        metrics: of a bundle: data set → its ``figures`` and, in a sentence, ``what`` it is.
    """
    compared = [
        Beside(figures[NETWORK]["value"], figures[LESION]["value"], record.get("what", ""))
        for record in metrics.values()
        if {NETWORK, LESION} <= (figures := record["figures"]).keys()
        and None not in (figures[NETWORK]["value"], figures[LESION]["value"])
    ]
    worst = min(compared, key=lambda beside: beside.network - beside.measure, default=None)
    return worst if worst is not None and worst.network <= worst.measure else None
