"""What has changed since an earlier report of the patient, by what both say: in words and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmoscope.core.change import SinceReport
from pulmoscope.core.xray_severity import MOST_BRIXIA, MOST_EXTENT, MOST_OPACITY
from pulmoscope.report.change.words import signed, since

_TITLES = {
    "affected": ("Percent of the lungs affected", "%.1f %%"),
    "brixia": (f"Brixia score (0 to {MOST_BRIXIA:.0f})", "%.1f"),
    "extent": (f"Geographic extent (0 to {MOST_EXTENT:.0f})", "%.1f"),
    "opacity": (f"Opacity (0 to {MOST_OPACITY:.0f})", "%.1f"),
}
"""A figure's title and how it is written, in the order of the table."""


def since_section(change: SinceReport | None) -> dict[str, Any] | None:
    """What the page's section says; None without an earlier report."""
    if change is None:
        return None
    rows = [
        (title, form % change.then[name], form % change.now[name], signed(f"{change.differences[name]:+.1f}"))
        for name, (title, form) in _TITLES.items()
        if name in change.then
    ]
    return {
        "ago": since(change.days),
        "rows": [*rows, ("Most probable class", change.label, change.label_now, "")],
    }


def since_lines(objects: Mapping[str, Any] | None) -> list[str]:
    """What the objects of a ``diagnosis.json`` say of an earlier report, in a line for a terminal; none without."""
    found = (objects or {}).get("since_report")
    if found is None:
        return []
    moved = [
        signed(f"{_TITLES[name][0]} {difference:+.1f}")
        for name, difference in found["differences"].items()
        if name in _TITLES
    ]
    said = ", ".join([*moved, f"{found['label']} then"])
    return [f"Since report    {said}{since(found['days'])}"]
