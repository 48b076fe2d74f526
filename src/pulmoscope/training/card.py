"""MODEL_CARD.md, written from a bundle's own facts; and the figures that an evaluation adds to them.

The headings follow Mitchell et al. 2019, «Model cards for model reporting».
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import BundleError
from pulmoscope.core.files import NOTICE, write_text
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.quality.unproven import limits_of
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import as_run, changed_settings
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.report.names import figure_name, glossary, set_title, spelt_out
from pulmoscope.runtime.bundle import CALIBRATION, CARD, SCHEMA_VERSION, Bundle, load
from pulmoscope.training.card_hospitals import ROLE, TITLE, left_out_section, recorded_hospitals
from pulmoscope.training.three_level.card import study_card

NAMES = {"macro_auroc": "auroc"}
"""Figures that are called otherwise in a card than in ``metrics.json``."""
UNKNOWN = "unknown"


def add_metrics(folder: Path, key: str, found: Mapping[str, Any]) -> Bundle:
    """Record an evaluation, an audit or hospitals left out of training in a bundle and in its card.

    Args:
        folder: the bundle's.
        key: the name of the column, e.g. ``test`` or ``external``; an older one of this name is replaced.
        found: the content of ``metrics.json``, ``audit.json`` or ``hospitals.json``, of this bundle; the last may
            be of its recipe instead.

    Raises:
        BundleError: the bundle is damaged, or ``found`` is of another model or recipe, or holds no figures.
    """
    bundle = load(folder)
    try:
        if found.get("recipe") is None:
            _check_model(bundle, found["model"])
        figures = recorded(bundle, found)
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{folder}: only a metrics.json, audit.json or hospitals.json of this version can be recorded ({error})"
        ) from error
    updated = dataclasses.replace(bundle, metrics={**bundle.metrics, key: figures}).save()
    # The card last: it follows from the manifest, which does not vouch for it. After a kill recording again makes it.
    write_text(bundle.folder / CARD, card_of(updated))
    return updated


def card_of(bundle: Bundle) -> str:
    """The card of any kind of bundle."""
    if bundle.patient is None:
        return model_card(bundle)
    if bundle.patient.ensemble:
        return study_card(bundle)
    from pulmoscope.training.severity.card import severity_card

    return severity_card(bundle)


def _check_model(bundle: Bundle, model: Mapping[str, Any]) -> None:
    """Are these facts those of the bundle's own network, calibrated as it is?"""
    own = {
        "name": bundle.name,
        "version": bundle.version,
        "classes": list(bundle.classes),
        "weights_sha256": bundle.files[bundle.network],
        "temperature": bundle.calibration.temperature,
    }
    for name, value in own.items():
        if model[name] != value:
            raise BundleError(
                f"{bundle.folder}: only figures of this bundle can be recorded "
                f"({name}: {value}, found: {model[name]})"
            )


