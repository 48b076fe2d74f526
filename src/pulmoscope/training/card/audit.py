"""What a model card says of audits, from what a bundle records of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmoscope.report.names import set_title
from pulmoscope.runtime.audited import UNAUDITED, recorded_audits, recorded_trust

TITLE = "Audit"
LEVELS = {"good": "good", "doubtful": "doubtful", "bad": "bad", "none": "not known"}


def audit_section(metrics: Mapping[str, Any]) -> list[str]:
    """The card's lines: what the last audit comes to, then every verdict of each."""
    audits = recorded_audits(metrics)
    if not audits:
        return [UNAUDITED]
    lines = ["Can I trust it at my hospital? **" + recorded_trust(metrics)["says"] + "**"]
    for name, record in audits.items():
        lines += ["", f"{set_title(name)}, {record['images']:,} images ({record['what']}):", ""]
        lines += [
            f"- {LEVELS[verdict['level']]}: {verdict['says']}" for verdict in record.get("verdicts", ())
        ]
    return lines
