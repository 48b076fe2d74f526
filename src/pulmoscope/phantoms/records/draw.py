"""Records of simulated patients: values, what images show, an outcome, and the probability that it was drawn with.

Everything is made of independent standard normal numbers: one for each value, and one for how ill the lungs are, of
which each reading of an image is a noisy copy. The log-odds of the outcome are a sum over these, so that the
probability of the outcome given what a record holds is known, with and without the image, whatever is missing: missing
numbers are normal again, but for D-dimer, which healthy patients lack more often, and whose absence therefore tells
something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray

Floats = npt.NDArray[np.float64]


class Value(NamedTuple):
    """A simulated value: median and spread (of its logarithm where ``logarithm``), its weight, how often it is missing.

    ``missing``: the fraction at the median age; ``by_age``, ``by_itself``: how that falls with age and with the value
    itself, in standard deviations of a probit model.
    """

    median: float
    spread: float
    logarithm: bool
    weight: float
    missing: float = 0.0
    by_age: float = 0.0
    by_itself: float = 0.0


VALUES: Mapping[str, Value] = {
    "age": Value(58.0, 12.0, False, 0.8),
    "spo2": Value(92.0, 1.8, False, -0.5, 0.1, 0.3),
    "crp": Value(40.0, 0.75, True, 0.5, 0.25, 0.4),
    "ldh": Value(320.0, 0.35, True, 0.6, 0.3, 0.4),
    "lymphocytes": Value(1.0, 0.45, True, -0.4, 0.2, 0.4),
    "d_dimer": Value(0.9, 1.0, True, 0.4, 0.4, 0.0, 0.8),
}
"""Values that tell of the outcome; sex, which does not, is drawn besides. Units are the catalogue's."""

READINGS: Mapping[str, tuple[float, float]] = {
    "xray_extent": (8.0, 0.5),
    "xray_opacity": (6.0, 0.8),
    "xray_brixia": (18.0, 0.6),
    "ct_percent": (80.0, 0.3),
}
"""What images show: the highest score, and the noise of a reading beside how ill the lungs are."""

INTERCEPT, SEVERITY_WEIGHT = -0.8, 1.0
XRAY_KNOWN, CT_KNOWN = 0.85, 0.4
"""The fractions of patients who have a radiograph and a CT, at random."""
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(31)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()


@dataclass(frozen=True)
class Records:
    """Simulated patients.

    Attributes:
        values: name → (patients,), NaN where missing: :data:`VALUES`, ``sex`` and :data:`READINGS`.
        died: (patients,).
        true: name → probability (patients,): ``true_probability`` given all that the record holds,
            ``true_probability_values`` without what images show, ``true_probability_complete`` with nothing missing and
            no noise.
    """

    values: Mapping[str, Floats] = field(repr=False)
    died: BoolArray = field(repr=False)
    true: Mapping[str, Floats] = field(repr=False)


def draw_records(count: int, seed: int = 0) -> Records:
    """Simulate patients; equal seeds give equal ones.

    Raises:
        ValueError: there are fewer than one.
    """
    if count < 1:
        raise ValueError(f"at least 1 record is drawn (found: {count})")
    generator = np.random.default_rng(seed)
    latent = {name: generator.standard_normal(count) for name in VALUES}
    ill = generator.standard_normal(count)
    log_odds = INTERCEPT + SEVERITY_WEIGHT * ill
    values: dict[str, Floats] = {}
    known: dict[str, BoolArray] = {}
    for name, value in VALUES.items():
        log_odds = log_odds + value.weight * latent[name]
        known[name] = ~_missing(value, latent[name], latent["age"], generator)
        scaled = value.spread * latent[name]
        whole = value.median * np.exp(scaled) if value.logarithm else value.median + scaled
        values[name] = np.where(known[name], whole, np.nan)
    values["sex"] = generator.integers(0, 2, count).astype(np.float64)
    has = {"xray": generator.random(count) < XRAY_KNOWN, "ct": generator.random(count) < CT_KNOWN}
    precision, seen = np.ones(count), np.zeros(count)
    for name, (most, noise) in READINGS.items():
        reading = ill + noise * generator.standard_normal(count)
        present = has[name.partition("_")[0]]
        precision, seen = precision + present / noise**2, seen + np.where(present, reading / noise**2, 0)
        values[name] = np.where(present, most * _normal_below(reading / np.hypot(1, noise)), np.nan)
    died = generator.random(count) < _logistic(log_odds)
    shown, unsure = SEVERITY_WEIGHT * seen / precision, SEVERITY_WEIGHT**2 / precision
    true = {
        "true_probability": _given(latent, known, shown, unsure),
        "true_probability_values": _given(latent, known, np.zeros(count), np.full(count, SEVERITY_WEIGHT**2)),
        "true_probability_complete": _logistic(log_odds),
    }
    return Records(values, died, true)


def _missing(value: Value, latent: Floats, age: Floats, generator: np.random.Generator) -> BoolArray:
    chance = _chance_missing(value, latent, age)
    return np.asarray(generator.random(len(latent)) < chance)


def _chance_missing(value: Value, latent: Floats, age: Floats) -> Floats:
    from scipy.special import ndtri

    if not value.missing:
        return np.zeros_like(latent)
    return _normal_below(ndtri(value.missing) - value.by_age * age - value.by_itself * latent)


def _given(
    latent: Mapping[str, Floats], known: Mapping[str, BoolArray], shown: Floats, unsure: Floats
) -> Floats:
    """The probability of the outcome given the known values and the mean and variance of what images leave open."""
    mean, variance = INTERCEPT + shown, unsure
    telling = {name: value for name, value in VALUES.items() if value.by_itself}
    for name, value in VALUES.items():
        mean = mean + np.where(known[name], value.weight * latent[name], 0)
        if name not in telling:
            variance = variance + np.where(known[name], 0, value.weight**2)
    ((name, value),) = telling.items()
    chance = _chance_missing(value, _NODES, np.zeros_like(_NODES)) * _NODE_WEIGHTS
    of_missing = _expected(mean[:, None] + value.weight * _NODES, variance[:, None]) @ (chance / chance.sum())
    return np.where(known[name], _expected(mean, variance), of_missing)


def _expected(mean: Floats, variance: Floats) -> Floats:
    """The mean probability where log-odds are normal, by Gauss and Hermite's quadrature."""
    return _logistic(mean[..., None] + np.sqrt(variance)[..., None] * _NODES) @ _NODE_WEIGHTS


def _normal_below(values: Floats) -> Floats:
    from scipy.special import ndtr

    return np.asarray(ndtr(values), dtype=np.float64)


def _logistic(log_odds: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * log_odds)), dtype=np.float64)
