"""The page of an audit, from the content of ``audit.json`` and example pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmoscope.report.html import render

BADGES = {"good": "ok", "doubtful": "warn", "bad": "bad", "none": ""}


def audit_page(report: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> str:
    """The page ``report.html``.

    Args:
        report: the content of ``audit.json``.
        parts: code → what the part found, pictures included.
    """
    return render("audit.html", found=report, parts=parts, badges=BADGES)
