"""What a bundle's recorded audit comes to, in one sentence; what is said of a bundle that nobody has audited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

AUDIT = "audit"
"""The role of a recorded audit."""
UNAUDITED = (
    "No audit is recorded: nobody has checked whether this model looks at the lungs or at something else."
)
OLDER = "The recorded audit is of an earlier version, which gave no verdict on the whole model."


def recorded_audits(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The audits among a bundle's records, by name, in the order in which they were recorded."""
    return {name: record for name, record in metrics.items() if record["role"] == AUDIT}


def recorded_trust(metrics: Mapping[str, Any]) -> dict[str, str]:
    """``level`` (good, doubtful, bad, none) and ``says`` of the audit that was recorded last.

    Args:
        metrics: what the bundle records.
    """
    audits: Sequence[Mapping[str, Any]] = list(recorded_audits(metrics).values())
    if not audits:
        return {"level": "none", "says": UNAUDITED}
    trust = audits[-1].get("trust")
    return (
        {"level": "none", "says": OLDER}
        if trust is None
        else {name: trust[name] for name in ("level", "says")}
    )
