"""How far the measured percentage of affected lung may lie from the truth, from studies whose truth is known."""

from __future__ import annotations

import numpy as np

ERRORS: tuple[tuple[float, float, float], ...] = (
    (0.0, 0.7, 8.0),
    (2.0, 0.7, 8.0),
    (5.0, 1.9, 5.0),
    (10.0, 1.9, 4.0),
    (20.0, 1.7, 4.8),
    (35.0, 1.8, 3.9),
    (50.0, 1.8, 3.9),
    (75.0, 1.8, 4.1),
    (100.0, 1.8, 4.1),
)
"""Measured percent, and how many points below and above it the truth lies at most in nine of ten studies.

Printed by ``benchmarks/severity_interval.py``; which studies it was fitted on: ``docs/severity.md``.
"""


def interval(percent: float) -> tuple[float, float]:
    """Between what the true percentage lies where so much was measured: in nine of ten studies, in one below or above.

    Args:
        percent: of both lungs, measured, 0 to 100.

    Returns:
        Low and high, 0 to 100; the measured percentage lies between them, and neither falls where it rises.
    """
    levels, below, above = zip(*ERRORS, strict=True)
    low = float(percent - np.interp(percent, levels, below))
    high = float(percent + np.interp(percent, levels, above))
    return max(0.0, low), min(100.0, high)
