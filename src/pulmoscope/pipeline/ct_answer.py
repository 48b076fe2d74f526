"""What a model of any kind says of a CT, and what is asked of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import Explanation, Flag, FloatArray, Scan

if TYPE_CHECKING:  # scipy takes half a second
    from pulmoscope.preprocess.ct_lungs import LungMask

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CtAnswer:
    """What a model says of a CT.

    Attributes:
        slices: float32 (slices, classes); NaN where a slice is not judged.
        imputer: what the model itself has filled missing regions with; empty: it took what it was given; ``none``: it
            was shown the damage.
        anomalies: float32 (slices,), how unlike normal ones the slices are, as multiples of the limit; NaN where one
            is not judged; None where the model has no such score.
        network: what the network says by itself, likewise, where the measure of dense lung was weighed in; else None.
        patient: class → probability; empty where no slice is judged.
        levels: classifiers of the whole patient: name → class → probability; empty where there is only one.
        flags: what limits the answer.
        checked: patients that the way from slices to the patient was checked on; None: on as many as the card says.
    """

    slices: FloatArray
    patient: Mapping[str, float]
    levels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    checked: int | None = None
    network: FloatArray | None = None
    imputer: str = ""
    anomalies: FloatArray | None = None


class CtReader(Protocol):
    """A model that judges CTs."""

    @property
    def repairs(self) -> bool:
        """Whether it wants missing regions filled; one that was trained on damage as it is does not."""
        ...

    def answer(
        self, scan: Scan, lungs: LungMask | None, dense: FloatArray | None, missing: BoolArray | None
    ) -> CtAnswer:
        """Judge a scan.

        Args:
            lungs: None where they can't be looked for in the volume.
            dense: float32 (slices,), of each slice's lung the share that is dense; None likewise.
            missing: bool (slices, rows, columns), voxels that were not observed; None: there are none.
        """
        ...

    def explain(
        self,
        scan: Scan,
        lungs: LungMask | None,
        places: Sequence[int],
        target: str,
        missing: BoolArray | None,
    ) -> list[Explanation]:
        """What in these slices speaks for a class."""
        ...


def named(classes: Sequence[str], row: npt.NDArray[np.floating]) -> dict[str, float]:
    """Class → probability, to six digits."""
    return dict(zip(classes, (round(float(share), 6) for share in row), strict=True))
