"""Is a ratio of this run worse than the one that was stored? The stored ones stand in ``benchmarks/baseline.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import comb
from typing import Any, Literal

from bench.figures import Spread

LEAST_CHANGE = 0.05
"""A median that changed by less is not told: two runs on one machine differ by as much."""
CHANCE = 0.05
"""Rounds must be so many that ranges which don't meet are no accident more often than this."""

Verdict = Literal["worse", "better", "same", "too few rounds"]


@dataclass(frozen=True)
class Compared:
    """One ratio, then and now."""

    name: str
    before: Spread
    now: Spread
    verdict: Verdict


def verdict(before: Spread, now: Spread) -> Verdict:
    """Whether a ratio, of which more is better, changed beyond the noise of both runs.

    It is worse when even the best round of now is below the worst round of before, and the median fell by at least
    :data:`LEAST_CHANGE`. If nothing changed, the ranges of n and m rounds lie apart in this direction with probability
    1 / C(n + m, n), whatever the noise looks like (it is the extreme case of the rank sum test): 1 in 252 for five and
    five. Where this exceeds :data:`CHANCE` nothing is said.
    """
    if 1 / comb(before.rounds + now.rounds, now.rounds) > CHANCE:
        return "too few rounds"
    change = now.median / before.median - 1
    if now.high < before.low and change <= -LEAST_CHANGE:
        return "worse"
    if now.low > before.high and change >= LEAST_CHANGE:
        return "better"
    return "same"


def compared(stored: Mapping[str, Any], document: Mapping[str, Any]) -> list[Compared]:
    """Every ratio that a baseline of this kind of machine and a run both have, in the run's order."""
    now = ratios(document)
    return [
        Compared(name, before, now[name], verdict(before, now[name]))
        for name, before in (
            (name, _spread(stored["ratios"][name])) for name in now if name in stored["ratios"]
        )
    ]


def entry(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a baseline keeps of a run."""
    kept = {name: document[name] for name in ("commit", "versions", "inputs")}
    return kept | {"ratios": {name: asdict(found) for name, found in ratios(document).items()}}


def ratios(document: Mapping[str, Any]) -> dict[str, Spread]:
    """The ratios of a run, by the name that a baseline knows them by."""
    return {f"{one['part']}, {one['against']}, {one['of']}": _spread(one) for one in document["ratios"]}


def _spread(plain: Mapping[str, Any]) -> Spread:
    return Spread(plain["median"], plain["low"], plain["high"], plain["rounds"])
