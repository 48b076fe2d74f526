"""Two radiographs of one patient, scored along the one path and compared: are the lungs more or less affected?"""

from __future__ import annotations

from collections.abc import Iterator

from pulmoscope.core.change import ScoredXray, Verdict, XrayChange
from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import Diagnosis, Flag, FlagLevel
from pulmoscope.core.xray_severity import (
    MOST_BRIXIA,
    MOST_EXTENT,
    MOST_OPACITY,
    MOST_ZONE,
    Estimate,
)
from pulmoscope.inference.change.pair import Found, check_quality, days_between, errs, unknown_flags

SAME_PATIENT = 0.0
"""How the errors of two estimates of one patient go together, as a correlation. Of the Brixia score, which decides, it
is 0.17 (-0.17 to 0.43) in 46 pairs (``docs/xray-severity.md``). 0 is the cautious end: no larger one makes intervals of
the difference wider."""
SHAPE = 1.25
"""The lungs may be so many times taller, for their width, in one radiograph than in the other: less filled lungs are
short, and dense at their bases. Of 59 pairs of radiographs of one patient that were looked at, 3 exceed it."""
FRAMING = 1.5
"""The lungs may take so many times more of one image than of the other. None of these 59 pairs exceeds it."""


def to_compare(diagnosis: Diagnosis) -> ScoredXray:
    """A radiograph whose scores can be held against another's.

    Raises:
        UnsuitableError: it has no scores, or its quality forbids to rely on them.
    """
    scan = diagnosis.scan
    check_quality(scan.source, diagnosis.quality)
    if diagnosis.xray_severity is None:
        finding = "how ill its lungs are could not be estimated"
        raise UnsuitableError(scan.source, "not-comparable", finding, "two scored radiographs are compared")
    return ScoredXray(scan, diagnosis.quality, diagnosis.xray_severity)


def change_of(now: ScoredXray, earlier: ScoredXray) -> XrayChange:
    """What has changed from the earlier radiograph to the one now."""
    days = days_between(earlier.scan, now.scan)
    at_now, then = now.severity, earlier.severity
    extent = difference(at_now.extent, then.extent, MOST_EXTENT)
    brixia = difference(at_now.brixia, then.brixia, MOST_BRIXIA)
    return XrayChange(
        earlier,
        now,
        verdict_of(brixia, extent),
        extent,
        difference(at_now.opacity, then.opacity, MOST_OPACITY),
        brixia,
        {
            name: difference(zone.score, then.zones[name].score, MOST_ZONE)
            for name, zone in at_now.zones.items()
        },
        days,
        tuple(_flags(now, earlier, days)),
    )


def difference(now: Estimate, earlier: Estimate, most: float) -> Estimate:
    """Now less earlier, and between what the difference of the readers' own scores lies.

    Args:
        most: the highest score, which no difference exceeds.
    """
    err = errs(_found(now), _found(earlier), SAME_PATIENT)
    value = now.value - earlier.value
    return Estimate(value, max(-most, value - err.below), min(most, value + err.above))


def _found(score: Estimate) -> Found:
    return Found(score.value, score.low, score.high)


def verdict_of(brixia: Estimate, extent: Estimate) -> Verdict:
    """More or less where the difference of the Brixia score leaves no change out; the extent may only take it back.

    The Brixia score decides, as it alone counts both how much of the lungs is affected and how densely, and has the
    finest steps. One score decides, so that a change is called by mistake no more often than its interval says; two
    that may each call one would do so about twice as often. Where the extent has clearly moved the other way, none is
    called.
    """
    if brixia.low > 0 and extent.high > 0:
        return Verdict.MORE
    if brixia.high < 0 and extent.low < 0:
        return Verdict.LESS
    return Verdict.UNCLEAR


def _flags(now: ScoredXray, earlier: ScoredXray, days: int | None) -> Iterator[Flag]:
    """Why two radiographs can't be compared well."""
    yield from unknown_flags(now.scan, earlier.scan, days)
    views = now.scan.view, earlier.scan.view
    rule = "both should have the same one: lying down, mostly AP, lungs are less filled and look worse"
    if None in views:
        finding = "the files do not say the projection of both radiographs, PA or AP"
        yield Flag("projection-unknown", FlagLevel.INFO, finding, rule)
    elif views[0] != views[1]:
        finding = f"the projection is {views[0]} now and {views[1]} in the earlier radiograph"
        yield Flag("projection", FlagLevel.WARN, finding, rule)
    yield from _framing(now, earlier)


def _framing(now: ScoredXray, earlier: ScoredXray) -> Iterator[Flag]:
    """Whether the lungs have another shape, or are shown at quite another size."""
    tall = [one.lungs[2] / one.lungs[3] for one in (now, earlier)]
    if max(tall) > SHAPE * min(tall):
        finding = (
            f"the lungs are {tall[0]:.2f} times as tall as wide now and {tall[1]:.2f} times in the earlier "
            "radiograph"
        )
        rule = f"at most {SHAPE:.3g} times as tall: lungs that are less filled are shorter and denser"
        yield Flag("lung-shape", FlagLevel.WARN, finding, rule)
    parts = [_part_of_image(one) for one in (now, earlier)]
    if max(parts) > FRAMING * min(parts):
        finding = f"the lungs take {100 * parts[0]:.0f} % of the image now and {100 * parts[1]:.0f} % of the earlier"
        yield Flag("framing", FlagLevel.WARN, finding, f"at most {FRAMING:.3g} times as much")


def _part_of_image(one: ScoredXray) -> float:
    """Which fraction of the image the box around the lungs is."""
    _, _, height, width = one.lungs
    return height * width / float(one.scan.pixels[0].size)
