"""How a CT differs from an earlier one of the same patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pulmoscope.core.severity import CONSOLIDATION, GLASS, SeverityMasks, SeverityMeasure

if TYPE_CHECKING:
    from pulmoscope.core.types import Flag, Quality, Scan

LESIONS: Mapping[str, tuple[int, ...]] = {
    "total": (GLASS, CONSOLIDATION),
    "ground_glass": (GLASS,),
    "consolidation": (CONSOLIDATION,),
}
"""Which labels of the lesion mask each volume of lesion counts."""


class Verdict(StrEnum):
    """Whether more or less of the lungs is affected than in the earlier CT."""

    MORE = "more"
    LESS = "less"
    UNCLEAR = "no-clear-change"
    """The difference lies within what the measure may err by."""


@dataclass(frozen=True)
class MeasuredCt:
    """One of two CTs that are compared.

    Attributes:
        scan: in HU, what was missing filled in.
        quality: of the scan.
        severity, masks: how much of its lungs is affected.
        missing: bool (slices, rows, columns), what was not observed; None where nothing was missing.
    """

    scan: Scan
    quality: Quality
    severity: SeverityMeasure
    masks: SeverityMasks
    missing: npt.NDArray[np.bool_] | None = field(default=None, repr=False)

    @cached_property
    def lesion_ml(self) -> Mapping[str, float]:
        """``total``, ``ground_glass`` and ``consolidation`` → ml."""
        assert self.scan.spacing_mm is not None  # as it was measured
        voxel_ml = float(np.prod(self.scan.spacing_mm)) / 1000
        counts = {label: int(np.count_nonzero(self.masks.lesions == label)) for label in LESIONS["total"]}
        return {name: voxel_ml * sum(counts[label] for label in labels) for name, labels in LESIONS.items()}


@dataclass(frozen=True)
class Change:
    """A CT beside an earlier one of the same patient.

    Attributes:
        earlier, now: both, measured.
        verdict: whether more or less of the lungs is affected.
        difference: percent affected now less percent affected then, in points.
        interval: low and high of the difference, in points, by what each measure may err.
        days: between the two studies; None where a date is not known.
        flags: why the two can't be compared well; empty where nothing speaks against it.
    """

    earlier: MeasuredCt
    now: MeasuredCt
    verdict: Verdict
    difference: float
    interval: tuple[float, float]
    days: int | None
    flags: tuple[Flag, ...] = ()
