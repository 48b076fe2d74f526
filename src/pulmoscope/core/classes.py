"""What a class's name says: whether something was found, and how much speaks for it."""

from __future__ import annotations

from collections.abc import Mapping

NEGATIVE = frozenset({"normal", "healthy", "negative", "no finding", "non-covid", "noncovid", "ct-0"})
"""Classes, in lower case, that say that nothing was found; every other class is positive."""


PNEUMONIA = frozenset({"covid", "covid-19", "cap", "pneumonia", "viral pneumonia", "bacterial pneumonia"})
"""Classes, in lower case, that make lung dense where they are."""


def is_positive(label: str) -> bool:
    """Whether a class says that something was found."""
    return label.lower() not in NEGATIVE


def is_pneumonia(label: str) -> bool:
    """Whether a class is an infection of the lung."""
    return label.lower() in PNEUMONIA


def suspicion(probabilities: Mapping[str, float]) -> float:
    """The probability that something was found: what the positive classes have together, 0 to 1."""
    return min(1.0, sum(probability for name, probability in probabilities.items() if is_positive(name)))
