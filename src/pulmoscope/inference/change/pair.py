"""What any two scans of one patient have in common when they are compared, whatever kind they are."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from datetime import date
from typing import NamedTuple

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.facts import Facts
from pulmoscope.core.types import Flag, FlagLevel, Modality, Quality, Scan

TITLES = {Modality.XRAY: "radiograph", Modality.CT: "CT"}
"""What a scan is called in messages."""
_FIRST: dict[Modality, date] = {Modality.XRAY: date(1895, 11, 8), Modality.CT: date(1971, 10, 1)}
"""The day of the first scan of each kind; an earlier date is a placeholder."""


class Errs(NamedTuple):
    """How far a difference may lie below and above the one that was found; both at least 0."""

    below: float
    above: float


class Found(NamedTuple):
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float


def errs(now: Found, earlier: Found, correlation: float) -> Errs:
    """How far the difference of two values, now less earlier, may err by what each of them may err.

    The ends of both intervals are combined in quadrature, each side by itself, as intervals need not be symmetric, less
    what the two errors have in common (MOVER: Zou and Donner, Statistics in Medicine 27, 2008, section 2).

    Args:
        correlation: of the two errors.
    """
    return Errs(
        _together(now.value - now.low, earlier.high - earlier.value, correlation),
        _together(now.high - now.value, earlier.value - earlier.low, correlation),
    )


def _together(one: float, other: float, correlation: float) -> float:
    """How far a difference may err that two errors go into."""
    return math.sqrt(one**2 + other**2 - 2 * correlation * one * other)


def facts_of(scan: Scan) -> Facts:
    """What the files of a scan say of it, if they say anything."""
    return scan.facts or Facts()


def days_between(earlier: Scan, now: Scan) -> int | None:
    """Days from one study to the other, negative where the first is the later one; None where a date is not known."""
    dates = [facts_of(scan).study_date for scan in (earlier, now)]
    if not all(dates):
        return None
    first, last = map(date.fromisoformat, dates)
    return (last - first).days if min(first, last) >= _FIRST[now.modality] else None


def check_quality(source: str, quality: Quality, spared: Collection[str] = ()) -> None:
    """Refuse a scan whose quality forbids to rely on what was found in it.

    Args:
        spared: codes of flags that say nothing against it.

    Raises:
        UnsuitableError: another flag about the image has the level ``refuse``.
    """
    against = [flag for flag in quality.flags if flag.level is FlagLevel.REFUSE and flag.code not in spared]
    if against:
        raise UnsuitableError(source, "not-comparable", against[0].finding, against[0].rule)


def unknown_flags(now: Scan, earlier: Scan, days: int | None) -> Iterator[Flag]:
    """What the files don't say of a pair: then the user vouches for it."""
    title = TITLES[now.modality]
    if not all(facts_of(scan).patient for scan in (now, earlier)):
        finding = f"the files do not say that both {title}s are of one patient"
        yield Flag("patient-unknown", FlagLevel.WARN, finding, "PatientID must be the same in both")
    if days is None:
        finding = f"the files do not say how many days lie between the {title}s, nor which one is the earlier"
        yield Flag("dates-unknown", FlagLevel.INFO, finding)
