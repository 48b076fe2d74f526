"""The model card of a severity model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.core.xray_severity import MOST_BRIXIA, MOST_EXTENT, MOST_OPACITY, MOST_ZONE
from pulmoscope.runtime.xray_severity import SeverityModel
from pulmoscope.training.card.text import SYNTHETIC

_TITLES = {
    "extent": f"Geographic extent, 0 to {MOST_EXTENT:.0f}",
    "opacity": f"Opacity, 0 to {MOST_OPACITY:.0f}",
    "brixia": f"Brixia score, 0 to {MOST_BRIXIA:.0f}",
    "zone": f"Brixia score of a zone, 0 to {MOST_ZONE:.0f}",
}


def severity_card(model: SeverityModel) -> str:
    """The card as Markdown."""
    facts = model.facts
    data, figures = facts["training_data"], facts["figures"]
    normal = ", ".join(f"{name} {count}" for name, count in data["normal"].items()) or "none"
    reads = f"{model.features['name']} {model.features['version']}"
    kinds = "; ".join(
        ", ".join(f"{name} {count}" for name, count in data[group].items())
        for group in ("labels", "sources")
        if data.get(group)
    )
    lines = [
        f"# {model.name} {model.version}",
        "",
        "> Research use only; not a medical device. A physician must read the image.",
        "",
        *([SYNTHETIC, ""] if SYNTHETIC_SOURCE in data.get("sources", ()) else []),
        "How ill the lungs of a frontal chest radiograph look: geographic extent, opacity and the Brixia score of six "
        "zones, as readers score them, and a map of opacities.",
        "",
        f"- **Reads** the last feature maps of {reads}, averaged over six zones of the lungs. One linear layer scores "
        "every zone, another gives each cell of the map the probability of an opacity; what lies below a threshold "
        "is 0.",
        f"- **Training data**: {data['scored']} scored radiographs of {data['patients']} patients "
        f"({data['with_extent']} with extent and opacity, {data['with_zones']} with zones); without pneumonia: "
        f"{normal}; {data['boxed']} radiographs with readers' boxes, or none to draw, for the map.",
        f"- **Intervals** are conformal: {model.coverage:.0%} of scores of radiographs like these lie within. On "
        "radiographs of other hospitals nobody has scored any: there the intervals are not checked.",
        f"- **Limits**: it has learnt from scored radiographs of few kinds ({kinds or 'not stated'}). A score "
        "says how a radiograph looks, not how the patient is; effusion, collapse and devices may count as opacity. "
        "Zones are thirds of the lungs' height, not cut at vessels.",
        f"- **Terms**: {facts['terms'] or 'of the data: not stated'}.",
        f"- **Made by** `{facts['command']}`." if facts["command"] else "",
        "",
        "## Patients left out (cross-validation), with 95 % intervals by patient",
        "",
        "| | images | mean absolute error | guessing the mean | between two readers | correlation | bias | in the "
        "interval | its width |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(_TITLES[name], row) for name, row in figures["cross_validated"].items()),
        "",
        "## Radiographs without pneumonia",
        "",
        "| hospital | images | extent, hospital left out | opacity | Brixia | images not learnt from | extent, "
        "hospital known |",
        "|---|---|---|---|---|---|---|",
        *(_normal_row(name, row) for name, row in figures["normals"].items()),
        "",
    ]
    return "\n".join(line for index, line in enumerate(lines) if line or lines[index - 1])


def _row(title: str, row: Mapping[str, Any]) -> str:
    keys = ("mae", "mae_of_mean", "mae_between_readers", "correlation", "bias", "coverage", "width")
    cells = [_figure(row.get(key)) for key in keys]
    return f"| {title} | {row['images']} | " + " | ".join(cells) + " |"


def _normal_row(name: str, row: Mapping[str, Any]) -> str:
    out, known = row["left_out"], row["known"] or {}
    cells = [*(_figure(out[score]) for score in ("extent", "opacity", "brixia"))]
    return (
        f"| {name} | {out['images']} | {' | '.join(cells)} | {known.get('images', '–')} | "
        f"{_figure(known.get('extent'))} |"
    )


def _figure(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "–"
    if estimate["low"] is None or estimate["high"] is None:
        return f"{estimate['value']:.2f}"
    return f"{estimate['value']:.2f} ({estimate['low']:.2f}–{estimate['high']:.2f})"
