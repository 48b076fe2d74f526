"""The estimated severity of a radiograph: as plain data, and in words and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, floor
from typing import Any

from pulmoscope.core.types import Diagnosis
from pulmoscope.core.xray_severity import (
    MOST_BRIXIA,
    MOST_EXTENT,
    MOST_OPACITY,
    ZONES,
    Estimate,
    XraySeverity,
    Zone,
)

MAP_PICTURE, MAP_ARRAY = "opacity.png", "opacity.npz"

KEYS = (
    "geographic_extent",
    "opacity",
    "brixia",
    "intervals",
    "coverage",
    "zones",
    "map",
    "model",
    "limits",
    "reason",
)
"""What ``severity`` of a radiograph holds in ``diagnosis.json``."""


class NotEstimated(StrEnum):
    """Why a radiograph has no severity."""

    IMAGE = "image-refused"
    """Its quality does not suffice for a prediction either."""
    LUNGS = "no-lungs"
    """The six zones of the lungs were not found in it."""
    MODEL = "no-severity-model"
    """There is no model that estimates severity."""


_WHY_NOT = {
    NotEstimated.IMAGE: "the quality of the image is not sufficient",
    NotEstimated.LUNGS: "the six zones of the lungs were not found",
    NotEstimated.MODEL: "no model that estimates it is installed",
}

_LEVELS = ("upper", "middle", "lower")
ZONE_TITLES = {
    name: f"{level} third of the {side} lung"
    for name, (side, level) in zip(
        ZONES, [(side, level) for side in ("right", "left") for level in _LEVELS], strict=True
    )
}

_DENSITIES = ("clear", "hazy (ground glass)", "dense (consolidation)", "white throughout")
"""What the opacity of one lung means, 0 to 3."""
_NEAR = 0.25
"""An average that is no farther from a whole score than this is told as that score."""
_TEXT = 0.045
"""Height of the zones' scores over the picture, in its widths."""
_TRACE = 0.5
"""A score below it is nearer to none than to the least that there is."""


@dataclass(frozen=True)
class Score:
    """A score as the page shows it.

    Attributes:
        most: the highest that there is; the lowest is 0.
        meaning: in words.
    """

    title: str
    estimate: Estimate
    most: int
    meaning: str

    def percent(self, value: float) -> float:
        """A value as a percentage of the highest."""
        return 100 * value / self.most


def why_not(diagnosis: Diagnosis) -> NotEstimated:
    """Why a radiograph without a severity has none; ``card`` says whether there is a severity model."""
    if diagnosis.quality.verdict == "refuse":
        return NotEstimated.IMAGE
    return NotEstimated.LUNGS if diagnosis.card.get("severity") else NotEstimated.MODEL


def xray_severity_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """What ``diagnosis.json`` holds of a radiograph's severity; all None but the reason where it was not estimated."""
    severity = diagnosis.xray_severity
    if severity is None:
        return {**dict.fromkeys(KEYS), "reason": why_not(diagnosis).value}
    return {**estimates_json(severity), "map": map_files(diagnosis), "reason": None}


def estimates_json(severity: XraySeverity) -> dict[str, Any]:
    """What was estimated of a radiograph, as plain data."""
    scores = {
        "geographic_extent": severity.extent,
        "opacity": severity.opacity,
        "brixia": severity.brixia,
    }
    return {
        **{name: round(score.value, 2) for name, score in scores.items()},
        "intervals": {name: _ends(score) for name, score in scores.items()},
        "coverage": severity.coverage,
        "zones": {name: _zone(severity.zones[name]) for name in ZONES},
        "model": {key: severity.model[key] for key in ("name", "version", "sha256")},
        "limits": list(severity.limits),
    }


def map_files(diagnosis: Diagnosis) -> dict[str, str] | None:
    """The files of the map of opacity, over the image and alone; None where there are none.

    As heat maps are, they are written where a diagnosis is explained.
    """
    if diagnosis.xray_severity is None or not diagnosis.explanations:
        return None
    return {"picture": MAP_PICTURE, "array": MAP_ARRAY}


