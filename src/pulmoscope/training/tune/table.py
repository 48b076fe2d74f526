"""What a search found: a table, a picture and the best settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pulmoscope.core.files import csv_text, write_bytes, write_json, write_text
from pulmoscope.training.tune.plan import as_settings
from pulmoscope.training.tune.trials import Outcome

SCHEMA_VERSION = "2.0"
RESULTS = ("table.csv", "table.md", "plot.png", "best.json")
TITLES: Mapping[str, str] = {
    "val_mcc": "validation MCC",
    "val_dice": "validation Dice",
    "val_accuracy": "validation accuracy",
}
"""What the figure that is to become large is called, where people read."""
_FEW = 8
_ORDER = ("done", "pruned", "failed")


def ranked(outcomes: Sequence[Outcome], figures: Sequence[str]) -> list[Outcome]:
    """Largest figure first, the first of ``figures``; of equals the smaller loss; then pruned trials, then failed."""
    return sorted(
        outcomes,
        key=lambda outcome: (
            _ORDER.index(outcome["status"]),
            -outcome.get(figures[0], 0.0),
            outcome.get("val_loss", 0.0),
            outcome["trial"],
        ),
    )


def headline(best: Outcome) -> str:
    """The best trial in a few words."""
    score = next(name for name in TITLES if name in best)
    return f"trial {best['trial']}, {TITLES[score]} {best[score]:.4f}"


def write_results(
    out: Path, recipe: str, tuned: Sequence[str], figures: Sequence[str], rows: Sequence[Outcome]
) -> None:
    """Write ``table.csv`` and ``table.md``, and of trials that are done ``plot.png`` and ``best.json``.

    Args:
        tuned: the settings that were tuned.
        figures: what a trial gives; the first is to become large.
        rows: the trials, ranked.
    """
    columns = [*figures, "seconds"]
    write_text(out / "table.csv", _csv(tuned, columns, rows))
    write_text(out / "table.md", _markdown(recipe, tuned, columns, rows))
    done = [row for row in rows if row["status"] == "done"]
    if not done:
        return
    best = done[0]
    write_bytes(out / "plot.png", _plot(f"{recipe}: {len(done)} trials", tuned, figures[0], done))
    content = {
        "schema_version": SCHEMA_VERSION,
        "recipe": recipe,
        "trial": best["trial"],
        "trials": len(rows),
        "pruned": sum(row["status"] == "pruned" for row in rows),
        "failed": sum(row["status"] == "failed" for row in rows),
        "settings": best["settings"],
        "set": as_settings(best["settings"]),
        "validation": {key: best[key] for key in figures},
    }
    write_json(out / "best.json", content)


def _csv(tuned: Sequence[str], columns: Sequence[str], rows: Sequence[Outcome]) -> str:
    cells = (
        [rank, row["trial"], *_cells(tuned, columns, row), row["status"], row.get("error", "")]
        for rank, row in enumerate(rows, start=1)
    )
    return csv_text(["rank", "trial", *tuned, *columns, "status", "error"], cells)


def _markdown(recipe: str, tuned: Sequence[str], columns: Sequence[str], rows: Sequence[Outcome]) -> str:
    heads = ["rank", "trial", *tuned, *columns]
    lines = [f"# {recipe}: {len(rows)} trials", "", _row(heads), _row(["---"] * len(heads))]
    for rank, row in enumerate(rows, start=1):
        cells = (
            f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in _cells(tuned, columns, row)
        )
        lines.append(_row([str(rank), str(row["trial"]), *cells]))
    notes = [
        f"- trial {row['trial']} " + (f"failed: {row['error']}" if "error" in row else "was pruned")
        for row in rows
        if row["status"] != "done"
    ]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(tuned: Sequence[str], columns: Sequence[str], row: Outcome) -> list[Any]:
    return [row["settings"][name] for name in tuned] + [row.get(name, "") for name in columns]


def _plot(title: str, tuned: Sequence[str], score: str, rows: Sequence[Outcome]) -> bytes:
    """The figure over the values of each setting; a dot a trial, a line through the best of each value."""
    figure = Figure(figsize=(3.2 * len(tuned), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(tuned), sharey=True, squeeze=False)[0]
    for panel, name in zip(panels, tuned, strict=True):
        _panel(panel, name, [(row["settings"][name], row[score]) for row in rows])
    panels[0].set_ylabel(TITLES[score])
    figure.suptitle(title)
    image = BytesIO()
    figure.savefig(image, format="png", dpi=120)
    return image.getvalue()


def _panel(axes: Axes, name: str, scores: Sequence[tuple[Any, float]]) -> None:
    """Few values stand side by side; where they are many, and numbers, on an axis of their own."""
    values = list(
        dict.fromkeys(
            sorted(
                (value for value, _ in scores),
                key=lambda scores_of_value: (str(type(scores_of_value)), scores_of_value),
            )
        )
    )
    axes.set_xlabel(name)
    axes.grid(axis="y", color="#dbe2e8")
    dots: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 4, "alpha": 0.5, "color": "#0072B2"}
    if len(values) > _FEW and not any(isinstance(value, str) for value in values):
        axes.plot(*zip(*scores, strict=True), **dots)
        if min(values) > 0 and max(values) > 100 * min(values):
            axes.set_xscale("log")
        return
    best: list[float] = []
    for position, value in enumerate(values):
        scores_of_value = [score for other, score in scores if other == value]
        spread = [
            position + 0.4 * ((index + 0.5) / len(scores_of_value) - 0.5)
            for index in range(len(scores_of_value))
        ]
        axes.plot(spread, scores_of_value, **dots)
        best.append(max(scores_of_value))
    axes.plot(range(len(values)), best, color="#D55E00")
    axes.set_xticks(range(len(values)), [str(value) for value in values])
