"""MODEL_CARD.md of a model of three levels, written from the bundle's own facts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from pulmoscope.core.files import NOTICE
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import changed_settings
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.report.names import set_title, spelt_out
from pulmoscope.runtime.bundle import Bundle


def study_card(bundle: Bundle) -> str:
    """The card as Markdown."""
    recipe = settings.from_plain(bundle.recipe)
    data, level = bundle.training_data, bundle.patient
    assert level is not None
    synthetic = SYNTHETIC_SOURCE in data["sources"]
    sections: Mapping[str, list[str]] = {
        "What it is": [
            f"{recipe.title}. Three levels: {recipe.model.backbone} on slices of {recipe.preprocess.size} px; "
            f"{', '.join(level.votes)} on a patient's slices; an ensemble of {', '.join(level.ensemble)}. "
            f"Classes: {', '.join(bundle.classes)}.",
            *(
                ["", "**It has learnt from drawn studies, of no patient. It knows nothing about people.**"]
                * synthetic
            ),
        ],
        "Intended use": [
            "- For research on image diagnosis: methods, data quality, shortcuts and their measurement.",
            "- Not for diagnosing, screening or triaging patients, and not for any decision about a person.",
            "- It knows its classes only: any other disease is called one of them, or referred.",
        ],
        "Recipe": [
            f"- `{recipe.name}`; source: {recipe.paper}",
            f"- Differs from the source: {recipe.deviations}",
            *(f"- Changed: `{change}`" for change in changed_settings(recipe)),
        ],
        "Training data": [
            *(
                f"- {split}: {sum(own.values())} patients "
                f"({', '.join(f'{name} {count}' for name, count in own.items())}), "
                f"slice labels of {data['with_slice_labels'][split]}"
                for split, own in data["counts"].items()
            ),
            f"- Sources: {', '.join(f'{name} ({count})' for name, count in data['sources'].items())}",
            f"- Terms: {data['terms'] or 'not stated'}",
            *(f"- {warning}" for warning in data["warnings"]),
        ],
        "Figures": [
            f"- {set_title(key)} ({found['role']}; {spelt_out(found['what'])}; {found['images']} patients): accuracy "
            + figure_text(found["figures"].get("accuracy"))
            for key, found in bundle.metrics.items()
        ],
        "Calibration and referral": [
            f"- Temperature {bundle.calibration.temperature:.3f}, fitted on {bundle.calibration.fitted_on}.",
            f"- Referred instead of reported: answers less sure than {bundle.thresholds.confidence:.2f}.",
        ],
        "How to make it again": ["```", *_commands(recipe), "```"],
        "Versions": [f"- {', '.join(f'{name} {own}' for name, own in bundle.software.items())}"],
    }
    lines = [f"# {bundle.name} {bundle.version}", "", f"> {NOTICE}"]
    for title, content in sections.items():
        lines += ["", f"## {title}", "", *content]
    return "\n".join(lines) + "\n"


def figure_text(figure: Mapping[str, Any] | None) -> str:
    """A figure and its interval; a dash where it is not known."""
    if figure is None or figure["value"] is None:
        return "–"
    return f"{figure['value']:.3f}" + (
        "" if figure["low"] is None else f" ({figure['low']:.3f}–{figure['high']:.3f})"
    )


def _commands(recipe: Recipe) -> list[str]:
    train = ["pulmoscope", "train", recipe.name, "--data", "DATA", "-o", "RUN"]
    for change in changed_settings(recipe):
        train += ["--set", change]
    return [
        shlex.join(train),
        "pulmoscope evaluate RUN --data DATA --split test -o EVALUATION",
        "pulmoscope models record RUN --metrics EVALUATION/metrics.json --as test",
    ]
