"""The page of an audit, from the content of ``audit.json`` and example pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmoscope.report.html import render

BADGES = {"good": "ok", "doubtful": "warn", "bad": "bad", "none": ""}
GROUPS = {
    "against": "What speaks against it",
    "for": "What speaks for it",
    "expect": "What to expect",
    "data": "About these data, not about the model",
    "unknown": "What is not known",
}
"""How the page sorts verdicts; those of codes ``data-…`` are the data's."""
_GROUP_OF = {"good": "for", "doubtful": "against", "bad": "against", "none": "unknown"}


def audit_page(report: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> str:
    """The page ``report.html``.

    Args:
        report: the content of ``audit.json``.
        parts: code → what the part found, pictures included.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {name: [] for name in GROUPS}
    for verdict in report["verdicts"]:
        about_data = verdict["code"].startswith("data-")
        expected = verdict["code"] == "predictive-values"
        group = "data" if about_data else "expect" if expected else _GROUP_OF[verdict["level"]]
        groups[group].append(verdict)
    return render("audit.html", found=report, parts=parts, badges=BADGES, groups=groups, titles=GROUPS)
