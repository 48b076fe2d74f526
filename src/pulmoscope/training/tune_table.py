"""What a grid search found: a table, a picture and the best settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import csv_text, write_bytes, write_json, write_text
from pulmoscope.training.recipe import Recipe
from pulmoscope.training.trial import SCHEMA_VERSION, as_settings

FIGURES = ("val_accuracy", "val_loss", "best_epoch", "epochs", "seconds")

Outcome = Mapping[str, Any]


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Best validation accuracy first (system E, section IV); of equals the smaller loss; failed trials last."""
    return sorted(
        outcomes,
        key=lambda found: (
            found["status"] != "done",
            -found.get("val_accuracy", 0.0),
            found.get("val_loss", 0.0),
            found["trial"],
        ),
    )


def write_results(out: Path, recipe: Recipe, outcomes: Sequence[Outcome]) -> Outcome:
    """Write ``table.csv``, ``table.md``, ``plot.png`` and ``best.json``; gives back the best trial's outcome.

    Raises:
        RecipeError: all trials failed.
    """
    rows = ranked(outcomes)
    write_text(out / "table.csv", _csv(recipe, rows))
    write_text(out / "table.md", _markdown(recipe, rows))
    best = rows[0]
    if best["status"] != "done":
        raise RecipeError(f"{out}: all {len(rows)} trials failed; the first: {best['error']}")
    write_bytes(out / "plot.png", _plot(recipe, [row for row in rows if row["status"] == "done"]))
    content = {
        "schema_version": SCHEMA_VERSION,
        "recipe": recipe.name,
        "trial": best["trial"],
        "trials": len(rows),
        "failed": sum(row["status"] != "done" for row in rows),
        "settings": best["settings"],
        "set": as_settings(best["settings"]),
        "validation": {key: best[key] for key in ("val_accuracy", "val_loss", "best_epoch")},
    }
    write_json(out / "best.json", content)
    return best


def _csv(recipe: Recipe, rows: Sequence[Outcome]) -> str:
    cells = (
        [rank, row["trial"], *_cells(recipe, row), row["status"], row.get("error", "")]
        for rank, row in enumerate(rows, start=1)
    )
    return csv_text(["rank", "trial", *recipe.grid, *FIGURES, "status", "error"], cells)


def _markdown(recipe: Recipe, rows: Sequence[Outcome]) -> str:
    heads = ["rank", "trial", *recipe.grid, *FIGURES]
    lines = [f"# {recipe.name}: {len(rows)} trials", "", _row(heads), _row(["---"] * len(heads))]
    for rank, row in enumerate(rows, start=1):
        cells = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in _cells(recipe, row)]
        lines.append(_row([str(rank), str(row["trial"]), *cells]))
    failed = [f"- trial {row['trial']} failed: {row['error']}" for row in rows if row["status"] != "done"]
    return "\n".join([*lines, *(["", *failed] if failed else [])]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(recipe: Recipe, row: Outcome) -> list[Any]:
    return [row["settings"][name] for name in recipe.grid] + [row.get(name, "") for name in FIGURES]


def _plot(recipe: Recipe, rows: Sequence[Outcome]) -> bytes:
    """Validation accuracy over the values of each setting; a dot a trial, a line through the best of each value."""
    figure = Figure(figsize=(3.2 * len(recipe.grid), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(recipe.grid), sharey=True, squeeze=False)[0]
    for panel, (name, values) in zip(panels, recipe.grid.items(), strict=True):
        _panel(panel, name, values, rows)
    panels[0].set_ylabel("validation accuracy")
    figure.suptitle(f"{recipe.name}: {len(rows)} trials")
    image = BytesIO()
    figure.savefig(image, format="png", dpi=120)
    return image.getvalue()


def _panel(axes: Axes, name: str, values: Sequence[Any], rows: Sequence[Outcome]) -> None:
    best: list[tuple[int, float]] = []
    for place, value in enumerate(values):
        scores = [row["val_accuracy"] for row in rows if row["settings"][name] == value]
        spread = [place + 0.4 * ((index + 0.5) / len(scores) - 0.5) for index in range(len(scores))]
        axes.plot(spread, scores, linestyle="", marker="o", markersize=4, alpha=0.5, color="#0072B2")
        if scores:
            best.append((place, max(scores)))
    axes.plot([place for place, _ in best], [score for _, score in best], color="#D55E00")
    axes.set_xticks(range(len(values)), [str(value) for value in values])
    axes.set_xlabel(name)
    axes.grid(axis="y", color="#dbe2e8")
