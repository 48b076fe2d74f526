"""A predicted outcome as plain data and on pages: of one patient, and of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmoscope.core.outcome import OLDEST, Outcome, Part
from pulmoscope.report.html import data_uri, render
from pulmoscope.report.values import UNITS, value_words

OUTCOME_FIGURES = {
    "auroc": (
        "AUROC",
        "the chance that a patient with the outcome has a higher probability than one without",
    ),
    "average_precision": (
        "Average precision",
        "mean precision over all thresholds; by chance the prevalence",
    ),
    "calibration_error": (
        "Calibration error",
        "root mean square of predicted minus observed over ten groups of probability, what chance adds taken off",
    ),
    "predicted_minus_observed": (
        "Mean predicted minus observed",
        "0 where the outcome is predicted as often as it happens",
    ),
    "brier": ("Brier score", "mean squared error of the probability; less is better"),
    "sensitivity": ("Sensitivity", "of patients with the outcome, the fraction called, at the threshold"),
    "specificity": ("Specificity", "of patients without it, the fraction not called"),
    "mcc": ("MCC", "Matthews' correlation of call and outcome; 0 by chance"),
}
"""Name → title and meaning, in the order in which they are shown."""

TRUTHS = {
    "true_probability": "known values and image, all that the record has",
    "true_probability_values": "known values, without the image",
    "true_probability_complete": "every value and the image, none missing",
}
"""Of simulated records: which probability it is, in words."""


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """What ``diagnosis.json`` holds of a predicted outcome."""
    return {
        "outcome": outcome.outcome,
        "title": outcome.title,
        "hospital": outcome.hospital,
        "probability": outcome.probability.value,
        "interval": [outcome.probability.low, outcome.probability.high],
        "log_odds": outcome.log_odds,
        "base": outcome.base,
        "parts": [
            {
                "name": part.name,
                "value": part.value,
                "unit": part.unit,
                "log_odds": part.log_odds,
                "range": [part.low, part.high],
            }
            for part in outcome.parts
        ],
        "missing": list(outcome.missing),
        "threshold": outcome.threshold,
        "called": outcome.probability.value >= outcome.threshold,
        "synthetic": outcome.synthetic,
        "model": dict(outcome.model),
        "limits": list(outcome.limits),
    }


def part_words(part: Part) -> str:
    """What a value adds, in words."""
    size = abs(part.log_odds)
    if size < 0.05:
        return "changes hardly anything"
    strength = "a little" if size < 0.3 else "clearly" if size < 1 else "strongly"
    return f"{'raises' if part.log_odds > 0 else 'lowers'} it {strength}"


def parts_shown(outcome: Outcome) -> list[tuple[Part, str, str]]:
    """The parts of known values, the largest first: each with the value and with what it adds, for readers."""
    return [
        (part, _value_words(part.name, part.value, part.unit), part_words(part))
        for part in sorted(outcome.parts, key=lambda part: -abs(part.log_odds))
        if part.value is not None
    ]


def _value_words(name: str, value: float, unit: str) -> str:
    """A value with its unit; ages of 90 and more are all 90 to a model (``core.outcome.OLDEST``)."""
    known = f" {UNITS.get(unit, unit)}" if unit else ""
    words = value_words(name, value, known)
    return f"{words} or more" if name == "age" and value >= OLDEST else words


def outcome_shown(outcome: Outcome | None) -> dict[str, Any] | None:
    """What ``outcome.html`` needs; None where no outcome was predicted."""
    if outcome is None:
        return None
    missing = [part for part in outcome.parts if part.value is None]
    return {
        "predicted": outcome,
        "parts": parts_shown(outcome),
        "missing": missing,
        "absent": sum(part.log_odds for part in missing),
    }


def outcome_lines(plain: Mapping[str, Any] | None) -> list[str]:
    """The outcome of a ``diagnosis.json`` for a terminal."""
    if plain is None:
        return []
    low, high = (f"{100 * end:.0f}" for end in plain["interval"])
    known = len(plain["parts"]) - len(plain["missing"])
    line = f"Outcome         {plain['title']}: {100 * plain['probability']:.0f} % ({low} to {high}), as of patients "
    return [
        f"{line}of {plain['hospital']}, from {known} of {len(plain['parts'])} values",
        *(f"                {limit}" for limit in plain["limits"]),
    ]


def evaluation_page(report: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """The page ``report.html`` of an evaluation.

    Args:
        report: the content of ``metrics.json``.
        pictures: ``roc`` and ``calibration``, PNG.
    """
    return render(
        "outcome_evaluation.html",
        found=report,
        figures_of=OUTCOME_FIGURES,
        truths=TRUTHS,
        pictures={name: data_uri(picture) for name, picture in pictures.items()},
    )
