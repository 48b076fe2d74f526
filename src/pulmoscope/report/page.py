"""A diagnosis as one HTML page that needs nothing outside itself, in words for a clinician."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from pulmoscope.core.change import SinceReport, XrayChange
from pulmoscope.core.classes import suspicion
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.core.types import Decision, Diagnosis, Flag, Modality, PredictionSet, Quality
from pulmoscope.report.change.plain import change_line
from pulmoscope.report.change.report import since_lines, since_section
from pulmoscope.report.change.xray import XrayPair, change_section
from pulmoscope.report.diagnosis import SCHEMA_VERSION, flags_of, input_sha256
from pulmoscope.report.html import percent, render
from pulmoscope.report.names import (
    DECISIONS,
    MAPS,
    ROLES,
    Name,
    figure_name,
    glossary,
    set_title,
    source_title,
    spelt_out,
)
from pulmoscope.report.outcome import outcome_lines, outcome_shown
from pulmoscope.report.severity import measured_lines
from pulmoscope.report.values import value_lines, values_shown
from pulmoscope.report.xray_severity import estimated_lines, severity_section
from pulmoscope.runtime.audited import recorded_trust

IN_THE_CARD_ONLY = frozenset({"balanced_accuracy", "mcc", "macro_f1", "brier"})
"""Figures that the page leaves to the bundle's MODEL_CARD.md."""

SYNTHETIC = "synthetic"
"""Code of the flag of an image that a program made; part of the name of a model that was trained on such only."""


UNCHECKED = "patient-rule"
"""Code of the limit of a model of slices whose answer about a patient was not calibrated."""

_STUDY = "<!-- study -->"
"""Twice in the page; between them stands what is said of the radiograph's study."""


@dataclass(frozen=True)
class Pictures:
    """What the page shows, each as a ``data:`` address.

    Attributes:
        scan: the image.
        overlays: one per explanation, in their order: the image under its heat map at full strength.
        scale: the heat map's colours from no to most evidence, left to right; empty without explanations.
        lungs: the image with the outline of the lungs; empty where none are known.
        opacity: the image under the map of opacity; empty where its severity was not estimated.
        change: it beside an earlier one; None where none was given.
    """

    scan: str
    overlays: tuple[str, ...] = ()
    scale: str = ""
    lungs: str = ""
    opacity: str = ""
    change: XrayPair | None = None


@dataclass(frozen=True)
class Figure:
    """One figure of the model card on one data set; ``low`` and ``high`` bound its 95 % interval."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class DataSet:
    """A data set of the model card: how many images, studies or slices, and in a sentence which; empty: not said."""

    title: str
    role: Name
    images: int
    what: str


def to_html(diagnosis: Diagnosis, pictures: Pictures, since: SinceReport | None = None) -> str:
    """The page ``report.html`` of an X-ray; for what it says of the model see :func:`facts`."""
    scan = diagnosis.scan
    return render(
        "diagnosis.html",
        **facts(diagnosis, "image", "images"),
        pictures=pictures,
        targets=[explanation.target for explanation in diagnosis.explanations],
        maps=[
            MAPS[kind] for kind in dict.fromkeys(one.kind for one in diagnosis.explanations) if kind in MAPS
        ],
        in_lungs=[
            (explanation.target, explanation.in_lungs)
            for explanation in diagnosis.explanations
            if explanation.in_lungs is not None
        ],
        silent=[explanation.target for explanation in diagnosis.explanations if not explanation.heat.any()],
        lung_area=None if diagnosis.lungs is None else float(diagnosis.lungs.mean()),
        size=f"{scan.pixels.shape[2]} × {scan.pixels.shape[1]} px",
        view=scan.view,
        spacing_mm=scan.spacing_mm,
        ill=severity_section(diagnosis),
        change=change_section(diagnosis.change, pictures.change)
        if isinstance(diagnosis.change, XrayChange)
        else None,
        since=since_section(since),
    )


def in_study(html: str, sentence: str) -> str:
    """An X-ray's page with what there is to say of the study that the radiograph is of; empty: of none."""
    before, _, rest = html.partition(_STUDY)
    _, mark, after = rest.partition(_STUDY)
    if not mark:  # a page of another version
        return html
    text = f'<p class="card study">{escape(sentence)}</p>' if sentence else ""
    return f"{before}{_STUDY}{text}{_STUDY}{after}"


