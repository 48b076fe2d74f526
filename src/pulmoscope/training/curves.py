"""Training curves: a table, and a picture with the phases marked."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pulmoscope.core.files import csv_text, write_bytes, write_text
from pulmoscope.training.state import Row


def write_table(rows: Sequence[Row], file: Path) -> None:
    """Write every epoch's figures as CSV; what was not measured is left empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    write_text(file, csv_text(names, ([row.get(name) for name in names] for row in rows)))


def draw(rows: Sequence[Row], file: Path) -> None:
    """Draw loss and accuracy per epoch, one phase after the other, as PNG."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = range(1, len(rows) + 1)
    starts = [n for n, row in enumerate(rows, 1) if n == 1 or row["phase"] != rows[n - 2]["phase"]]
    for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, style in (("train", "-"), ("val", "--")):
            values = [row.get(f"{split}_{what}") for row in rows]
            if any(value is not None for value in values):
                known = [float("nan") if value is None else value for value in values]
                axes.plot(epochs, known, style, marker=".", label=split)
        for start in starts:
            axes.axvline(start - 0.5, color="grey", linewidth=0.8)
            axes.annotate(
                rows[start - 1]["phase"], (start - 0.45, 1.01), xycoords=("data", "axes fraction"), fontsize=8
            )
        axes.set_xlim(0.5, len(rows) + 0.5)
        axes.set_xlabel("epoch")
        axes.set_ylabel(what)
        axes.grid(alpha=0.3)
        axes.legend()
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    write_bytes(file, stream.getvalue())
