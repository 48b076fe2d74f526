"""The table of hospitals, from the content of ``hospitals.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEADER = (
    "hospital",
    "images",
    "COVID / Normal",
    "AUROC within",
    "calibration error",
    "AUROC disease",
    "normals called COVID",
    "reported as COVID",
    "wrongly called",
    "wrongly reported",
    "reported at all",
)
SUMMARY = {
    "auroc_within": "AUROC of COVID against Normal within a hospital",
    "normals_called_covid": "fraction of normal images called COVID",
    "normals_reported_covid": "fraction of normal images reported as COVID",
    "wrongly_called": "fraction of images wrongly called",
    "wrongly_reported": "fraction of images wrongly reported",
}
NOTHING = "–"


def table_rows(figures: Mapping[str, Any]) -> list[list[str]]:
    """The cells under :data:`HEADER`, a row a hospital."""
    return [_cells(row) for row in figures["rows"]]


def summary_lines(figures: Mapping[str, Any]) -> list[str]:
    """Mean and worst of every figure, a line each; of those that no hospital has, none."""
    return [
        f"{title}: mean {summary['mean']:.3f} over {summary['hospitals']}, worst {cell(summary['worst'])} "
        f"({summary['worst']['hospital']})"
        for name, title in SUMMARY.items()
        if (summary := figures["summary"][name])["worst"] is not None
    ]


def markdown(figures: Mapping[str, Any]) -> str:
    """The page ``hospitals.md``, from the content of ``hospitals.json``."""
    asked = figures["recipe"] or figures["model"]
    what = "each trained without it" if figures["recipe"] else "the model as it is"
    numbers = ["---:"] * (len(HEADER) - 1)
    skipped = [f"- {hospital['hospital']}: {hospital['reason']}" for hospital in figures["skipped"]]
    lines = [
        f"# {asked['name']} by hospital, {what}",
        "",
        f"> {figures['notice']}",
        "",
        f"{figures['method']['interval']}, {figures['method']['bootstrap']} resamples, by patient where known.",
        "",
        *(
            f"| {' | '.join(map(_escaped, row))} |"
            for row in (HEADER, ["---", *numbers], *table_rows(figures))
        ),
        "",
        *(f"- {_escaped(line)}" for line in summary_lines(figures)),
        *(["", "Not asked about:", "", *map(_escaped, skipped)] if skipped else []),
        "",
        *([f"`{figures['command']}`", ""] if figures["command"] else []),
        NOTES,
    ]
    return "\n".join(lines) + "\n"


NOTES = (
    "Hospitals in brackets count in no mean and no worst figure: the model has learnt from them, or nobody knows that "
    "it has not, or their images are of no single hospital."
)


def cell(estimate: Mapping[str, Any], digits: int = 3) -> str:
    """An estimate as ``0.912 (0.880–0.941)``; a dash where it is undefined."""
    value, low, high = (estimate.get(name) for name in ("value", "low", "high"))
    if value is None:
        return NOTHING
    return f"{value:.{digits}f}" + ("" if low is None else f" ({low:.{digits}f}–{high:.{digits}f})")


def _cells(row: Mapping[str, Any]) -> list[str]:
    by_label = row["by_label"]
    counts = [by_label[name]["images"] if name in by_label else 0 for name in ("COVID", "Normal")]
    normals = by_label.get("Normal")
    return [
        row["hospital"] if row["counts"] else f"({row['hospital']})",
        f"{row['images']:,}",
        " / ".join(f"{count:,}" for count in counts),
        *(cell(row[name]) for name in ("auroc_within", "calibration_error", "auroc_disease")),
        *(
            NOTHING if normals is None else cell(normals[name]["COVID"], 2)
            for name in ("called", "reported_as")
        ),
        *(cell(row[name], 2) for name in ("wrongly_called", "wrongly_reported", "reported")),
    ]


def _escaped(text: str) -> str:
    """Text whose bars can't end a cell of a Markdown table."""
    return text.replace("|", "\\|")