def facts(diagnosis: Diagnosis, noun: str, nouns: str) -> dict[str, Any]:
    """What ``diagnosis_parts.html`` needs: the parts that the pages of X-rays and CT have in common.

    The model card's facts come from ``diagnosis.card``: ``classes``, ``calibration`` (temperature, fitted_on),
    ``thresholds``, ``wording`` (class → words), ``training_data`` (counts, sources, terms) and ``metrics``,
    which maps a data set's name to ``{"role": "internal" | "external" | "audit", "what": sentence, "images": n,
    "figures": {name: {"value", "low", "high"}}}``; of an X-ray also ``severity``, whether a model estimates it.

    Args:
        noun, nouns: what a diagnosis is of, one and several.
    """
    scan, prediction, card = diagnosis.scan, diagnosis.prediction, diagnosis.card
    probability = prediction.probabilities[prediction.label]
    wording = card.get("wording", {}).get(prediction.label, prediction.label)
    # A CT with the answer of only one classifier was read by a model of slices, whose record counts these.
    counted = "slices" if scan.modality is Modality.CT and not diagnosis.levels else nouns
    return {
        "name": scan.name,
        "modality": "Chest X-ray" if scan.modality is Modality.XRAY else "Chest CT",
        "noun": noun,
        "nouns": nouns,
        "counted": counted,
        "label": prediction.label,
        "probability": probability,
        "ranked": sorted(prediction.probabilities.items(), key=lambda pair: -pair[1]),
        "referred": prediction.decision is Decision.REFER,
        "decision": DECISIONS[prediction.decision],
        "reason": prediction.reason,
        "fitting": "" if prediction.set is None else set_in_words(prediction.set, nouns),
        "verdict": diagnosis.quality.verdict,
        "flags": diagnosis.quality.flags,
        "limits": diagnosis.quality.limits,
        "audit": recorded_trust(card.get("metrics", {})),
        "flag_title": flag_title,
        "synthetic": is_synthetic(diagnosis),
        "trained_on_synthetic": trained_on_synthetic(diagnosis),
        "calibration": _calibration(card.get("calibration", {})),
        # Of a CT a probability that nobody has calibrated would be read as one of being ill.
        "in_words": scan.modality is Modality.CT and not card.get("calibration", {}).get("fitted_on"),
        "of_hundred": of_hundred(probability),
        "threshold": _threshold(diagnosis),
        "wording": card.get("wording", {}),
        "heading": f"{wording[0].upper()}{wording[1:]}",
        "classes": list(prediction.probabilities),
        "training": training_facts(card.get("training_data", {}), counted),
        "figures": figure_table(card.get("metrics", {}), audit=False),
        "audits": figure_table(card.get("metrics", {}), audit=True),
        "values": values_shown(diagnosis.values),
        "outcome": outcome_shown(diagnosis.outcome),
        "model": diagnosis.model,
        "files": scan.files,
        "sha256": input_sha256(scan),
        "timings_s": diagnosis.timings_s,
        "software": diagnosis.software,
        "schema_version": SCHEMA_VERSION,
    }


def _threshold(diagnosis: Diagnosis) -> float | None:
    """The least probability at which the answer's class is reported."""
    known = diagnosis.card.get("thresholds", {})
    least: float | None = known.get("by_class", {}).get(diagnosis.prediction.label, known.get("confidence"))
    return least


def _calibration(known: Mapping[str, Any]) -> dict[str, Any]:
    """The card's, with the data that the temperature was fitted on in full words."""
    fitted_on = known.get("fitted_on")
    return {**known, "fitted_on": spelt_out(fitted_on)} if fitted_on else dict(known)


def is_synthetic(diagnosis: Diagnosis) -> bool:
    """Whether the image says of itself that a program made it."""
    return any(flag.code == SYNTHETIC for flag in diagnosis.quality.all_flags)


