"""A CT beside an earlier one: as plain data, and in words and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulmoscope.core.change import CtChange, MeasuredCt, Verdict
from pulmoscope.core.severity import SeverityMeasure
from pulmoscope.core.types import Scan
from pulmoscope.report.change.words import signed, since
from pulmoscope.report.severity import PART_TITLES

VERDICTS: Mapping[str, str] = {
    Verdict.MORE: "More of the lungs is affected",
    Verdict.LESS: "Less of the lungs is affected",
    Verdict.UNCLEAR: "No clear change",
}
LESION_TITLES = {
    "total": "Lesions",
    "ground_glass": "of them ground glass",
    "consolidation": "of them consolidation",
}


@dataclass(frozen=True)
class SlicePair:
    """Two slices at the same height of the lungs.

    Attributes:
        earlier, now: «slice 42 (instance 58)», without the instance where the files don't say.
        earlier_picture, now_picture: with lungs and lesions drawn in, as ``data:`` addresses.
        height: 0 at the base of the lungs, 1 at their apex.
    """

    earlier: str
    now: str
    earlier_picture: str
    now_picture: str
    height: float


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        earlier, now: None where the scan shows none of it.
        inner: whether it is part of a line above.
    """

    title: str
    earlier: float | None
    now: float | None
    inner: bool

    @property
    def difference(self) -> float | None:
        """Now less earlier."""
        return None if self.earlier is None or self.now is None else self.now - self.earlier


def change_json(change: CtChange) -> dict[str, Any]:
    """What is measured of both, and the difference."""
    return {
        "difference": round(change.difference, 2),
        "interval": [round(end, 2) for end in change.interval],
        "earlier": _measured_json(change.earlier),
        "now": _measured_json(change.now),
    }


def change_section(change: CtChange, pairs: Sequence[SlicePair]) -> dict[str, Any]:
    """What the page's section on a change says."""
    return {
        "title": VERDICTS[change.verdict],
        "sentence": sentence(change),
        "flags": change.flags,
        "percents": percents_table(change),
        "volumes": volumes_table(change),
        "pairs": pairs,
    }


def sentence(change: CtChange) -> str:
    """The change in a few words for someone who sees one for the first time."""
    then, now = change.earlier.severity, change.now.severity
    low, high = change.interval
    return signed(
        f"{then.percent_affected:.1f} % of the lungs was affected in the earlier CT{since(change.days)}, "
        f"{now.percent_affected:.1f} % is now: {change.difference:+.1f} points; with what both measures may err, "
        f"between {low:+.1f} and {high:+.1f}. {_MEANING[change.verdict]}"
    )


def slice_title(scan: Scan, index: int) -> str:
    """A slice as a viewer finds it."""
    instances = scan.facts.instances if scan.facts else ()
    return f"slice {index}" + (f" (instance {instances[index]})" if instances else "")


def change_line(plain: Mapping[str, Any]) -> str:
    """The change of a ``diagnosis.json`` in a few words."""
    then, now = plain["earlier"]["percent_affected"], plain["now"]["percent_affected"]
    return f"{VERDICTS[plain['verdict']]}: {now:.1f} % after {then:.1f} % in the earlier CT{since(plain['days'])}"


def percents_table(change: CtChange) -> list[Row]:
    """Percent affected of both lungs, of each one and of each region."""
    then, now = _percents(change.earlier.severity), _percents(change.now.severity)
    return [Row(title, then[part], now[part], inner="-" in part) for part, title in PART_TITLES.items()]


def volumes_table(change: CtChange) -> list[Row]:
    """Volumes of both lungs and of the lesions, ml."""
    then, now = change.earlier, change.now
    return [
        Row("Both lungs", then.severity.volumes_ml["both"], now.severity.volumes_ml["both"], inner=False),
        *(
            Row(title, then.lesion_ml[name], now.lesion_ml[name], inner=name != "total")
            for name, title in LESION_TITLES.items()
        ),
    ]


def _percents(severity: SeverityMeasure) -> dict[str, float | None]:
    """Percent affected of every part."""
    whole = {"both": severity.percent_affected, "right": severity.right, "left": severity.left}
    return {**whole, **{name: region.affected for name, region in severity.regions.items()}}


_MEANING = {
    Verdict.MORE: "That is more than the measure errs: more of the lungs is affected.",
    Verdict.LESS: "That is more than the measure errs: less of the lungs is affected.",
    Verdict.UNCLEAR: "No change at all lies within that range: the measure can't tell whether anything has changed.",
}


def _measured_json(ct: MeasuredCt) -> dict[str, Any]:
    """One CT of the two, measured."""
    severity = ct.severity
    return {
        "percent_affected": round(severity.percent_affected, 2),
        "interval": [round(end, 2) for end in severity.interval],
        "lungs_ml": round(severity.volumes_ml["both"], 1),
        "lesion_ml": {name: round(volume, 1) for name, volume in ct.lesion_ml.items()},
        "regions": {
            name: {
                "volume_ml": round(region.volume_ml, 1),
                "affected": None if region.affected is None else round(region.affected, 2),
                "lesion_ml": round(region.volume_ml * (region.affected or 0.0) / 100, 1),
            }
            for name, region in severity.regions.items()
        },
        "limits": list(severity.limits),
    }
