"""Does a model hold within one hospital, at one that training has not seen, and when it is trained again?"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from pulmoscope.evaluation.audit.verdict import Level, Verdict
from pulmoscope.evaluation.bootstrap import Estimate, Values, Weights, estimates, units
from pulmoscope.evaluation.exact import unit_count
from pulmoscope.evaluation.hospitals import HospitalFigures
from pulmoscope.evaluation.metrics import Predictions

GOOD, BAD = 0.90, 0.75
"""AUROC within a hospital: from GOOD on it is good, below BAD the model can't be relied on there."""

GOOD_AGREEMENT, BAD_AGREEMENT = 0.95, 0.80
"""Fraction of images that two trainings call the same."""


def agreement(
    first: Predictions, second: Predictions, bootstrap: int = 1000, seed: int = 20
) -> dict[str, Estimate]:
    """How much of what a model says another one says, too: ``same_answer``, and ``difference`` of the probabilities.

    ``same_answer`` is the fraction of images that both call the same, ``difference`` the mean of the largest difference
    of a class's probability.

    Raises:
        ValueError: the two are of other images or classes.
    """
    if (first.files, first.classes) != (second.files, second.classes):
        raise ValueError("two models can be compared on the same images and classes only")
    same = np.array(first.predicted) == np.array(second.predicted)
    apart = np.abs(first.probabilities - second.probabilities).max(axis=1)
    unit_of_image = units(first.patients)

    def statistics(weights: Weights) -> Mapping[Hashable, Values]:
        total = weights.sum(axis=1)
        return {"same_answer": weights @ same / total, "difference": weights @ apart / total}

    trials = {"same_answer": [unit_count(unit_of_image, np.ones(len(first), dtype=bool))]}
    found = estimates(statistics, unit_of_image, bootstrap, seed, trials)
    return {str(name): estimate for name, estimate in found.items()}


def within(rows: Sequence[HospitalFigures]) -> Verdict:
    """The worst hospital of the audited data."""
    known = [row for row in rows if row.auroc_within.value is not None]
    if not known:
        return Verdict(
            "within-hospital",
            "none",
            "How well the model tells COVID from Normal within one hospital is not known: no hospital has enough of "
            "both.",
        )
    worst = min(known, key=lambda row: row.auroc_within.value or 0.0)
    value = worst.auroc_within.value or 0.0
    learnt = {True: ", which it has learnt from", False: ", which it has not learnt from", None: ""}[
        worst.learnt
    ]
    says = (
        f"Within {'the only hospital' if len(known) == 1 else 'the worst hospital'} with enough of both "
        f"({worst.hospital}{learnt}) the AUROC of COVID against Normal is {value:.3f}."
    )
    return Verdict("within-hospital", _level(value), says)


def left_out(records: Sequence[Mapping[str, Any]]) -> Verdict:
    """The worst hospital that models of the same recipe had been trained without.

    Args:
        records: what is known of hospitals left out, as a bundle records it.
    """
    worst = [record["figures"]["AUROC_within_worst"] for record in records if _has_worst(record)]
    if not worst:
        return Verdict(
            "left-out",
            "none",
            "How the model does at a hospital that training has not seen is not known: `audit --retrain` measures it.",
        )
    least = min(worst, key=lambda figure: figure["value"])
    says = (
        f"At the worst hospital left out of training ({least['hospital']}) the AUROC of COVID against Normal is "
        f"{least['value']:.3f}."
    )
    return Verdict("left-out", _level(least["value"]), says)


def trained_again(same_answer: float | None) -> Verdict:
    """How often the same recipe, trained with another seed, gives the same answer; None: not known."""
    if same_answer is None:
        return Verdict(
            "reproducibility",
            "none",
            "Whether the model answers the same when it is trained again is not known: `audit --retrain` measures it.",
        )
    level: Level = (
        "good" if same_answer >= GOOD_AGREEMENT else "bad" if same_answer < BAD_AGREEMENT else "doubtful"
    )
    says = f"Trained again with another seed, the model gives the same answer for {same_answer:.0%} of the images."
    return Verdict("reproducibility", level, says)


def asked_again(same_answer: float) -> Verdict:
    """How often the model gives the same answer when it is asked twice."""
    says = f"Asked twice about the same image, the model gives the same answer for {same_answer:.0%} of the images."
    return Verdict("repeatability", "good" if same_answer == 1 else "bad", says)


def _has_worst(record: Mapping[str, Any]) -> bool:
    return record.get("figures", {}).get("AUROC_within_worst", {}).get("value") is not None


def _level(auroc: float) -> Level:
    return "good" if auroc >= GOOD else "bad" if auroc < BAD else "doubtful"