def estimated_lines(plain: Mapping[str, Any]) -> list[str]:
    """The ``severity`` of a ``diagnosis.json`` in lines for a terminal: none where nothing was estimated.

    But where the image is the reason, that is said.
    """
    if plain.get("geographic_extent") is None:
        reason = plain.get("reason")
        if reason in (None, NotEstimated.MODEL):
            return []
        return [f"Severity        not estimated: {_WHY_NOT[NotEstimated(reason)]}"]
    scores = [
        f"{title} {plain[name]:.1f} of {most:.0f} ({low:.1f} to {high:.1f})"
        for name, title, most in (
            ("geographic_extent", "extent", MOST_EXTENT),
            ("opacity", "opacity", MOST_OPACITY),
            ("brixia", "Brixia", MOST_BRIXIA),
        )
        for low, high in [plain["intervals"][name]]
    ]
    return [
        f"Severity        {', '.join(scores)}, as readers would score it",
        *(f"                limited: {limit}" for limit in plain["limits"]),
    ]


def severity_section(diagnosis: Diagnosis) -> dict[str, Any]:
    """What the page's section on severity says; ``scores`` is empty where it was not estimated."""
    severity = diagnosis.xray_severity
    if severity is None:
        return {"scores": [], "why_not": _WHY_NOT[why_not(diagnosis)]}
    rows, columns = diagnosis.scan.pixels.shape[1:]
    return {
        "scores": scores_of(severity),
        "why_not": "",
        "coverage": severity.coverage,
        "limits": severity.limits,
        "record": _record(diagnosis.card.get("severity") or {}),
        "model": severity.model,
        "zones": severity.zones,
        "table": [
            (level, right, left) for level, right, left in zip(_LEVELS, ZONES[:3], ZONES[3:], strict=True)
        ],
        "rows": rows,
        "columns": columns,
        "text": _TEXT * columns,
    }


def _record(figures: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """How far each score was off on patients whose radiographs were left out of training."""
    return [
        {
            "title": title,
            "images": figures[name]["images"],
            "error": figures[name]["mae"]["value"],
            "guessing": figures[name]["mae_of_mean"]["value"],
        }
        for name, title in (
            ("extent", "geographic extent"),
            ("opacity", "opacity"),
            ("brixia", "Brixia score"),
        )
        if name in figures
    ]


def scores_of(severity: XraySeverity) -> Sequence[Score]:
    """Extent, opacity and Brixia score with what they mean."""
    return [
        Score("Geographic extent", severity.extent, round(MOST_EXTENT), extent_words(severity.extent.value)),
        Score("Opacity", severity.opacity, round(MOST_OPACITY), opacity_words(severity.opacity.value)),
        Score("Brixia score", severity.brixia, round(MOST_BRIXIA), worst_zone(severity.zones)),
    ]


def extent_words(value: float) -> str:
    """What a geographic extent means.

    Each lung gets a point for every quarter of it that disease has reached: so both together have ``value`` eighths
    affected at most, and two eighths less at least. Percentages are rounded to the nearest 5.
    """
    if value < _TRACE:
        return "none of the lungs affected, or hardly any"
    least, most = (
        5 * floor(100 / 5 * min(max(points, 0.0), MOST_EXTENT) / MOST_EXTENT + 0.5)
        for points in (value - 2, value)
    )
    return f"{'at most about' if least == 0 else f'about {least} to'} {most} % of both lungs affected"


def opacity_words(value: float) -> str:
    """What an opacity means for the average of both lungs."""
    average = min(max(value / 2, 0.0), len(_DENSITIES) - 1.0)
    nearest = round(average)
    if abs(average - nearest) <= _NEAR:
        return f"on average, a lung is {_DENSITIES[nearest]}"
    return f"on average, a lung is between {_DENSITIES[floor(average)]} and {_DENSITIES[ceil(average)]}"


def worst_zone(zones: Mapping[str, Zone]) -> str:
    """Which zone is the most affected."""
    worst = max(ZONES, key=lambda name: zones[name].score.value)
    if zones[worst].score.value < _TRACE:
        return "no zone has more than a trace"
    return f"most in zone {worst}, the {ZONE_TITLES[worst]}"


def _ends(score: Estimate) -> list[float]:
    return [round(score.low, 2), round(score.high, 2)]


def _zone(zone: Zone) -> dict[str, Any]:
    return {
        "score": round(zone.score.value, 2),
        "interval": _ends(zone.score),
        "box": {"top": zone.top, "left": zone.left, "height": zone.height, "width": zone.width},
    }