def recorded(bundle: Bundle, found: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of ``Bundle.metrics``; see :func:`role_of` for its role."""
    if "rows" in found:
        return recorded_hospitals(bundle, found)
    data = found["data"]
    if "results" in found:
        role = "audit"
        figures = {f"auroc_{result['code']}": _estimate(result["auroc"]) for result in found["results"]}
    else:
        role = (
            CALIBRATION
            if data.get("used_for_calibration")
            else role_of(data["sources"], bundle.training_data.get("sources", {}))
        )
        figures = key_figures(found["overall"], found["pairwise"])
        positive = bundle.recipe.get("positive", "")
        for row in found["outside_classes"]:
            if positive in row["called"]:
                name = f"{row['source']}_{row['label']}_called_{positive}"
                figures[name] = _estimate(row["called"][positive])
    seen = role == "internal" and data["split"] in ("train", "val")
    return {
        "role": role,
        "what": f"split {data['split'] or 'all'} of {', '.join(map(named, data['sources']))}"
        + (", which training or its choices have seen" if seen else "")
        + (f"; calibration used {data['used_for_calibration']} of them" if role == CALIBRATION else ""),
        "split": data["split"] or "all",
        "sources": sorted(data["sources"]),
        "images": data["predicted"],
        "figures": figures,
        "data_sha256": data["sha256"],
        "command": found["command"],
    }


def named(source: str) -> str:
    """A source as bundles and cards spell it: ``unknown`` where the table names none."""
    return source or UNKNOWN


def role_of(evaluated: Iterable[str], trained: Iterable[str]) -> str:
    """``internal`` where training knows a source, ``external`` where it knows none of them, else ``unknown``.

    Data whose source is not named may be training's own: they are never external.
    """
    sources, known = set(map(named, evaluated)), set(map(named, trained))
    if (sources & known) - {UNKNOWN}:
        return "internal"
    return "external" if sources and known and UNKNOWN not in sources | known else UNKNOWN


def key_figures(
    overall: Mapping[str, Any] | None, pairwise: Mapping[str, Any] | None
) -> dict[str, dict[str, float | None]]:
    """A card's figures, name → value, low, high, from ``Metrics.plain()`` of all classes and of the pair."""
    figures: dict[str, dict[str, float | None]] = {}
    if overall is not None:
        for name, estimate in overall["scores"].items():
            figures[NAMES.get(name, name)] = _estimate(estimate)
        for label, measures in overall["by_class"].items():
            for name in ("sensitivity", "specificity"):
                figures[f"{name}_{label}"] = _estimate(measures[name])
    if pairwise is not None:
        positive, negative = pairwise.get("positive", "COVID"), pairwise.get("negative", "Normal")
        for name, own in (("macro_auroc", "AUROC"), ("accuracy", "accuracy")):
            figures[f"{own}_{positive}_against_{negative}"] = _estimate(pairwise["scores"][name])
    return figures


def _estimate(found: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: found[name] for name in ("value", "low", "high")}


def model_card(bundle: Bundle) -> str:
    """The card as Markdown."""
    recipe = settings.from_plain(bundle.recipe)
    sections = {
        "What it is": _what(bundle, recipe),
        "Intended use": _use(bundle),
        "Recipe": _recipe(recipe),
        "Training data": _data(bundle),
        "What the network sees": _sees(recipe),
        TITLE: left_out_section(bundle.metrics),
        "Figures": _figures(bundle),
        "Calibration and referral": _calibration(bundle),
        "Known limits": _limits(bundle),
        "Licence": [
            "Code: Apache-2.0. The weights were learnt from data that keep their own terms: "
            + (bundle.training_data.get("terms") or "not stated; see the data's source.")
        ],
        "How to make it again": ["```", *_commands(bundle, recipe), "```"],
        "Versions": _versions(bundle),
    }
    lines = [f"# {bundle.name} {bundle.version}", "", f"> {NOTICE}"]
    for title, content in sections.items():
        lines += ["", f"## {title}", "", *content]
    return "\n".join(lines) + "\n"


def _what(bundle: Bundle, recipe: Recipe) -> list[str]:
    kind = {"XRAY": "frontal chest X-ray", "CT": "slice of a chest CT"}[bundle.modality]
    return [
        f"{recipe.title}. A classifier for one {kind} at a time; its classes are {', '.join(bundle.classes)}. "
        f"Network: {recipe.model.backbone}, input {recipe.framing.size} x {recipe.framing.size}."
    ]


def _use(bundle: Bundle) -> list[str]:
    return [
        "- For research on image diagnosis: methods, data quality, shortcuts and their measurement.",
        "- Not for diagnosing, screening or triaging patients, and not for any decision about a person.",
        "- Not for children, for lateral views, for images of screens or prints, or for other body parts.",
        f"- It knows {len(bundle.classes)} classes only: any other disease is called one of them, or referred.",
    ]


def _recipe(recipe: Recipe) -> list[str]:
    phases = "; ".join(
        f"{phase.name}: "
        + (f"as many epochs as {phase.epochs_of}" if phase.epochs_of else f"at most {phase.epochs} epochs")
        + f", {phase.optimizer} at {phase.learning_rate:g}, {phase.schedule}"
        + (f", {phase.frozen} frozen" if phase.frozen != "none" else "")
        + (f", patience {phase.patience}" if phase.patience else "")
        for phase in recipe.phases
    )
    published = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in recipe.published.items())
    return [
        f"- `{recipe.name}`; source: {recipe.paper}",
        *([f"- Published figures: {published}"] if published else []),
        *([f"- Differs from the source: {recipe.deviations}"] if recipe.deviations else []),
        *([f"- As run: {as_run(recipe)}"] if as_run(recipe) else []),
        f"- Phases: {phases}; batches of {recipe.batch_size}"
        + (f", mixed with Beta({recipe.mixup:g}, {recipe.mixup:g})" if recipe.mixup else "")
        + f", seed {recipe.seed}",
    ]