def trained_on_synthetic(diagnosis: Diagnosis) -> bool:
    """Whether the model never saw a patient: its name says so, or all its training images are synthetic."""
    sources = set(diagnosis.card.get("training_data", {}).get("sources", ()))
    return SYNTHETIC in diagnosis.model["name"].lower() or sources == {SYNTHETIC_SOURCE}


def flag_title(flag: Flag) -> str:
    """A flag's code as words."""
    return flag.code.replace("_", " ").replace("-", " ").capitalize()


def of_hundred(probability: float) -> str:
    """How many of 100, as words that claim no more than the figure does."""
    count = round(probability * 100)
    if count >= 100:
        return "more than 99"
    return "fewer than 1" if count < 1 else f"about {count}"


def set_in_words(fitting: PredictionSet, nouns: str) -> str:
    """Which classes can't be ruled out, and how often that holds.

    Args:
        nouns: what the model predicts, several of it.
    """
    hundred = f"{100 * fitting.coverage:g} of 100 {nouns} like those that the model was calibrated with"
    if not fitting.classes:
        return f"None of the classes fits: {hundred} fit their own class better than this one fits any."
    return f"In {hundred}, the true class is among those that can't be ruled out. Here: {', '.join(fitting.classes)}."


def training_facts(training: Mapping[str, Any], nouns: str = "images") -> list[tuple[str, str]]:
    """Counts per split and class, and the sources, each as a title and a sentence.

    Args:
        nouns: what is counted.
    """
    facts = []
    for split, counts in training.get("counts", {}).items():
        total = sum(counts.values())
        parts = ", ".join(f"{count:,} {label}" for label, count in counts.items())
        facts.append((f"{nouns.capitalize()} to {_purpose(split)}", f"{total:,} ({parts})"))
    sources = training.get("sources", ())
    if sources:
        listed = (
            [f"{source_title(name)} ({count:,})" for name, count in sources.items()]
            if isinstance(sources, Mapping)
            else list(map(source_title, sources))
        )
        facts.append(("Sources", ", ".join(listed)))
    if training.get("terms"):
        facts.append(("Terms of the data", str(training["terms"])))
    return facts


def figure_table(metrics: Mapping[str, Any], audit: bool) -> dict[str, Sequence[Any]]:
    """Figures side by side: ``sets`` (:class:`DataSet`), ``rows`` (name, a figure or None per set), ``glossary``.

    Args:
        metrics: of the model card.
        audit: of the audits, else of the internal and external data.
    """
    chosen = {name: held for name, held in metrics.items() if (held["role"] == "audit") == audit}
    names = dict.fromkeys(figure for held in chosen.values() for figure in held["figures"])
    shown = [name for name in names if name not in IN_THE_CARD_ONLY]
    sets = [
        DataSet(
            set_title(name),
            ROLES.get(held["role"], Name(held["role"])),
            held["images"],
            spelt_out(held.get("what", "")),
        )
        for name, held in chosen.items()
    ]
    roles = {held.role.title: held.role.meaning for held in sets}
    return {
        "sets": sets,
        "rows": [
            (figure_name(name), [_figure(held["figures"].get(name)) for held in chosen.values()])
            for name in shown
        ],
        "glossary": [
            *((held.title, held.what) for held in sets if held.what),
            *((title, meaning) for title, meaning in roles.items() if meaning),
            *glossary(shown),
        ],
    }


def summary(plain: Mapping[str, Any]) -> list[str]:
    """The answer of a ``diagnosis.json`` in a few plain lines, for a terminal."""
    prediction, quality = plain["prediction"], Quality(flags_of(plain))
    decision = DECISIONS[prediction["decision"]]
    synthetic = any(flag.code == SYNTHETIC for flag in quality.all_flags)
    noun = "study" if plain["input"]["modality"] == Modality.CT else "image"
    change = [f"Change          {change_line(plain)}"] if plain.get("change") else []
    return [
        *([f"Synthetic {noun}: a program made it, there is no patient."] if synthetic else []),
        *(
            ["Synthetic model: it was trained on synthetic images only."]
            if SYNTHETIC in plain["model"]["name"]
            else []
        ),
        *measured_lines(plain["severity"] or {}),
        *(change if noun == "study" else []),
        *_answer_lines(plain),
        f"Decision        {decision.title.lower()}: {decision.meaning}",
        f"Reason          {prediction['reason']}",
        *_set_lines(prediction, "studies" if noun == "study" else "images"),
        *estimated_lines(plain["severity"] or {}),
        *(change if noun == "image" else []),
        *since_lines(plain.get("dicom")),
        *_slice_lines(plain["slices"]),
        *_level_lines(plain.get("levels", {})),
        *value_lines(plain.get("values")),
        *outcome_lines(plain.get("outcome")),
        f"Image quality   {quality.verdict}",
        *_flag_lines(quality.flags),
        *(["Limits of this model", *_flag_lines(quality.limits)] if quality.limits else []),
        *([f"Audit           {plain['audit']['says']}"] if "audit" in plain else []),
    ]


