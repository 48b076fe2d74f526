"""Which items of CLAIM 2024 and TRIPOD+AI the bundle and its audit report."""

from __future__ import annotations

from collections.abc import Mapping

from pulmoscope.evaluation.audit.items import ITEMS, checklist
from pulmoscope.pipeline.audit.subject import Found
from pulmoscope.runtime.bundle import Bundle


def found(bundle: Bundle, parts: Mapping[str, Found], data: Mapping[str, object]) -> Found:
    """Every item with its status, from what all other parts found."""
    items = checklist((bundle, {"parts": parts, "data": data}))
    counts = {}
    for guideline in ITEMS:
        statuses = [row["status"] for row in items if row["list"] == guideline]
        counts[guideline] = {
            "reported": statuses.count("reported"),
            "partly": statuses.count("partly"),
            "unknown": statuses.count("not known"),
        }
    return {"counts": counts, "items": items, "verdicts": [], "figures": {}}
