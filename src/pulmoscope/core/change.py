"""How a scan differs from an earlier one of the same patient: a CT by what was measured, a radiograph by its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pulmoscope.core.severity import CONSOLIDATION, GLASS, SeverityMasks, SeverityMeasure
from pulmoscope.core.xray_severity import Estimate, XraySeverity

if TYPE_CHECKING:
    from pulmoscope.core.types import Flag, Quality, Scan

LESIONS: Mapping[str, tuple[int, ...]] = {
    "total": (GLASS, CONSOLIDATION),
    "ground_glass": (GLASS,),
    "consolidation": (CONSOLIDATION,),
}
"""Which labels of the lesion mask each volume of lesion counts."""


class Verdict(StrEnum):
    """Whether the lungs are more or less affected than in the earlier scan."""

    MORE = "more"
    LESS = "less"
    UNCLEAR = "no-clear-change"
    """The difference lies within what both measures or estimates may err by."""


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
class CtChange:
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


@dataclass(frozen=True)
class ScoredXray:
    """One of two radiographs that are compared.

    Attributes:
        scan, quality: as they were diagnosed.
        severity: how ill its lungs are.
    """

    scan: Scan
    quality: Quality
    severity: XraySeverity

    @cached_property
    def lungs(self) -> tuple[int, int, int, int]:
        """The box around all zones: top, left, height, width in px of the scan."""
        zones = self.severity.zones.values()
        top, left = min(zone.top for zone in zones), min(zone.left for zone in zones)
        bottom = max(zone.top + zone.height for zone in zones)
        right = max(zone.left + zone.width for zone in zones)
        return top, left, bottom - top, right - left


@dataclass(frozen=True)
class XrayChange:
    """A radiograph beside an earlier one of the same patient.

    Each difference is now less then, in points, with between what the difference of the readers' own scores lies.

    Attributes:
        earlier, now: both, with their scores.
        verdict: whether the lungs are more or less affected.
        extent, opacity, brixia: the differences of the scores of the whole radiograph.
        zones: one of :data:`~pulmoscope.core.xray_severity.ZONES` → the difference of its score.
        days: between the two studies; None where a date is not known.
        flags: why the two can't be compared well; empty where nothing speaks against it.
    """

    earlier: ScoredXray
    now: ScoredXray
    verdict: Verdict
    extent: Estimate
    opacity: Estimate
    brixia: Estimate
    zones: Mapping[str, Estimate]
    days: int | None
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class SinceReport:
    """What has changed since an earlier report of the same patient, by what both reports say.

    Attributes:
        days: between the two studies.
        then, now: a figure's name (``affected``, %; ``extent``, ``opacity``, ``brixia``, points) → its value, of those
            that both reports have.
        label, label_now: the most probable class then and now, in the words of reports.
    """

    days: int
    then: Mapping[str, float]
    now: Mapping[str, float]
    label: str
    label_now: str

    @property
    def differences(self) -> dict[str, float]:
        """A figure's name → now less then."""
        return {name: round(self.now[name] - value, 2) for name, value in self.then.items()}


Change = CtChange | XrayChange
"""What has changed, by the kind of both scans."""
