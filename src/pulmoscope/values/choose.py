"""Of several values of an analyte the one that counts: the nearest to the image, within a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor

from pulmoscope.core.analytes import ANALYTES
from pulmoscope.core.types import Flag, FlagLevel
from pulmoscope.core.values import ClinicalValue, Moment
from pulmoscope.values.records import Given, left_out

LASTING = frozenset({"age", "sex"})
"""What does not change within days: no window applies."""

_ADULT = 18.0
"""a: from this age on only whole years are kept, below it months."""

_NAMED = 3
"""So many analytes are named in a flag; more are counted."""


@dataclass(frozen=True)
class Window:
    """How long before and after an image values count, h."""

    before: float = 48.0
    after: float = 24.0


@dataclass(frozen=True)
class _Timed:
    """A value and how far from the image it was taken, h: the first and the last that it can be; None: not known."""

    given: Given
    reach: tuple[float, float] | None

    @property
    def hours(self) -> float | None:
        """The farther of both."""
        return None if self.reach is None else max(self.reach, key=abs)

    def within(self, window: Window) -> bool:
        """Whether the whole of the time that it can have been taken lies in a window."""
        return self.reach is not None and -window.before <= self.reach[0] and self.reach[1] <= window.after


def chosen(
    given: Sequence[Given], taken: Moment | None, window: Window
) -> tuple[list[ClinicalValue], list[Flag]]:
    """One value an analyte, in the order of the catalogue, and what was left out.

    Of two that are equally near the earlier counts; two different ones of one time are none.

    Args:
        taken: when the image was made; None: not known.
    """
    by_name: dict[str, list[_Timed]] = {}
    for one in given:
        by_name.setdefault(one.name, []).append(_Timed(one, _reach(one, taken)))
    values, flags, timeless = [], [], []
    for name in ANALYTES:
        found = _nearest(name, by_name.get(name, []), window)
        if isinstance(found, Flag):
            flags.append(found)
        elif found is not None:
            values.append(_clinical(found))
            timeless += [name] if found.hours is None and name not in LASTING else []
    if timeless:
        which = ", ".join(timeless) if len(timeless) <= _NAMED else f"{len(timeless)} values"
        finding = f"of {which} it is not known how long before or after the image they were taken"
        flags.append(Flag("no-time", FlagLevel.WARN, finding))
    return values, flags


def _reach(given: Given, taken: Moment | None) -> tuple[float, float] | None:
    if given.hours is not None:
        return given.hours, given.hours
    return None if taken is None or given.taken is None else taken.reach(given.taken)


def _nearest(name: str, timed: Sequence[_Timed], window: Window) -> _Timed | Flag | None:
    """The value that counts; why none does; None where there is none."""
    if not timed:
        return None
    near = [
        (abs(one.hours), one.hours, one)
        for one in timed
        if one.hours is not None and (name in LASTING or one.within(window))
    ]
    if near:
        nearest = min(pair[:2] for pair in near)
        candidates = [one for *pair, one in near if tuple(pair) == nearest]
        # On the day of an image whose hour is not known the first of several counts.
        stamps = [one.given.taken.start for one in candidates if one.given.taken is not None]
        if stamps and len(stamps) == len(candidates):
            candidates = [
                one for one in candidates if one.given.taken and one.given.taken.start == min(stamps)
            ]
        return _only(name, candidates)
    untimed = [one for one in timed if one.hours is None]
    if untimed:
        return _only(name, untimed)
    closest = min(
        (one.reach for one in timed if one.reach is not None),
        key=lambda reach: (max(map(abs, reach)), reach),
    )
    finding = f"{name}: the nearest value was taken {_words(*closest)} the image"
    return left_out("too-far", finding, f"{window.before:g} h before to {window.after:g} h after it")


def _words(first: float, last: float) -> str:
    words = [f"{abs(hours):.0f} h {'before' if hours < 0 else 'after'}" for hours in (first, last)]
    return words[0] if first == last else f"between {words[0]} and {words[1]}"


def _only(name: str, candidates: Sequence[_Timed]) -> _Timed | Flag:
    """The value that all candidates have; where it is given in several ways, the first of these as they sort."""
    if len({(one.given.value, one.given.bound) for one in candidates}) > 1:
        places = sorted({one.given.where for one in candidates}, key=lambda place: (len(place), place))
        near = "nobody knows which is nearest" if candidates[0].hours is None else "equally near"
        finding = (
            f"{name}: {len(candidates)} values that differ ({', '.join(places[:3])}), {near} to the image"
        )
        return left_out("conflicting-values", finding, "left out")
    return min(candidates, key=lambda one: (one.given.text, str(one.given.low), str(one.given.high)))


def _clinical(timed: _Timed) -> ClinicalValue:
    one = _coarse(timed.given) if timed.given.name == "age" else timed.given
    hours = None if one.name in LASTING else timed.hours
    return ClinicalValue(one.name, one.value, one.text, hours, one.bound, one.low, one.high)


def _coarse(age: Given) -> Given:
    """An age in whole years, of children in months: a finer one and the image's date would tell the date of birth."""
    if age.value >= _ADULT:
        years = floor(age.value + 1e-9)  # 61 years in days, divided, may be a little less than 61
        return replace(age, value=float(years), text=f"{age.bound}{years} a")
    months = round(12 * age.value)
    text = f"{months // 12} a" if months % 12 == 0 else f"{months} mo"
    return replace(age, value=months / 12, text=f"{age.bound}{text}")
