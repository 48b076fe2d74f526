"""From a model of slices to the patient: a rule, not a network, for there are too few real patients to train one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import Flag, FlagLevel, FloatArray, Subject

TOP_FRACTION, FEWEST = 0.1, 3
"""The patient's probability is the mean of the highest tenth of the slices', of at least three."""
CHECKED_ON = 3
"""Real patients whose slices are labelled, and on whom the rule was looked at: two infected, one not."""
ENOUGH = 50
"""Patients that a way from slices to the patient must have been checked on before its answers are reported."""
LIMIT = Flag(
    "patient-rule",
    FlagLevel.WARN,
    f"the patient's probability is the mean of the highest {100 * TOP_FRACTION:.0f} % of the slices', a rule that was "
    f"checked on {CHECKED_ON} patients only",
    f"answers are reported once {ENOUGH} patients have checked it",
    Subject.MODEL,
)


def patient_probabilities(slices: FloatArray, positive: Sequence[int]) -> FloatArray:
    """The patient's probability of each class.

    The mean of the tenth of the slices that are most likely infected: one slice alone decides nothing, and a small
    lesion is not averaged away.

    Args:
        slices: (slices, classes), of every predicted slice; at least one.
        positive: the indices of the classes that say that something was found.
    """
    count = min(len(slices), max(FEWEST, round(TOP_FRACTION * len(slices))))
    order = np.argsort(slices[:, list(positive)].sum(axis=1), kind="stable")
    return np.asarray(slices[order[-count:]].mean(axis=0), dtype=np.float32)


def suspicious(positive: npt.NDArray[np.floating], most: int = 4) -> list[int]:
    """The indices of the slices to show: the highest, each at least a twentieth of the slices away from the others.

    Args:
        positive: (slices,), how suspicious each slice is, from 0 on; -1 where it must not be shown.
        most: how many at the most.
    """
    apart = max(1, len(positive) // 20)
    chosen: list[int] = []
    for index in np.argsort(-positive, kind="stable"):
        if positive[index] >= 0 and all(abs(int(index) - other) >= apart for other in chosen):
            chosen.append(int(index))
        if len(chosen) == most:
            break
    return chosen
