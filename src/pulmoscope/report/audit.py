"""The page of an audit, from the content of ``audit.json`` and example pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulmoscope.report.html import data_uri, render


@dataclass(frozen=True)
class View:
    """One image under one perturbation (JPEG), and what the model called it."""

    title: str
    picture: bytes
    called: str
    probability: float


@dataclass(frozen=True)
class Example:
    """One image under every perturbation."""

    file: str
    label: str
    views: tuple[View, ...]


def audit_page(metrics: Mapping[str, Any], examples: Sequence[Example]) -> str:
    """The page ``report.html``.

    Args:
        metrics: the content of ``audit.json``.
    """
    shown = [
        (example, [(view, data_uri(view.picture, "image/jpeg")) for view in example.views])
        for example in examples
    ]
    results = {result["code"]: result for result in metrics["results"]}
    return render(
        "audit.html",
        found=metrics,
        clean=results["clean"],
        blackout=results.get("blackout_framed", results["blackout"]),
        examples=shown,
        badges={"good": "ok", "doubtful": "warn", "bad": "bad", "none": ""},
    )
