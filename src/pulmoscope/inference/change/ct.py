"""Two CTs of one patient, measured along the one path and compared: is more or less of the lungs affected?"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pulmoscope.core.change import CtChange, MeasuredCt, Verdict
from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.severity import GRADES, SeverityMasks, SeverityMeasure
from pulmoscope.core.types import Flag, FlagLevel, Quality, Scan, Units
from pulmoscope.inference.change.pair import (
    Found,
    check_quality,
    days_between,
    errs,
    facts_of,
    unknown_flags,
)
from pulmoscope.inference.decision import ct_quality
from pulmoscope.inference.look import SeenCt, look_at
from pulmoscope.inference.measure import measured, with_limits
from pulmoscope.inference.missing import missing_flags
from pulmoscope.io.patient_age import CHILD
from pulmoscope.quality.ct.rules import LEAST_ML

SAME_PATIENT = 0.8
"""How the errors of two measures of one patient go together, as a correlation: what the measure gets wrong in a chest,
it mostly gets wrong twice. Cautious: of simulated chests that two scanners scan it is 0.92 (``docs/severity.md``)."""
DENSER = 2.5
"""By what fraction the measured percentage rises, per fraction of the lungs' volume that is breathed out: the most of
three real series whose density was raised as by breathing out (``docs/severity.md``)."""
BREATHING = 0.2
"""The lungs' volumes may differ by so much, as a fraction of the larger one: density depends on how deep a patient has
breathed in."""
THICKER = 1.5
"""Slices may be so many times thicker in one CT than in the other."""
INCOMPLETE = ("one-lung", "lungs-cut", "truncated-fov", "missing-slices", "missing-data")
"""Flags of a scan that shows not all of the lungs."""


def measured_alone(scan: Scan) -> MeasuredCt:
    """A CT measured as in a diagnosis, without a model.

    Raises:
        UnsuitableError: it can't be measured.
    """
    seen = look_at(scan)
    known = ct_quality(seen.scan, seen.lungs, ()).all_flags
    quality = Quality((*known, *missing_flags(seen.search, seen.lungs)))
    return to_compare(seen, quality, *with_limits(measured(seen.scan, seen.lungs, seen.missing), quality))


def to_compare(
    seen: SeenCt, quality: Quality, severity: SeverityMeasure | None, masks: SeverityMasks | None
) -> MeasuredCt:
    """A CT whose measure can be held against another.

    Raises:
        UnsuitableError: there is no measure, or the quality of the scan forbids to rely on it.
    """
    source = seen.scan.source
    if seen.scan.units is not Units.HU:
        rule = "a change is measured in HU"
        raise UnsuitableError(source, "without-hu", "its values are grey levels, not HU", rule)
    if severity is None or masks is None:
        rule = f"at least {LEAST_ML} ml are compared"
        raise UnsuitableError(source, "no-lungs", "the scan shows hardly any lung", rule)
    # A child is referred because no model was checked on children; the measure has no model.
    check_quality(source, quality, (CHILD,))
    return MeasuredCt(seen.scan, quality, severity, masks, seen.missing)


def change_of(now: MeasuredCt, earlier: MeasuredCt) -> CtChange:
    """What has changed from the earlier CT to the one now."""
    days = days_between(earlier.scan, now.scan)
    return CtChange(
        earlier,
        now,
        verdict_of(now.severity, earlier.severity),
        now.severity.percent_affected - earlier.severity.percent_affected,
        difference_interval(now.severity, earlier.severity),
        days,
        tuple(_flags(now, earlier, days)),
    )


def verdict_of(now: SeverityMeasure, earlier: SeverityMeasure) -> Verdict:
    """More or less where the interval of the difference leaves no change out; unclear where both measures are none."""
    low, high = difference_interval(now, earlier)
    if now.grade == earlier.grade == GRADES[0] or low <= 0 <= high:
        return Verdict.UNCLEAR
    return Verdict.MORE if low > 0 else Verdict.LESS


def difference_interval(now: SeverityMeasure, earlier: SeverityMeasure) -> tuple[float, float]:
    """Between what the true difference lies, in points, by what both measures may err and by breathing.

    To the side to which breathing leads, what it may do is added in quadrature to what the measures err. Neither end
    lies beyond 100 points, as no difference does.
    """
    err = errs(_found(now), _found(earlier), SAME_PATIENT)
    too_much, too_little = _by_breathing(now, earlier)
    difference = now.percent_affected - earlier.percent_affected
    low, high = difference - math.hypot(err.below, too_much), difference + math.hypot(err.above, too_little)
    return max(-100.0, low), min(100.0, high)


def _found(severity: SeverityMeasure) -> Found:
    return Found(severity.percent_affected, *severity.interval)


def _by_breathing(now: SeverityMeasure, earlier: SeverityMeasure) -> tuple[float, float]:
    """By how many points the difference may be too large, and too small: smaller lungs are denser, and measure more."""
    now_ml, earlier_ml = now.volumes_ml["both"], earlier.volumes_ml["both"]
    if now_ml < earlier_ml:
        return DENSER * (1 - now_ml / earlier_ml) * now.percent_affected, 0.0
    return 0.0, DENSER * (1 - earlier_ml / now_ml) * earlier.percent_affected


def _flags(now: MeasuredCt, earlier: MeasuredCt, days: int | None) -> Iterator[Flag]:
    """Why two CTs can't be compared well."""
    yield from unknown_flags(now.scan, earlier.scan, days)
    yield from _breathing(now.severity.volumes_ml["both"], earlier.severity.volumes_ml["both"])
    yield from _acquisition(now, earlier)
    for which, title, one in (("now", "the CT now", now), ("earlier", "the earlier CT", earlier)):
        lacking = [flag.finding for flag in one.quality.flags if flag.code in INCOMPLETE]
        if lacking:
            yield Flag(
                f"incomplete-{which}", FlagLevel.WARN, f"{title} was not measured whole: {'; '.join(lacking)}"
            )


