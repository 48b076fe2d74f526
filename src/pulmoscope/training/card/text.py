"""MODEL_CARD.md, written from a bundle's own facts.

The headings follow Mitchell et al. 2019, «Model cards for model reporting».
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from pulmoscope.core.files import NOTICE
from pulmoscope.core.severity import grade_number
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.preprocess.kinds import Preprocess
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.quality.unproven import limits_of
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import as_run, changed_settings
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.report.names import figure_name, glossary, set_title, spelt_out
from pulmoscope.runtime.beside_measure import no_better_than_measure
from pulmoscope.runtime.bundle import SCHEMA_VERSION, Bundle, Conformal
from pulmoscope.training.card.audit import TITLE as AUDIT
from pulmoscope.training.card.audit import audit_section
from pulmoscope.training.card.export import TITLE as EXPORT
from pulmoscope.training.card.export import export_section
from pulmoscope.training.card.hospitals import ROLE, TITLE, left_out_section

SYNTHETIC = "**It has learnt from simulated images, of no patient. It knows nothing about people.**"
_OF_GRADES = (
    "- A grade is the readers' impression of how much of the lungs is affected; the measured percentage stands beside "
    "it in every diagnosis, and a grade that differs from the measured one by more than one is referred."
)
_OF_SLICES = {
    "slices": "slices",
    "with_slice_labels": "studies with slice labels",
    "damaged_slices": "slices found damaged",
}
"""What is known of the training data of studies: key → in words."""
_SHEETS = (
    "- `sheets/`, where it is there, shows slices of the training patients, as its imputer and its anomaly network "
    "redraw them: remove it before you pass the model on. Nothing else here holds pixels."
)
_NOT_TESTED = (
    "**Every patient of the data had a part in this model**, in learning (train) or in its thresholds (val), whatever "
    "split the data set itself gives them: evaluate it on other data. A fold of a cross-validation is made again with "
    "`--folds`."
)


def model_card(bundle: Bundle) -> str:
    """The card as Markdown."""
    recipe = settings.from_plain(bundle.recipe)
    sections = {
        "What it is": _what(bundle, recipe),
        "Intended use": _use(bundle),
        **({} if bundle.export is None else {EXPORT: export_section(bundle.export)}),
        AUDIT: audit_section(bundle.metrics),
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
        "How to make it again": _again(bundle, recipe),
        "Versions": _versions(bundle),
    }
    lines = [f"# {bundle.name} {bundle.version}", "", f"> {NOTICE}"]
    for title, content in sections.items():
        lines += ["", f"## {title}", "", *content]
    return "\n".join(lines) + "\n"


def _what(bundle: Bundle, recipe: Recipe) -> list[str]:
    size, level = recipe.preprocess.size, bundle.patient
    kind = {"XRAY": "frontal chest X-ray", "CT": "slice of a chest CT"}[bundle.modality]
    network = f"{recipe.model.backbone}, input {size} x {size}"
    if level is None:
        text = (
            f"A classifier for one {kind} at a time; its classes are {', '.join(bundle.classes)}. "
            f"Network: {network}."
        )
    else:
        decides = (
            f"an ensemble of {', '.join(level.ensemble)}"
            if level.ensemble
            else f"the vote of {level.decides}"
        )
        text = (
            f"It judges CT studies: a network for slices ({network}), votes of a patient's slices "
            f"({', '.join(level.votes)}), and {decides} decides. Its classes are {', '.join(bundle.classes)}."
        )
    if bundle.imputer:
        text += f" Missing regions are filled by: {bundle.imputer}."
    synthetic = SYNTHETIC_SOURCE in bundle.training_data.get("sources", ())
    return [f"{recipe.title}. {text}", *(["", SYNTHETIC] if synthetic else [])]


def _use(bundle: Bundle) -> list[str]:
    others = {
        "XRAY": "- Not for children, for lateral views, for images of screens or prints, or for other body parts.",
        "CT": "- Not for children, or for other body parts.",
    }
    grades = any(grade_number(name) is not None for name in bundle.classes)
    return [
        "- For research on image diagnosis: methods, data quality, shortcuts and their measurement.",
        "- Not for diagnosing, screening or triaging patients, and not for any decision about a person.",
        others[bundle.modality],
        f"- It knows {len(bundle.classes)} classes only: any other disease is called one of them, or referred.",
        *([_OF_GRADES] if grades else []),
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
    unit = "images" if bundle.patient is None else "studies"
    counts = [
        f"- {split}: {sum(row.values()):,} {unit} ({', '.join(f'{name} {count:,}' for name, count in row.items())})"
        + "".join(f", {text}: {data[key][split]:,}" for key, text in _OF_SLICES.items() if key in data)
        for split, row in data.get("counts", {}).items()
    ]
    sources = ", ".join(f"{name} ({count:,})" for name, count in data.get("sources", {}).items())
    return [
        *counts,
        f"- Sources: {sources or 'unknown'}",
        f"- Patients known for {data.get('patients_known', 0):,} {unit}",
        f"- Terms: {data.get('terms') or 'not stated'}",
        f"- SHA-256 over content, split and label of all files: "
        f"`{data.get('sha256') or data.get('fingerprint', 'unknown')}`",
    ]


def _seen_of_xray(seen: XrayPreprocess) -> str:
    region = {
        "full": "The whole image, squeezed into a square",
        "square": f"The centre square at the image's own aspect, less {seen.edge:.0%} of its side at each border",
        "lungs": "The box around the lungs that the lung finder sees, with a margin of "
        f"{seen.margin:.0%}{', all but the hull of both lungs hidden' if seen.hull else ''}; "
        f"where it sees no lungs, the centre square less {seen.edge:.0%} of its side at each border",
    }[seen.region]
    return region + ("" if seen.contrast == "none" else f"; contrast: {seen.contrast.upper()}")


def _seen_of_slice(seen: SlicePreprocess) -> str:
    region = "The whole slice, squeezed into a square"
    if seen.region == "lungs":
        region = (
            f"The box around the lungs, found by grey alone or given as a mask, with a margin of {seen.margin:.0%}"
            f"{', all but the hull of each lung hidden' if seen.hull else ''}; where there are none, the centre square"
        )
    others = (
        "; the second and third channel without vessels (grey openings)" if seen.others == "opened" else ""
    )
    return region + ("; lung and soft tissue mapped to fixed greys" if seen.window else "") + others


def _seen_of_body(seen: CtPreprocess) -> str:
    region = "the whole slice" if seen.region == "body" else "the square around the study's lungs"
    return (
        f"Slices of a study, all but the body black, {region}; HU from {seen.hu_low:g} to {seen.hu_high:g}, times "
        f"{seen.brightness:g}"
    )


def _seen_of_standard(seen: Standardisation) -> str:
    region = "the whole slice" if seen.region == "body" else "the square around the study's lungs"
    outside = ", all but the lungs black" if seen.outside == "hidden" else ""
    hu = f"HU from {seen.hu_low:g} to {seen.hu_high:g}"
    return f"Slices averaged to about {seen.slice_mm:g} mm, {region}{outside}; {hu}"


def _seen(seen: Preprocess) -> str:
    """What a network is shown, in words."""
    if isinstance(seen, XrayPreprocess):
        return _seen_of_xray(seen)
    if isinstance(seen, SlicePreprocess):
        return _seen_of_slice(seen)
    return _seen_of_body(seen) if isinstance(seen, CtPreprocess) else _seen_of_standard(seen)


def _sees(recipe: Recipe) -> list[str]:
    preprocess, augment = recipe.preprocess, dataclasses.asdict(recipe.augment)
    neutral = dataclasses.asdict(type(recipe.augment)())
    augmented = [
        f"{name.replace('_', ' ')} {value}" for name, value in augment.items() if value != neutral[name]
    ]
    mean, std = (_listed(value) for value in (preprocess.mean, preprocess.std))
    return [
        f"- {_seen(preprocess)}; {preprocess.size} x {preprocess.size} pixels, {preprocess.channels} channel(s); "
        f"normalised with mean {mean} and standard deviation {std}.",
        f"- Drawn anew for every training image and epoch: {', '.join(augmented) or 'nothing'}.",
    ]


def _listed(value: float | tuple[float, ...]) -> str:
    return ", ".join(f"{number:.4g}" for number in (value if isinstance(value, tuple) else (value,)))


def _figures(bundle: Bundle) -> list[str]:
    """One table: a row a figure, a column a data set."""
    sets = {key: record for key, record in bundle.metrics.items() if record["role"] != ROLE}
    if not sets:
        return ["None recorded."]
    names = list(dict.fromkeys(name for record in sets.values() for name in record["figures"]))
    rows = [
        ["", *(f"{set_title(key)} ({record['role']})" for key, record in sets.items())],
        ["---"] * (len(sets) + 1),
        [
            "images" if bundle.patient is None else "patients",
            *(f"{record['images']:,}" for record in sets.values()),
        ],
        *(
            [figure_name(name).title, *(_cell(record["figures"].get(name)) for record in sets.values())]
            for name in names
        ),
    ]
    return [
        "95 % bootstrap intervals, resampled by patient where known; of a perfect score the exact one over patients.",
        "",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *(f"- {set_title(key)} (`{key}`): {spelt_out(record['what'])}" for key, record in sets.items()),
        *(f"- {term}: {meaning}" for term, meaning in glossary(names)),
    ]


def _cell(figure: Mapping[str, float | None] | None) -> str:
    if figure is None or figure["value"] is None:
        return "–"
    interval = "" if figure["low"] is None else f" ({figure['low']:.3f}–{figure['high']:.3f})"
    return f"{figure['value']:.3f}{interval}"


def _calibration(bundle: Bundle) -> list[str]:
    calibration, thresholds, distance = bundle.calibration, bundle.thresholds, bundle.thresholds.distance
    by_class = ", ".join(f"{name} {least:.2f}" for name, least in thresholds.by_class.items())
    fitted = f", fitted on {calibration.fitted_on}" if calibration.fitted_on else ""
    far = ". How far an image is from the training images was not measured."
    if distance is not None:
        far = (
            f", and images farther from the training images than {distance:.3g} (99 % of the validation images are "
            "nearer)."
        )
    return [
        f"- Temperature {calibration.temperature:.3f}{_bias(bundle)}{fitted}.",
        f"- Referred instead of reported: answers less sure than {thresholds.confidence:.2f}{far}",
        *([f"- By class, in place of {thresholds.confidence:.2f}: {by_class}."] if by_class else []),
        *(
            [
                "- Referred, too: answers that nothing was found, of images farther from normal lungs than "
                f"{thresholds.normal_distance:.3g}: they show something that the classes may have no name for."
            ]
            if thresholds.normal_distance is not None
            else []
        ),
        *(
            [f"- Sets of classes that can't be ruled out: {_sets(bundle.conformal)}"]
            if bundle.conformal is not None
            else []
        ),
        *([_anomalous(bundle, bundle.anomaly)] if bundle.anomaly is not None else []),
    ]


def _bias(bundle: Bundle) -> str:
    """The bias of each class, where there is one."""
    values = zip(bundle.classes, bundle.calibration.bias, strict=False)  # empty where there is none
    listed = ", ".join(f"{name} {value:+.2f}" for name, value in values)
    return f", bias {listed}" if listed else ""


def _sets(conformal: Conformal) -> str:
    least = ", ".join(f"{name} {value:.3f}" for name, value in conformal.by_class.items())
    hospitals = ", ".join(conformal.by_hospital)
    return (
        f"they hold the true class in {conformal.coverage:.0%} of images like those that they were fitted on "
        f"({conformal.fitted_on}). Not ruled out from these probabilities on: {least}."
        + (f" Fitted at single hospitals, too: {hospitals}." if hospitals else "")
    )


def _anomalous(bundle: Bundle, anomaly: Mapping[str, Any]) -> str:
    return (
        f"- A slice counts as unlike {bundle.classes[0]} above a score of {anomaly['value']:.4f}: "
        f"{100 * anomaly['false_alarms']:.0f} % of {anomaly['slices']} held-out slices of {anomaly['studies']} studies "
        "of that class lie above."
    )


def _limits(bundle: Bundle) -> list[str]:
    data = bundle.training_data
    single = [
        f"{source} ({next(iter(classes))})"
        for source, classes in data.get("classes_by_source", {}).items()
        if len(classes) == 1
    ]
    roles = {record["role"] for record in bundle.metrics.values()}
    return [
        "- Public collections of these diseases come from different hospitals, devices and ages for each class. A "
        "network can tell those apart without looking at the lungs; figures on data of the same collections are "
        "too good.",
        *([f"- Sources that hold a single class: {', '.join(single)}."] if single else []),
        *([] if roles & {"external", ROLE} else ["- No figure from another hospital is recorded."]),
        *(f"- Every answer is referred: {flag.message}." for flag in limits_of(bundle)),
        *_beside_measure(bundle),
        *(f"- {warning}" for warning in data.get("warnings", ())),
        "- A heat map shows where the evidence for an answer lies, not that the answer is right.",
        *([_SHEETS] if bundle.imputer else []),
    ]


def _beside_measure(bundle: Bundle) -> list[str]:
    """Whether the network finds disease no better than the measure does."""
    beside = no_better_than_measure(bundle.metrics)
    if beside is None:
        return []
    return [
        "- Where a lung is affected, the measure of a scan in Hounsfield units tells no worse than this network: the "
        f"AUROC of the network is {beside.network:.3f}, that of the fraction of lung that is lesion "
        f"{beside.measure:.3f} ({spelt_out(beside.what)})."
    ]


def _again(bundle: Bundle, recipe: Recipe) -> list[str]:
    """The commands; a model for which no split was left to test it on must be tested on other data."""
    train = ["pulmoscope", "train", recipe.name, "--data", "DATA", "-o", "RUN"]
    for change in changed_settings(recipe):
        train += ["--set", change]
    release, _, calibrated = bundle.version.partition("+")
    if not release.startswith("own-"):
        train += ["--release", release]
    tested = "test" in bundle.training_data.get("splits", ("test",))
    data = "--data DATA --split test" if tested else "--data OTHER --split all"
    return [
        "```",
        shlex.join(train),
        *(["pulmoscope models calibrate RUN --data OTHER -o CALIBRATED"] if calibrated else []),
        f"pulmoscope evaluate RUN {data} -o EVALUATION",
        "pulmoscope models record RUN --metrics EVALUATION/metrics.json --as test",
        "```",
        *([] if tested else ["", _NOT_TESTED]),
    ]


def _versions(bundle: Bundle) -> list[str]:
    """Of the schema and packages, and how far exported networks are from the trained ones."""
    by_network = {
        name: of_network for name, of_network in bundle.verified.items() if isinstance(of_network, Mapping)
    }
    largest = {
        runtime: max(of_network[runtime] for of_network in by_network.values() if runtime in of_network)
        for runtime in dict.fromkeys(name for of_network in by_network.values() for name in of_network)
    }
    verified = ", ".join(f"{name} {value:.1g}" for name, value in (largest or bundle.verified).items())
    return [
        f"- Bundle schema {SCHEMA_VERSION}; {', '.join(f'{name} {at}' for name, at in bundle.software.items())}",
        f"- Largest difference from the trained network, in standard deviations of the output: "
        f"{verified or 'not measured'}",
    ]
