"""A model's recorded figures and what is known of its training data, a line each, for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pulmoscope.runtime.bundle import Bundle

Row = tuple[str, ...]


def figure_lines(metrics: Mapping[str, Any]) -> list[str]:
    """For every recorded data set its name, role and extent, then a line a figure: title, value, 95 % interval."""
    from pulmoscope.report.names import figure_name

    lines: list[str] = []
    for name, record in metrics.items():
        rows: list[Row] = [
            (figure_name(key).title, *_figure(estimate), str(estimate.get("hospital", "")))
            for key, estimate in record["figures"].items()
        ]
        for hospital, held in record.get("hospitals", {}).items():
            parts = {key: estimate for key, estimate in held.items() if isinstance(estimate, Mapping)}
            title = f"{hospital} ({held['images']:,} images): "
            rows += [
                (title + figure_name(key).title, *_figure(estimate), "") for key, estimate in parts.items()
            ]
        facts = [
            (key.replace("_", " "), record[key]) for key in ("data_sha256", "command") if record.get(key)
        ]
        lines += [
            "",
            f"Figures «{name}» ({record['role']}; {record['images']:,} images or studies): {record.get('what', '')}",
            *_aligned(rows),
            *_aligned(facts),
        ]
    return lines


def precision_line(bundle: Bundle) -> str:
    """At which precision a bundle computes, in which format, and what it was exported from, in a line."""
    from pulmoscope.runtime.precision import TITLES

    export = bundle.export
    if export is None:
        return "fp32, ONNX"
    others = ", ".join(f"{name} {one}" for name, one in export.networks.items() if one != export.precision)
    source = f"{export.source['name']} {export.source['version']}"
    return (
        f"{export.precision}{f' ({others})' * bool(others)}, {TITLES[export.format]}, exported from {source}"
    )


def audit_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What the recorded audits come to, before any figure; or that nobody has looked."""
    from pulmoscope.runtime.audited import recorded_audits, recorded_trust

    lines = ["", f"Can I trust it at my hospital? {recorded_trust(metrics)['says']}"]
    for name, record in recorded_audits(metrics).items():
        rows = [
            (verdict["level"].replace("none", "not known"), verdict["says"])
            for verdict in record.get("verdicts", ())
        ]
        lines += [f"Audit «{name}» ({record['images']:,} images): {record.get('what', '')}"]
        lines += _aligned(rows) if rows else []
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


def _figure(estimate: Mapping[str, Any]) -> tuple[str, str]:
    value, low, high = (estimate.get(name) for name in ("value", "low", "high"))
    return "–" if value is None else f"{value:.3f}", "" if low is None else f"{low:.3f}–{high:.3f}"


def _aligned(rows: Sequence[Row]) -> list[str]:
    """Rows of the same number of cells as indented lines whose cells stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
