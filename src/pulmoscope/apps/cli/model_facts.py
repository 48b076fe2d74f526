"""A model's recorded figures and what is known of its training data, a line each, for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Row = tuple[str, ...]


def figure_lines(metrics: Mapping[str, Any]) -> list[str]:
    """For every recorded data set its name, role and extent, then a line a figure: title, value, 95 % interval."""
    from pulmoscope.report.names import figure_name

    lines: list[str] = []
    for name, found in metrics.items():
        rows: list[Row] = [
            (figure_name(key).title, *_figure(own), str(own.get("hospital", "")))
            for key, own in found["figures"].items()
        ]
        for hospital, held in found.get("hospitals", {}).items():
            parts = {key: own for key, own in held.items() if isinstance(own, Mapping)}
            title = f"{hospital} ({held['images']:,} images): "
            rows += [(title + figure_name(key).title, *_figure(own), "") for key, own in parts.items()]
        facts = [(key.replace("_", " "), found[key]) for key in ("data_sha256", "command") if found.get(key)]
        lines += [
            "",
            f"Figures «{name}» ({found['role']}; {found['images']:,} images or studies): {found.get('what', '')}",
            *_aligned(rows),
            *_aligned(facts),
        ]
    return lines


def data_lines(training_data: Mapping[str, Any]) -> list[str]:
    """What is known of the training data, a line a fact."""
    return ["", "Training data", *_aligned(list(_facts(training_data)))] if training_data else []


def _facts(content: Mapping[str, Any]) -> Iterator[Row]:
    for key, value in content.items():
        title = key.replace("_", " ")
        if isinstance(value, Mapping) and any(isinstance(inner, Mapping) for inner in value.values()):
            yield from ((f"{title}, {name}", _text(inner)) for name, inner in value.items())
        elif isinstance(value, list):
            yield from ((title, _text(inner)) for inner in value)
        else:
            yield title, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _figure(found: Mapping[str, Any]) -> tuple[str, str]:
    value, low, high = (found.get(name) for name in ("value", "low", "high"))
    return "–" if value is None else f"{value:.3f}", "" if low is None else f"{low:.3f}–{high:.3f}"


def _aligned(rows: Sequence[Row]) -> list[str]:
    """Rows of the same number of cells as indented lines whose cells stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