def _data(bundle: Bundle) -> list[str]:
    data = bundle.training_data
    counts = [
        f"- {split}: {sum(own.values()):,} images ({', '.join(f'{name} {count:,}' for name, count in own.items())})"
        for split, own in data.get("counts", {}).items()
    ]
    sources = ", ".join(f"{name} ({count:,})" for name, count in data.get("sources", {}).items())
    return [
        *counts,
        f"- Sources: {sources or 'unknown'}",
        f"- Patients known for {data.get('patients_known', 0):,} images",
        f"- Terms: {data.get('terms') or 'not stated'}",
        f"- SHA-256 over content, split and label of all files: `{data.get('sha256', 'unknown')}`",
    ]


def _seen_of_xray(own: XrayPreprocess) -> str:
    region = {
        "full": "The whole image, squeezed into a square",
        "square": f"The centre square at the image's own aspect, less {own.edge:.0%} of its side at each border",
        "lungs": "The box around the lungs that the lung finder sees, with a margin of "
        f"{own.margin:.0%}{', all but the hull of both lungs hidden' if own.hull else ''}; "
        f"where it sees no lungs, the centre square less {own.edge:.0%} of its side at each border",
    }[own.region]
    return region + ("" if own.contrast == "none" else f"; contrast: {own.contrast.upper()}")


def _seen_of_slice(own: SlicePreprocess) -> str:
    region = "The whole slice, squeezed into a square"
    if own.region == "lungs":
        region = (
            f"The box around the lungs, found by grey alone or given as a mask, with a margin of {own.margin:.0%}"
            f"{', all but the hull of each lung hidden' if own.hull else ''}; where there are none, the centre square"
        )
    others = (
        "; the second and third channel without vessels (grey openings)" if own.others == "opened" else ""
    )
    return region + ("; lung and soft tissue mapped to fixed greys" if own.window else "") + others


def _sees(recipe: Recipe) -> list[str]:
    own = recipe.framing
    region = _seen_of_xray(own) if isinstance(own, XrayPreprocess) else _seen_of_slice(own)
    neutral = type(recipe.augment)()
    augmented = [
        f"{field.name.replace('_', ' ')} {getattr(recipe.augment, field.name)}"
        for field in dataclasses.fields(recipe.augment)
        if getattr(recipe.augment, field.name) != getattr(neutral, field.name)
    ]
    return [
        f"- {region}; {own.size} x {own.size} pixels, {own.channels} channel(s); "
        f"normalised with mean {own.mean:.4g} and standard deviation {own.std:.4g}.",
        f"- Drawn anew for every training image and epoch: {', '.join(augmented) or 'nothing'}.",
    ]


