"""What a model of any kind says of a CT, and what is asked of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import Explanation, Flag, FloatArray
from pulmoscope.inference.look import SeenCt


@dataclass(frozen=True)
class CtAnswer:
    """What a model says of a CT.

    Attributes:
        slices: float32 (slices, classes); NaN where a slice is not judged.
        judged: int (n,), the slices that were judged. Where the model reads thicker slices than the scan has, the first
            of those that one of its slices is the mean of: it speaks for those up to the next.
        patient: class → probability; empty where no slice is judged.
        levels: classifiers of the whole patient: name → class → probability; empty where there is only one.
        vectors: what the model knows of the patient, name → (d,): those by which patients lie close together or apart.
        flags: what limits the answer.
        checked: patients that the way from slices to the patient was checked on; None: on as many as the card says.
        network: what the network says by itself, likewise, where the measure of dense lung was weighed in; else None.
        imputer: what the model itself has filled missing regions with; empty: it took what it was given; ``none``: it
            was shown the damage.
        anomalies: float32 (slices,), how unlike normal ones the slices are, as multiples of the limit; NaN where one
            is not judged; None where the model has no such score.
    """

    slices: FloatArray
    judged: npt.NDArray[np.intp]
    patient: Mapping[str, float]
    levels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    checked: int | None = None
    network: FloatArray | None = None
    imputer: str = ""
    anomalies: FloatArray | None = None


class CtReader(Protocol):
    """A model that reads CTs."""

    @property
    def levels_told(self) -> str:
        """What its levels are, for the reader of an evaluation's page."""
        ...

    def answer(self, seen: SeenCt) -> CtAnswer:
        """Judge a CT.

        Raises:
            UnsuitableError: the model can't read such a scan.
        """
        ...

    def explain(self, seen: SeenCt, places: Sequence[int], target: str) -> list[Explanation]:
        """What in these slices speaks for a class."""
        ...


def named(classes: Sequence[str], row: npt.NDArray[np.floating]) -> dict[str, float]:
    """Class → probability, to six digits."""
    return dict(zip(classes, (round(float(share), 6) for share in row), strict=True))


def nothing_judged(slices: int, classes: int) -> CtAnswer:
    """The answer where no slice shows enough lung."""
    unjudged = np.full((slices, classes), np.nan, dtype=np.float32)
    return CtAnswer(unjudged, np.array([], dtype=np.intp), {})
