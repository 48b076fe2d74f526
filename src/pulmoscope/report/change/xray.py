"""A radiograph beside an earlier one: as plain data, and in words and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulmoscope.core.change import ScoredXray, Verdict, XrayChange
from pulmoscope.core.xray_severity import (
    MOST_BRIXIA,
    MOST_EXTENT,
    MOST_OPACITY,
    ZONES,
    Estimate,
)
from pulmoscope.report.change.words import signed, since
from pulmoscope.report.xray_severity import estimates_json

VERDICTS: Mapping[str, str] = {
    Verdict.MORE: "The lungs are more affected",
    Verdict.LESS: "The lungs are less affected",
    Verdict.UNCLEAR: "No clear change",
}
SCORES = {
    "brixia": ("Brixia score", MOST_BRIXIA),
    "extent": ("Geographic extent", MOST_EXTENT),
    "opacity": ("Opacity", MOST_OPACITY),
}
"""Scores of the whole radiograph: title and highest value, the one that decides first."""
_KEYS = {"extent": "geographic_extent"}
"""What a score is called in ``diagnosis.json``, where that differs."""
_SIDES, _LEVELS = ("right", "left"), ("upper", "middle", "lower")
"""Of the zones, in their order."""


@dataclass(frozen=True)
class DrawnZone:
    """A zone as it is drawn over a picture.

    Attributes:
        name: one of :data:`~pulmoscope.core.xray_severity.ZONES`.
        left, top, width, height: px of the picture.
        label: what is written in it.
    """

    name: str
    left: float
    top: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class DrawnXray:
    """A radiograph with its zones.

    Attributes:
        picture: as a ``data:`` address.
        width, height: of the picture, px.
        zones: over it.
    """

    picture: str
    width: int
    height: int
    zones: tuple[DrawnZone, ...]


@dataclass(frozen=True)
class XrayPair:
    """Both radiographs, at one scale and in equal frames."""

    earlier: DrawnXray
    now: DrawnXray


@dataclass(frozen=True)
class ScoreRow:
    """A line of the table: a score then and now, and the difference.

    Attributes:
        inner: whether it is part of a line above.
    """

    title: str
    earlier: Estimate
    now: Estimate
    difference: Estimate
    inner: bool


def change_json(change: XrayChange) -> dict[str, Any]:
    """What was estimated of both, and the differences; above all that of the Brixia score, which decides."""
    scores = {_KEYS.get(name, name): _difference_json(getattr(change, name)) for name in SCORES}
    zones = {name: _difference_json(one) for name, one in change.zones.items()}
    return {
        **_difference_json(change.brixia),
        "differences": {**scores, "zones": zones},
        "earlier": _scored_json(change.earlier),
        "now": _scored_json(change.now),
    }


def change_section(change: XrayChange, pair: XrayPair | None) -> dict[str, Any]:
    """What the page's section on a change says; ``pair``: None where nothing is drawn."""
    return {
        "title": VERDICTS[change.verdict],
        "sentence": sentence(change),
        "flags": change.flags,
        "limits": change.earlier.severity.limits,
        "rows": rows(change),
        "coverage": change.now.severity.coverage,
        "pair": pair,
    }


def sentence(change: XrayChange) -> str:
    """The change in a few words for someone who sees one for the first time."""
    then, now = change.earlier.severity.brixia, change.now.severity.brixia
    low, high = change.brixia.low, change.brixia.high
    return signed(
        f"The Brixia score was {then.value:.1f} of {MOST_BRIXIA:.0f} in the earlier radiograph{since(change.days)}, "
        f"and is {now.value:.1f} now: {change.brixia.value:+.1f} points. As both estimates may err, the readers' own "
        f"difference can be expected between {low:+.1f} and {high:+.1f}. {_MEANING[change.verdict]}"
    )


def change_line(plain: Mapping[str, Any]) -> str:
    """The change of a ``diagnosis.json`` in a few words."""
    then, now = plain["earlier"]["brixia"], plain["now"]["brixia"]
    return (
        f"{VERDICTS[plain['verdict']]}: Brixia score {now:.1f} after {then:.1f} in the earlier radiograph"
        f"{since(plain['days'])}"
    )


def rows(change: XrayChange) -> Sequence[ScoreRow]:
    """The lines of the table: the Brixia score and its zones, extent, opacity."""
    then, now = change.earlier.severity, change.now.severity
    whole = {
        name: ScoreRow(
            f"{title} (0\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{most:.0f})",
            getattr(then, name),
            getattr(now, name),
            getattr(change, name),
            inner=False,
        )
        for name, (title, most) in SCORES.items()
    }
    zones = [
        ScoreRow(
            f"{name}: {_SIDES[number // 3]} {_LEVELS[number % 3]} third",
            then.zones[name].score,
            now.zones[name].score,
            change.zones[name],
            inner=True,
        )
        for number, name in enumerate(ZONES)
    ]
    return [whole["brixia"], *zones, whole["extent"], whole["opacity"]]


_MEANING = {
    Verdict.MORE: "That is more than the estimates err: the lungs are more affected.",
    Verdict.LESS: "That is more than the estimates err: the lungs are less affected.",
    Verdict.UNCLEAR: "No change at all lies within that range: the estimates can't tell whether anything has changed.",
}


def _difference_json(difference: Estimate) -> dict[str, Any]:
    return {"difference": round(difference.value, 2), "interval": _ends(difference)}


def _scored_json(one: ScoredXray) -> dict[str, Any]:
    """One radiograph of the two, with its scores."""
    return {"view": one.scan.view, **estimates_json(one.severity)}


def _ends(estimate: Estimate) -> list[float]:
    return [round(estimate.low, 2), round(estimate.high, 2)]