def brief(plain: Mapping[str, Any]) -> str:
    """The answer of a ``diagnosis.json`` in a few words, for a line among many: measured, predicted, decided."""
    prediction, severity = plain["prediction"], plain["severity"] or {}
    measured, estimated = severity.get("percent_affected"), severity.get("geographic_extent")
    words = [] if measured is None else [f"{measured:.1f} % affected, {severity['grade']}"]
    label = prediction["label"]
    words.append(label if _unchecked(plain) else f"{label} {percent(prediction['probabilities'][label])}")
    words += [] if estimated is None else [f"extent {estimated:.1f} of 8"]
    return "  ".join([*words, DECISIONS[prediction["decision"]].title.lower()])


def _unchecked(plain: Mapping[str, Any]) -> bool:
    """Whether too few patients have checked the answer for it to have a probability."""
    return plain["input"]["modality"] == Modality.CT and any(
        flag["code"] == UNCHECKED for flag in plain["limits"]
    )


def _flag_lines(flags: Sequence[Flag]) -> list[str]:
    """One line a flag, below their heading."""
    return [f"                {flag_title(flag)}: {flag.message}" for flag in flags]


def _set_lines(prediction: Mapping[str, Any], nouns: str) -> list[str]:
    """Which classes can't be ruled out, where the model says so."""
    fitting = prediction["set"]
    if fitting is None:
        return []
    return [
        f"Not ruled out   {set_in_words(PredictionSet(fitting['coverage'], tuple(fitting['classes'])), nouns)}"
    ]


def _answer_lines(plain: Mapping[str, Any]) -> list[str]:
    """The most probable class; without a probability where too few patients have checked it."""
    if _unchecked(plain):
        label = plain["prediction"]["label"]
        return [f"Network         {label}: the most probable class; no probability, as it was not calibrated"]
    return [f"Most probable   {_top(plain['prediction']['probabilities'])}"]


def _slice_lines(slices: Sequence[Mapping[str, Any]]) -> list[str]:
    """For how many slices of a CT a class was predicted, and the one with the most to see."""
    if not slices:
        return []
    predicted = [row for row in slices if row["probabilities"] is not None]
    line = f"Slices          {len(predicted)} of {len(slices)} predicted"
    if not predicted:
        return [line]
    worst = max(predicted, key=lambda row: suspicion(row["probabilities"]))
    height = "" if worst["z_mm"] is None else f" (z {worst['z_mm']:.1f} mm)"
    return [f"{line}; most suspicious: {worst['index']}{height}, {_top(worst['probabilities'])}"]


def _level_lines(levels: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What each classifier that looks at the whole patient says."""
    answers = [f"{name} {_top(probabilities)}" for name, probabilities in levels.items()]
    return [f"Classifiers     {'; '.join(answers)}"] if len(answers) > 1 else []


def _top(probabilities: Mapping[str, float]) -> str:
    label = max(probabilities, key=lambda name: probabilities[name])
    return f"{label}, {percent(probabilities[label])}"


def _purpose(split: str) -> str:
    return {"train": "train", "val": "choose and calibrate", "test": "test"}.get(split, split)


def _figure(figure: Mapping[str, float | None] | None) -> Figure | None:
    if figure is None or figure["value"] is None:
        return None
    return Figure(figure["value"], figure.get("low"), figure.get("high"))
