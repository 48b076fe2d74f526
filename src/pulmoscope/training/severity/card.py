"""MODEL_CARD.md of a model of system A, written from the bundle's own facts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from pulmoscope.core.files import NOTICE
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import changed_settings
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.report.names import set_title, spelt_out
from pulmoscope.runtime.bundle import Bundle
from pulmoscope.training.three_level.card import figure_text


def severity_card(bundle: Bundle) -> str:
    """The card as Markdown."""
    recipe = settings.from_plain(bundle.recipe)
    data, level = bundle.training_data, bundle.patient
    assert level is not None
    synthetic = SYNTHETIC_SOURCE in data["sources"]
    sections: Mapping[str, list[str]] = {
        "What it is": [
            f"{recipe.title}. {recipe.model.backbone} on slices of {recipe.preprocess.size} px, patients by "
            f"{level.decides}; missing regions are filled by: {bundle.imputer}. Grades: {', '.join(bundle.classes)}.",
            *(
                ["", "**It has learnt from drawn studies, of no patient. It knows nothing about people.**"]
                * synthetic
            ),
        ],
        "Intended use": [
            "- For research on image diagnosis: methods, data quality, severity and their measurement.",
            "- Not for diagnosing, screening or triaging patients, and not for any decision about a person.",
            "- A grade is the readers' impression of how much of the lungs is affected; the measured share stands "
            "beside it in every diagnosis.",
        ],
        "Recipe": [
            f"- `{recipe.name}`; source: {recipe.paper}",
            f"- Differs from the source: {recipe.deviations}",
            *(f"- Changed: `{change}`" for change in changed_settings(recipe)),
        ],
        "Training data": [
            *(
                f"- {split}: {sum(own.values())} patients "
                f"({', '.join(f'{name} {count}' for name, count in own.items())}), {data['slices'][split]} slices, "
                f"{data['damaged_slices'][split]} of them found damaged"
                for split, own in data["counts"].items()
            ),
            f"- Sources: {', '.join(f'{name} ({count})' for name, count in data['sources'].items())}",
            f"- Terms: {data['terms'] or 'not stated'}",
            *(f"- {warning}" for warning in data["warnings"]),
        ],
        "Figures": [
            f"- {set_title(key)} ({found['role']}; {spelt_out(found['what'])}; {found['images']} patients): MCC "
            + figure_text(found["figures"].get("mcc"))
            for key, found in bundle.metrics.items()
        ],
        "Patients' data": [
            "- `sheets/`, where it is there, shows slices of the training patients, as its imputer and its AnoGAN "
            "redraw them: remove it before you pass the model on. Nothing else here holds pixels.",
        ],
        "Referral and anomalies": _limits(bundle),
        "How to make it again": _again(recipe, tested="test" in data.get("splits", ())),
        "Versions": [f"- {', '.join(f'{name} {own}' for name, own in bundle.software.items())}"],
    }
    lines = [f"# {bundle.name} {bundle.version}", "", f"> {NOTICE}"]
    for title, content in sections.items():
        lines += ["", f"## {title}", "", *content]
    return "\n".join(lines) + "\n"


def _limits(bundle: Bundle) -> list[str]:
    """From where on an answer is referred, and a slice called unlike normal ones."""
    lines = [
        f"- Referred instead of reported: answers less sure than {bundle.thresholds.confidence:.2f}, and grades "
        "that differ from the measured one by more than one."
    ]
    if bundle.anomaly is not None:
        lines.append(
            f"- A slice counts as unlike {bundle.classes[0]} above a score of {bundle.anomaly['value']:.4f}: "
            f"{100 * bundle.anomaly['false_alarms']:.0f} % of {bundle.anomaly['slices']} held-out slices of "
            f"{bundle.anomaly['studies']} studies of that class lie above."
        )
    return lines


def _again(recipe: Recipe, *, tested: bool) -> list[str]:
    """The commands; a model for which no split was left to test it on must be tested on other data."""
    train = ["pulmoscope", "train", recipe.name, "--data", "DATA", "-o", "RUN"]
    for change in changed_settings(recipe):
        train += ["--set", change]
    lines = [
        "```",
        shlex.join(train),
        "pulmoscope evaluate RUN --data DATA --split test -o EVALUATION",
        "```",
    ]
    if not tested:
        lines[2] = "pulmoscope evaluate RUN --data OTHER --split all -o EVALUATION"
        lines += [
            "",
            "**Every patient of the data had a part in this model**, in learning (train) or in its thresholds (val), "
            "whatever split the data set itself gives them: evaluate it on other data. A fold of a cross-validation is "
            "made again with `--folds`.",
        ]
    return lines
