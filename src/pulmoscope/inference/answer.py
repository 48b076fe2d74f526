"""What a model says of a CT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import Flag, FloatArray


@dataclass(frozen=True)
class CtAnswer:
    """What a model says of a CT.

    Attributes:
        slices: float32 (slices, classes); NaN where a slice is not predicted.
        predicted: int (n,), the slices that were predicted. Where the model reads thicker slices than the scan has, the
            first of those that one of its slices is the mean of: it speaks for those up to the next.
        patient: class → probability; empty where no slice is predicted.
        logits: float32 (classes,), the patient's before calibration; None where a rule puts the slices together.
        levels: classifiers of the whole patient: name → class → probability; empty where there is only one.
        vectors: what the model knows of the patient, name → (d,): those by which patients lie close together or apart.
        flags: what limits the answer.
        checked: patients that the way from slices to the patient was checked on; None: on as many as the card says.
        network: what the network says by itself, likewise, where the measure of dense lung was weighed in; else None.
        anomalies: float32 (slices,), how unlike normal ones the slices are, as multiples of the limit; NaN where one
            is not predicted; None where the model has no such score.
    """

    slices: FloatArray
    predicted: npt.NDArray[np.intp]
    patient: Mapping[str, float]
    logits: FloatArray | None = None
    levels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    checked: int | None = None
    network: FloatArray | None = None
    anomalies: FloatArray | None = None


def named(classes: Sequence[str], row: npt.NDArray[np.floating]) -> dict[str, float]:
    """Class → probability, to six digits."""
    return dict(zip(classes, (round(float(fraction), 6) for fraction in row), strict=True))
