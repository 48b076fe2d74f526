"""Grouped bars with intervals."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Figures = Sequence[Mapping[str, Any]]
"""``value``, ``low`` and ``high`` of each group."""


def bars(groups: Sequence[str], series: Mapping[str, Figures], axis: str) -> bytes:
    """A PNG: a bar a series in every group, each with its interval where it has one."""
    figure = Figure(figsize=(max(7.0, 1.1 * len(groups) * len(series) ** 0.5), 3.8), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(series)
    for number, (name, figures) in enumerate(series.items()):
        positions = np.arange(len(groups)) + (number - (len(series) - 1) / 2) * width
        values = np.array([_number(one["value"]) for one in figures])
        low = np.array([_number(one["low"]) for one in figures])
        high = np.array([_number(one["high"]) for one in figures])
        apart = np.nan_to_num(np.stack([values - low, high - values]).clip(0))
        axes.bar(positions, values, width, label=name, yerr=apart, error_kw={"linewidth": 0.8})
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_ylabel(axis)
    axes.set_ylim(top=1.02)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(fontsize=8, loc="outside upper center", ncols=len(series))
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    return stream.getvalue()


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