def _figures(bundle: Bundle) -> list[str]:
    """One table: a row a figure, a column a data set."""
    sets = {key: found for key, found in bundle.metrics.items() if found["role"] != ROLE}
    if not sets:
        return ["None recorded."]
    names = list(dict.fromkeys(name for found in sets.values() for name in found["figures"]))
    rows = [
        ["", *(f"{set_title(key)} ({found['role']})" for key, found in sets.items())],
        ["---"] * (len(sets) + 1),
        ["images", *(f"{found['images']:,}" for found in sets.values())],
        *(
            [figure_name(name).title, *(_cell(found["figures"].get(name)) for found in sets.values())]
            for name in names
        ),
    ]
    return [
        "95 % bootstrap intervals, resampled by patient where known; of a perfect score the exact one over patients.",
        "",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *(f"- {set_title(key)} (`{key}`): {spelt_out(found['what'])}" for key, found in sets.items()),
        *(f"- {term}: {meaning}" for term, meaning in glossary(names)),
    ]


def _cell(figure: Mapping[str, float | None] | None) -> str:
    if figure is None or figure["value"] is None:
        return "–"
    interval = "" if figure["low"] is None else f" ({figure['low']:.3f}–{figure['high']:.3f})"
    return f"{figure['value']:.3f}{interval}"


def _calibration(bundle: Bundle) -> list[str]:
    thresholds, distance = bundle.thresholds, bundle.thresholds.distance
    by_class = ", ".join(f"{name} {least:.2f}" for name, least in thresholds.by_class.items())
    return [
        f"- Temperature {bundle.calibration.temperature:.3f}, fitted on {bundle.calibration.fitted_on}.",
        f"- Referred instead of reported: answers less sure than {thresholds.confidence:.2f}"
        + (
            f", and images farther from the training images than {distance:.3g} (99 % of the validation images are "
            "nearer)."
            if distance is not None
            else ". How far an image is from the training images was not measured."
        ),
        *([f"- By class, in place of {thresholds.confidence:.2f}: {by_class}."] if by_class else []),
        *(
            [
                "- Referred, too: answers that nothing was found, of images farther from normal lungs than "
                f"{thresholds.normal_distance:.3g}: they show something that the classes may have no name for."
            ]
            if thresholds.normal_distance is not None
            else []
        ),
    ]


def _limits(bundle: Bundle) -> list[str]:
    data = bundle.training_data
    single = [
        f"{source} ({next(iter(own))})"
        for source, own in data.get("classes_by_source", {}).items()
        if len(own) == 1
    ]
    roles = {found["role"] for found in bundle.metrics.values()}
    return [
        "- Public collections of these diseases come from different hospitals, devices and ages for each class. A "
        "network can tell those apart without looking at the lungs; figures on data of the same collections are "
        "too good.",
        *([f"- Sources that hold a single class: {', '.join(single)}."] if single else []),
        *([] if roles & {"external", ROLE} else ["- No figure from another hospital is recorded."]),
        *([] if "audit" in roles else ["- No audit for shortcuts is recorded."]),
        *(f"- Every answer is referred: {flag.message}." for flag in limits_of(bundle)),
        *(f"- {warning}" for warning in data.get("warnings", ())),
        "- A heat map shows where the evidence for an answer lies, not that the answer is right.",
    ]


def _commands(bundle: Bundle, recipe: Recipe) -> list[str]:
    train = ["pulmoscope", "train", recipe.name, "--data", "DATA", "-o", "RUN"]
    for change in changed_settings(recipe):
        train += ["--set", change]
    release, _, calibrated = bundle.version.partition("+")
    if not release.startswith("own-"):
        train += ["--release", release]
    return [
        shlex.join(train),
        *(["pulmoscope models calibrate RUN --data OTHER -o CALIBRATED"] if calibrated else []),
        "pulmoscope evaluate RUN --data DATA --split test -o EVALUATION",
        "pulmoscope models record RUN --metrics EVALUATION/metrics.json --as test",
    ]


def _versions(bundle: Bundle) -> list[str]:
    verified = ", ".join(f"{name} {value:.1g}" for name, value in bundle.verified.items())
    return [
        f"- Bundle schema {SCHEMA_VERSION}; {', '.join(f'{name} {own}' for name, own in bundle.software.items())}",
        f"- Largest difference from the trained network, in standard deviations of the output: "
        f"{verified or 'not measured'}",
    ]