def _breathing(now_ml: float, earlier_ml: float) -> Iterator[Flag]:
    """Whether the lungs were filled differently.

    Lesions count as lung here: of the air alone a growing pneumonia takes as much as breathing out does.
    """
    larger = max(now_ml, earlier_ml)
    if larger - min(now_ml, earlier_ml) <= BREATHING * larger:
        return
    finding = f"the lungs have {now_ml:.0f} ml now and {earlier_ml:.0f} ml in the earlier CT"
    rule = f"within {100 * BREATHING:.0f} %: lung is denser where it is breathed out"
    yield Flag("lung-volume", FlagLevel.WARN, finding, rule)


def _acquisition(now: MeasuredCt, earlier: MeasuredCt) -> Iterator[Flag]:
    """What differs in how the two were made."""
    thick_now, thick_earlier = _thicknesses_mm(now.scan, earlier.scan)
    if max(thick_now, thick_earlier) > THICKER * min(thick_now, thick_earlier):
        finding = f"slices are {thick_now:.3g} mm thick now and {thick_earlier:.3g} mm in the earlier CT"
        rule = f"at most {THICKER:.3g} times as thick: thick slices blur small lesions"
        yield Flag("slice-thickness", FlagLevel.WARN, finding, rule)
    kernels = [facts_of(one.scan).kernel for one in (now, earlier)]
    if all(kernels) and kernels[0] != kernels[1]:
        finding = (
            f"the reconstruction kernel is one for {kernels[0]} tissue now and for {kernels[1]} tissue before"
        )
        yield Flag("kernel", FlagLevel.WARN, finding, "one kind of kernel: it changes densities at edges")
    contrast = [any(flag.code == "contrast" for flag in one.quality.flags) for one in (now, earlier)]
    if contrast[0] != contrast[1]:
        finding = f"contrast medium was given {'now' if contrast[0] else 'for the earlier CT'} only"
        yield Flag("contrast", FlagLevel.WARN, finding, "with it, vessels and lung are denser")


def _thicknesses_mm(now: Scan, earlier: Scan) -> tuple[float, float]:
    """How thick the slices are; how far they lie apart, where the files of either don't say."""
    known = [facts_of(scan).thickness_mm for scan in (now, earlier)]
    if known[0] and known[1]:
        return known[0], known[1]
    assert now.spacing_mm is not None  # as both were measured
    assert earlier.spacing_mm is not None
    return now.spacing_mm[0], earlier.spacing_mm[0]
