"""The severity that is measured on a CT, what limits it, and how a network's grade is held to it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pulmoscope.core.severity import GRADES, SeverityMasks, SeverityMeasure, grade_number
from pulmoscope.core.types import Decision, Prediction, Quality, Scan
from pulmoscope.quality.ct.rules import LEAST_ML

if TYPE_CHECKING:  # it brings OpenCV
    from pulmoscope.segment.ct_lungs import LungMask

Measured = tuple[SeverityMeasure, SeverityMasks]

LIMITS = {
    "one-lung": "One lung is missing, collapsed, full of fluid or was not found: the percentage is of what is seen.",
    "lungs-cut": "The scan cuts the lungs at their base or apex: the percentage is of what is seen.",
    "truncated-fov": "The field of view cuts the lungs: the percentage is of what is seen.",
    "missing-slices": "Slices are missing: the percentage is of those that are there.",
    "thick-slices": "The slices lie far apart: small lesions between them are not counted.",
    "coarse-pixels": "The pixels are wide and blur vessels into what looks ill: the percentage may be too high.",
    "contrast": "With contrast medium, vessels and lung are denser: the percentage may be too high.",
    "hu-shift": "The values are not Hounsfield units but shifted: the percentage is not to be relied on.",
    "hu-scale": "The values are not Hounsfield units but stretched: the percentage is not to be relied on.",
    "noise": "The image is very noisy: the percentage may be a little too high.",
    "noise-slices": "Some slices are nothing but noise: the percentage counts them as lung or lesion by chance.",
    "blurred": "The image is blurred, which draws the lungs' borders as lesion: the percentage is too high.",
    "repeated-slices": "Slices are repeated: the percentage counts what they show more than once.",
    "slice-order": "Slices are in the wrong order: lungs and lesions can't be followed from one to the next.",
    "impossible-size": "The distances between voxels are wrong: volumes are, too, and the percentage may be.",
    "orientation-turned": "The body is turned: the percentage and its regions are not to be relied on.",
    "orientation-front-back": "Front and back are swapped: the percentage and its regions are not to be relied on.",
    "orientation-head-feet": "Head and feet are swapped: the percentage and its regions are not to be relied on.",
    "orientation-mirrored": "Left and right may be swapped: what is said of one lung may be true of the other.",
}
"""Flags of the scan's quality that limit the measure."""

UNEVEN = 1.6
"""One lung may be so many times as large as the other, before it is told; healthy ones differ by a fifth."""

FAR = 1
"""A network's grade may differ by so many from the measured one before a person is asked."""


def measured(
    scan: Scan, lungs: LungMask | None, missing: npt.NDArray[np.bool_] | None = None
) -> Measured | None:
    """Measure a CT's severity; None for pictures, and where there is hardly any lung.

    Args:
        lungs: of the scan; None where they can't be looked for.
        missing: bool (slices, rows, columns): what was not observed.
    """
    if lungs is None or scan.spacing_mm is None or lungs.right_ml + lungs.left_ml < LEAST_ML:
        return None
    from pulmoscope.segment.ct_severity import measure

    ml = lungs.right_ml, lungs.left_ml
    measurement = measure(scan.pixels, lungs.labels, scan.spacing_mm, missing)
    if measurement is not None and max(ml) > UNEVEN * min(ml) > 0:
        percent = 100 * min(ml) / max(ml)
        limit = (
            f"One lung has {percent:.0f} % of the other's volume: a part without any air may not have been found, and "
            "the percentage may be far too low."
        )
        measurement = replace(measurement[0], limits=(limit,)), measurement[1]
    if measurement is None or missing is None:
        return measurement
    lost = int(np.count_nonzero(lungs.labels[missing]))
    if not lost:
        return measurement
    percent = 100 * lost / int(np.count_nonzero(lungs.labels))
    limit = f"{percent:.1f} % of the lung was not observed: the percentage is of the rest."
    return replace(measurement[0], limits=(*measurement[0].limits, limit)), measurement[1]


def with_limits(
    measurement: Measured | None, quality: Quality
) -> tuple[SeverityMeasure | None, SeverityMasks | None]:
    """The measure with what limits it by the scan's quality, and its masks."""
    if measurement is None:
        return None, None
    severity, masks = measurement
    codes = dict.fromkeys(flag.code for flag in quality.flags)
    return replace(severity, limits=(*severity.limits, *(LIMITS[c] for c in codes if c in LIMITS))), masks


def held_to_measure(prediction: Prediction, severity: SeverityMeasure | None) -> Prediction:
    """Refer an answer that is a grade (``CT-0`` … ``CT-4``) and far from the measured one; any other as it is."""
    grade = grade_number(prediction.label)
    if severity is None or grade is None:
        return prediction
    if abs(grade - GRADES.index(severity.grade)) <= FAR:
        return prediction
    reason = (
        f"The network says {prediction.label}, but {severity.percent_affected:.1f} % of the lungs is affected by "
        f"measure, which is {severity.grade}: a person must decide."
    )
    if prediction.decision is Decision.REFER:
        reason = f"{prediction.reason} {reason}"
    return replace(prediction, decision=Decision.REFER, reason=reason)
