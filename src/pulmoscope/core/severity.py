"""How much of the lungs is affected: what a measurement on a chest CT comes to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

GRADES = ("CT-0", "CT-1", "CT-2", "CT-3", "CT-4")
"""The grades of MosMedData, by the fraction of lung that is affected: none, at most 25, 50, 75 %, and more."""

GLASS, CONSOLIDATION = 1, 2
"""A lesion mask's labels; 0 is no lesion."""

_GRADE = re.compile(r"CT-([0-4])", re.IGNORECASE)


@dataclass(frozen=True)
class RegionMeasure:
    """A part of a lung that the score counts.

    Attributes:
        volume_ml: how large it is.
        affected: percent of it; None where there is none of it.
        score: 0 to 5.
    """

    volume_ml: float
    affected: float | None
    score: int


@dataclass(frozen=True)
class SeverityMeasure:
    """The numbers of :func:`pulmoscope.segment.ct_severity.measure`; percentages are of what is seen of the lung.

    Attributes:
        percent_affected: of both lungs together.
        interval: percent, low and high, between which the truth lies for nine of ten studies that measure so much
            (:func:`pulmoscope.segment.ct_error.interval`).
        right, left: of each lung; None where the scan shows none of it.
        grade: one of :data:`GRADES`, from both lungs together.
        score: 0 to 25, the sum of the regions' scores.
        regions: region → what was measured in it.
        volumes_ml: ``right``, ``left``, ``both`` → ml.
        bands: ``both``, ``right``, ``left`` and the regions → band → percent of that part's volume.
        slice_fractions: of each slice's lung, the fraction that is lesion, 0 to 1; from the feet to the head. NaN where
            no lung was observed.
        limits: what the figures leave out, as sentences; empty where the lungs are seen whole.
    """

    percent_affected: float
    interval: tuple[float, float]
    right: float | None
    left: float | None
    grade: str
    score: int
    regions: Mapping[str, RegionMeasure]
    volumes_ml: Mapping[str, float]
    bands: Mapping[str, Mapping[str, float]]
    slice_fractions: tuple[float, ...] = field(repr=False)
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeverityMasks:
    """What was measured, voxel by voxel of the scan; uint8 (slices, rows, columns).

    Attributes:
        lungs: 0 none, 1 the right lung, 2 the left.
        lesions: 0 none, 1 ground glass, 2 consolidation.
    """

    lungs: npt.NDArray[np.uint8] = field(repr=False)
    lesions: npt.NDArray[np.uint8] = field(repr=False)


def grade_number(label: str) -> int | None:
    """0 to 4 for a class that is a grade (``CT-0`` … ``CT-4``), else None."""
    match = _GRADE.fullmatch(label.strip())
    return None if match is None else int(match[1])
