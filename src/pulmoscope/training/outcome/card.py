"""The model card of a model of an outcome, written from what ``outcome.json`` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmoscope.core.files import NOTICE
from pulmoscope.report.outcome import OUTCOME_FIGURES
from pulmoscope.runtime.outcome import OutcomeModel


def outcome_card(model: OutcomeModel) -> str:
    """The card, as Markdown."""
    synthetic = ["**Synthetic: it learnt from simulated records, and says nothing about patients.**", ""]
    data = model.training_data
    counts = [f"| {split} | {row['patients']} | {row['events']} |" for split, row in data["counts"].items()]
    inputs = [
        f"| {value.title} (`{value.name}`) | {value.unit or '–'} | {value.low:g} – {value.high:g} | {value.median:g} | "
        f"{100 * value.known:.0f} % |"
        for value in model.inputs
    ]
    lines = [
        f"# {model.name} {model.version}",
        "",
        NOTICE,
        "",
        *(synthetic if model.synthetic else []),
        f"Predicts **{model.title}** (`{model.outcome}`) of patients like those of {model.hospital}. Kind of model: "
        f"{model.recipe['model']}; a sum of one function a value, so that any value may be missing and each value's "
        "part is exact.",
        "",
        "## What it is not",
        "",
        f"It is of one collection ({model.hospital}) and one outcome. Elsewhere patients, treatment, tests and the "
        "time at which values are taken differ, and its probabilities may not hold. It is no medical device, and no "
        "reason to treat or not to treat anybody.",
        "",
        "## Data",
        "",
        f"Table `{data['table']}`. Terms of use: {data['terms'] or 'not stated'}.",
        "",
        "| split | patients | with the outcome |",
        "|---|---|---|",
        *counts,
        "",
        "## Values",
        "",
        "| value | unit | range in training | median | known of |",
        "|---|---|---|---|---|",
        *inputs,
        "",
        "A value outside of its range counts as the nearest that training saw, and is told.",
        "",
        "## Calibration and threshold",
        "",
        f"Calibrated by {model.calibration['method']}. The outcome is called from a probability of "
        f"{model.threshold:.3f} on, which reaches a sensitivity of {model.recipe['sensitivity']:g} on the validation "
        f"patients. The interval of a prediction holds 95 % of {len(model.bootstrap)} models that were trained on "
        "patients drawn again; it tells how sure the model is of itself, not how it does at another hospital. All of "
        f"these have the strength {model.calibration['base']['strength']:g} that was chosen once, so the interval is "
        "rather too narrow.",
        "",
        "## Figures",
        "",
        *_figures(model.metrics),
        "Those of patients held out from the split train are slightly too good: the strength was chosen and the second "
        "level fitted on the same held-out log-odds. Those of val at the threshold are too, as it was chosen there.",
        "",
        "Figures of the split test, and of other hospitals, come from `pulmoscope outcome evaluate`.",
    ]
    return "\n".join(lines) + "\n"


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    lines = []
    for split, own in metrics.items():
        lines += [
            f"{split}: {own['patients']} patients, {own['events']} with the outcome.",
            "",
            "| figure | value | 95 % interval |",
            "|---|---|---|",
        ]
        for name, (title, _) in OUTCOME_FIGURES.items():
            figure = own["figures"][name]
            low, high = figure["low"], figure["high"]
            span = "–" if low is None else f"{low:.3f} to {high:.3f}"
            value = "–" if figure["value"] is None else f"{figure['value']:.3f}"
            lines.append(f"| {title} | {value} | {span} |")
        lines.append("")
    return lines
