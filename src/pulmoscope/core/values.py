"""Values of a patient that stand beside an image: when they were taken, and what is used of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pulmoscope.core.types import Flag

Link = Literal["patient", "file", "only", "none"]
"""What tells that values are of an image: the patient's id; its file's name or checksum; that there is one patient and
one image, and nothing speaks against it; nothing does."""

_ISO = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?\s*(Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.IGNORECASE,
)

_YEARS = 1850, 2200
"""Of dates; others are placeholders, such as 9999-12-31."""


@dataclass(frozen=True)
class Moment:
    """When something was, as a clock on the wall there showed it.

    Attributes:
        start, end: the same, where the time is known; else the first and the last that it can be, of a day from
            midnight to midnight.
        zone: what that clock was ahead of UTC; None: not known.
    """

    start: datetime
    end: datetime
    zone: timedelta | None = None

    @classmethod
    def of(cls, text: str) -> Moment | None:
        """A time, day, month or year of ISO 8601, as tables and FHIR write it; None: it is none, or a placeholder."""
        match = _ISO.fullmatch(text.strip())
        if match is None:
            return None
        year, month, day, hour, minute, second = (
            int(part or least) for part, least in zip(match.groups()[:6], (0, 1, 1, 0, 0, 0), strict=True)
        )
        if not _YEARS[0] <= year <= _YEARS[1]:
            return None
        try:
            start = datetime(year, month, day, hour, minute, min(second, 59))
            zone = _zone(match[7])
        except ValueError:
            return None
        if match[2] is None:
            return cls(start, start.replace(year=year + 1))
        if match[3] is None:
            return cls(start, datetime(year + month // 12, month % 12 + 1, 1))
        return cls(start, start + timedelta(days=0 if match[4] else 1), zone)

    @property
    def is_day(self) -> bool:
        """Whether only the day is known."""
        return self.end > self.start

    def until(self, other: Moment) -> float:
        """Hours from this to another, negative where the other was before.

        Of two days 24 a day; of a day and a time the fewest that it can be, 0 on that day. Zones count where both are
        known; else the clocks on the wall are compared.
        """
        known = self.zone is not None and other.zone is not None
        shift = (other.zone or timedelta()) - (self.zone or timedelta()) if known else timedelta()
        start, end = other.start - shift, other.end - shift
        if self.is_day and other.is_day:
            between = start - self.start
        elif start > self.end:
            between = start - self.end
        else:
            between = min(timedelta(), end - self.start)
        return between / timedelta(hours=1)

    def reach(self, other: Moment) -> tuple[float, float]:
        """Hours from this to the first and to the last that another can be.

        Of a time or a day both are those of :meth:`until`; of what is longer, a month, its ends'.
        """
        if other.end - other.start <= timedelta(days=1):
            return self.until(other), self.until(other)
        return (
            self.until(Moment(other.start, other.start, other.zone)),
            self.until(Moment(other.end, other.end, other.zone)),
        )


def _zone(text: str | None) -> timedelta | None:
    """``Z``, ``+01:00`` or ``-0330``.

    Raises:
        ValueError: no clock is so far from UTC.
    """
    if text is None or text.upper() == "Z":
        return None if text is None else timedelta()
    ahead = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    if ahead > timedelta(hours=14):
        raise ValueError(text)
    return -ahead if text[0] == "-" else ahead


@dataclass(frozen=True)
class ClinicalValue:
    """A value of the patient that is used with an image.

    Attributes:
        name: of the analyte (:data:`pulmoscope.core.analytes.ANALYTES`).
        value: in the analyte's unit; of ``sex`` 1 for male, 0 for female.
        given: as the file has it, with its unit.
        hours: from the image, negative before it; None where a time is not known.
        bound: ``<``, ``<=``, ``>=`` or ``>`` where the value is only a bound of what was measured.
        low, high: the laboratory's own reference range, in the analyte's unit; None where it gives none.
        from_header: it is the image's own header that says so.
    """

    name: str
    value: float
    given: str
    hours: float | None = None
    bound: str = ""
    low: float | None = None
    high: float | None = None
    from_header: bool = False


@dataclass(frozen=True)
class LinkedValues:
    """The values of one image's patient.

    Attributes:
        values: in the order of the catalogue, one an analyte.
        flags: what was left out or is to be minded, and why.
        link: what tells that they are of this image.
        settings: the checksum of the file that they are from, and how they were linked; goes into results.
    """

    values: tuple[ClinicalValue, ...]
    flags: tuple[Flag, ...]
    link: Link
    settings: Mapping[str, str | float | bool] = field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, float]:
        """Name → value, for a model; a bound stands for what it bounds."""
        return {value.name: value.value for value in self.values}
