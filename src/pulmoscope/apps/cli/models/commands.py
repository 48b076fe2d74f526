"""``pulmoscope models``: list, show, check and calibrate bundles, and record figures in them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulmoscope.apps.cli.console import progress_bar
from pulmoscope.apps.cli.console import show as show_table
from pulmoscope.apps.cli.evaluate import chosen, tell_left_out
from pulmoscope.apps.cli.models.facts import audit_lines, data_lines, figure_lines, precision_line
from pulmoscope.apps.cli.options import DataOptions, Split, grouped

if TYPE_CHECKING:
    from pulmoscope.runtime.bundle import Bundle, Thresholds
    from pulmoscope.runtime.model import Model

app = typer.Typer(help="List, show, check and calibrate models.", no_args_is_help=True)

LUNGS, VIEW, SEVERITY = "xray-lungs", "xray-view", "xray-severity"


class HeatMap(StrEnum):
    """Kinds of heat maps, see docs/evidence.md."""

    GRAD_CAM = "grad-cam"
    GRAD_CAM_PLUS = "grad-cam++"
    LAYER_CAM = "layer-cam"
    CONTRAST_CAM = "contrast-cam"
    OCCLUSION = "occlusion"
    RISE = "rise"


Name = Annotated[
    str, typer.Argument(help="A built-in model's name, or a bundle's folder.", show_default=False)
]


@app.command("list")
def list_models() -> None:
    """The models that come with Pulmoscope."""
    from rich.table import Table

    from pulmoscope.runtime.bundle import built_in, load

    if not built_in():
        typer.echo("No built-in models.")
        return
    table = Table("name", "version", "classes", "MiB", "figures")
    for name in built_in():
        bundle = load(name)
        table.add_row(
            name,
            bundle.version,
            ", ".join(bundle.classes),
            f"{_size_mib(bundle):.1f}",
            _headline(bundle.metrics),
        )
    show_table(table)
    typer.echo(f"{LUNGS}: no model, but the lung finder that they use; `pulmoscope models show {LUNGS}`")
    typer.echo(f"{VIEW}: no model, but what says which pictures they refuse; `pulmoscope models show {VIEW}`")
    typer.echo(
        f"{SEVERITY}: how ill a radiograph is, from the features of a model; `pulmoscope models show {SEVERITY}`"
    )


@app.command("show")
def show(model: Name) -> None:
    """What goes into a model and comes out, how it was calibrated and measured, and its card."""
    from pulmoscope.runtime.bundle import built_in_lung_finder, built_in_view_network, load

    if model in (LUNGS, VIEW):
        folder = built_in_lung_finder() if model == LUNGS else built_in_view_network()
        typer.echo((folder / "MODEL_CARD.md").read_text(encoding="utf-8"))
        return
    if _is_severity(model):
        _show_severity(model)
        return
    bundle = load(model)
    calibration, thresholds = bundle.calibration, bundle.thresholds
    lines = {
        "name": f"{bundle.name} {bundle.version}",
        "sha256": bundle.sha256,
        "modality": bundle.modality,
        "classes": ", ".join(bundle.classes),
        "input": _input(bundle),
        **_levels(bundle),
        "precision": precision_line(bundle),
        "calibration": f"temperature {calibration.temperature:g}"
        + (f", fitted on {calibration.fitted_on}" if calibration.fitted_on else ""),
        "referred": _referred(thresholds),
        **_sets(bundle),
        **_unproven(bundle),
        "files": ", ".join(bundle.files),
        "size": f"{_size_mib(bundle):.1f} MiB",
    }
    for name, value in lines.items():
        typer.echo(f"{name:<12} {value}")
    facts = (audit_lines(bundle.metrics), figure_lines(bundle.metrics), data_lines(bundle.training_data))
    for line in (line for lines in facts for line in lines):
        typer.echo(line)
    card = bundle.folder / "MODEL_CARD.md"
    if card.is_file():
        typer.echo("\n" + card.read_text(encoding="utf-8"))


@app.command("check")
def check(model: Name) -> None:
    """Verify a bundle: every file by its checksum, its contract, and that its networks answer as it says."""
    from pulmoscope.core.errors import BundleError
    from pulmoscope.runtime.bundle import load
    from pulmoscope.runtime.model import Model

    if _is_severity(model):
        from pulmoscope.inference.xray_severity import SeverityReader

        reader = SeverityReader.open(model)
        reads, found = reader.open_features().bundle, reader.model
        typer.echo(
            f"{model}: {found.name} {found.version} is whole, and so is {reads.name} {reads.version}, "
            "whose features it reads"
        )
        return
    bundle = load(model)
    answers, is_fit = _black(Model(bundle))
    for name, classes in answers.items():
        if classes != len(bundle.classes):
            raise BundleError(f"{model}: {len(bundle.classes)} classes, but {name} gives {classes}")
    if not is_fit:
        raise BundleError(f"{model}: the network's gradients do not fit its features and classes")
    typer.echo(f"{model}: {bundle.name} {bundle.version} is whole, {len(bundle.files)} files verified")


def _is_severity(model: str) -> bool:
    """Whether this is a severity model of radiographs: the built-in one, or a run's folder."""
    from pulmoscope.runtime.xray_severity import MANIFEST

    return model == SEVERITY or (Path(model) / MANIFEST).is_file()


def _show_severity(model: str) -> None:
    """What a severity model reads, and its card, which has its figures."""
    from pulmoscope.runtime.xray_severity import CARD, load

    found = load(model)
    reads = found.features
    lines = {
        "name": f"{found.name} {found.version}",
        "sha256": found.identity["sha256"],
        "reads": f"the features of {reads['name']} {reads['version']} (network {reads['sha256']})",
    }
    for name, value in lines.items():
        typer.echo(f"{name:<12} {value}")
    typer.echo("\n" + (found.folder / CARD).read_text(encoding="utf-8"))


def _black(opened: Model) -> tuple[dict[str, int], bool]:
    """How many classes each network gives for a black image, or for the study of it, and whether gradients fit."""
    import numpy as np

    bundle = opened.bundle
    seen = bundle.preprocess
    black = np.zeros((1, seen.channels, seen.size, seen.size), dtype=np.float32)
    outputs = opened.predict(black)
    classes = outputs.probabilities.shape[1]
    answers = {bundle.network: classes}
    maps = [(outputs.features, outputs.gradients), *outputs.stages.values()]
    is_fit = all(gradients.shape == (1, classes, features.shape[1]) for features, gradients in maps)
    if bundle.patient is not None and classes == len(bundle.classes):  # else a vote would not even take it
        patient = opened.patient(outputs.probabilities, opened.vectors(outputs, black[:, 0]))
        answers |= {vote: len(features) for vote, features in patient.votes.items()}
        answers["the patient level"] = len(patient.probabilities)
    return answers, is_fit


@app.command("record")
def record(
    model: Annotated[Path, typer.Argument(help="A bundle's folder.", show_default=False)],
    metrics: Annotated[
        Path,
        typer.Option(
            help="The metrics.json or slices.json of `evaluate`, the audit.json of `audit`, of this bundle, or the "
            "hospitals.json of `leave-out`, of this bundle or its recipe."
        ),
    ],
    as_: Annotated[
        str, typer.Option("--as", help="What the figures are called in the card, e.g. test or left-out.")
    ],
) -> None:
    """Add the figures of an evaluation, an audit or hospitals left out to a bundle and its model card."""
    import json

    from pulmoscope.core.errors import BundleError
    from pulmoscope.training.card.record import add_metrics

    try:
        report = json.loads(metrics.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{metrics}: is no JSON that can be read ({error})") from error
    bundle = add_metrics(model, as_, report)
    typer.echo(f"{model}: {as_} recorded, {len(bundle.metrics[as_]['figures'])} figures")


@app.command("calibrate")
@grouped
def calibrate(
    model: Name,
    data: DataOptions,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the new bundle.")],
    split: Split = "val",
    release: Annotated[
        str, typer.Option(help="Version of the new bundle; default: the old one and the data's checksum.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
) -> None:
    """Fit a model to labelled images of your own hospital: probabilities, referral, classes that can't be ruled out.

    25 images of two or more classes are enough to begin, 100 are recommended; thresholds of referral are fitted from
    50 on. The network stays the same; figures of calibration that the card has are left out, as they are no longer
    true.
    """
    from pulmoscope.core.files import write_text
    from pulmoscope.pipeline.calibrate import calibrate as fit
    from pulmoscope.runtime.bundle import CARD
    from pulmoscope.runtime.model import Model
    from pulmoscope.training.card.text import model_card

    old = Model.load(model)
    table = chosen(data, split, old)
    with progress_bar("Calibrating") as progress:
        made, failures = fit(old, table, out, split=split, version=release, force=force, progress=progress)
    write_text(out / CARD, model_card(made))
    tell_left_out([f"{failure.file}: {failure.reason}" for failure in failures])
    before, after = old.bundle.thresholds, made.thresholds
    for name, one, other in (
        ("temperature", old.bundle.calibration.temperature, made.calibration.temperature),
        ("referred below", before.confidence, after.confidence),
        *(
            (f"  {label}", before.of(label), after.of(label))
            for label in made.classes
            if label in {*before.by_class, *after.by_class}
        ),
    ):
        typer.echo(f"{name:<15} {one:.3f} -> {other:.3f}")
    _tell_fitted(made)
    typer.echo(f"Model: {out} ({made.name} {made.version}, fitted on {made.calibration.fitted_on})")


def _tell_fitted(made: Bundle) -> None:
    """What a calibration has fitted besides, and what it is worth."""
    from pulmoscope.pipeline.calibrate import expectation

    for label, value in zip(made.classes, made.calibration.bias, strict=False):  # empty where there is none
        typer.echo(f"{f'bias {label}':<15} {value:+.3f}")
    if made.conformal is None:
        return
    least = ", ".join(f"{label} from {value:.3f}" for label, value in made.conformal.by_class.items())
    typer.echo(f"not ruled out   {least}")
    missing = [label for label, images in made.conformal.images.items() if not images]
    if missing:
        typer.echo(f"No image of {', '.join(missing)}: how probable that is here was not fitted.")
    typer.echo(expectation(sum(made.conformal.images.values())))


@app.command("guard")
@grouped
def guard(
    model: Name,
    data: DataOptions,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the new bundle.")],
    release: Annotated[str, typer.Option(help="Version of the new bundle; default: the old one.")] = "",
    maps: Annotated[
        HeatMap | None, typer.Option(help="Which heat maps explain its answers; default: as before.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
) -> None:
    """Give a model of X-rays from before 2.1 what it needs to know when not to answer, from its own training data.

    Sets of classes that can't be ruled out, the hospitals that it knows, and where lungs are unlike normal ones. The
    networks, probabilities and thresholds stay the same. Training does this by itself.
    """
    from pulmoscope.core.files import write_text
    from pulmoscope.pipeline.guard import guard as make
    from pulmoscope.runtime.bundle import CARD
    from pulmoscope.runtime.maps import Maps
    from pulmoscope.runtime.model import Model
    from pulmoscope.training.card.text import model_card

    old = Model.load(model)
    table = chosen(data, "all", old)
    with progress_bar("Looking") as progress:
        kind = None if maps is None else Maps(maps.value)
        made = make(old, table, out, version=release, maps=kind, force=force, progress=progress)
    write_text(out / CARD, model_card(made))
    typer.echo(f"Model: {out} ({made.name} {made.version}), {', '.join(made.files)}")


def _input(bundle: Bundle) -> str:
    """What the image network is given, in a line."""
    from dataclasses import asdict

    seen = bundle.preprocess
    settings = {name: value for name, value in asdict(seen).items() if name not in ("size", "channels")}
    values = ", ".join(f"{name.replace('_', ' ')} {_setting(value)}" for name, value in settings.items())
    return f"{seen.channels} x {seen.size} x {seen.size}, {values}"


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return "/".join(map(_setting, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _referred(thresholds: Thresholds) -> str:
    """What is referred instead of reported, in a line."""
    by_class = ", ".join(f"{name} {least:g}" for name, least in thresholds.by_class.items())
    parts = [
        f"below a probability of {thresholds.confidence:g}" + (f" (by class: {by_class})" * bool(by_class))
    ]
    if thresholds.distance is not None:
        parts.append(f"beyond a distance of {thresholds.distance:g}")
    if thresholds.normal_distance is not None:
        parts.append(f"negative, but beyond a distance of {thresholds.normal_distance:g} from normal lungs")
    return "; ".join(parts)


def _sets(bundle: Bundle) -> dict[str, str]:
    """From which probability on a class can't be ruled out, in a line; nothing where the model has no such sets."""
    conformal = bundle.conformal
    if conformal is None:
        return {}
    least = ", ".join(f"{name} {value:.3f}" for name, value in conformal.by_class.items())
    held = f"which holds the true one in {conformal.coverage:.0%} of images like {conformal.fitted_on}"
    return {"sets": f"classes from {least} on can't be ruled out, {held}"}


def _unproven(bundle: Bundle) -> dict[str, str]:
    """Why all answers of a model are referred; nothing where it reports some."""
    from pulmoscope.quality.unproven import limits_of

    limits = limits_of(bundle)
    return {"unproven": limits[0].message} if limits else {}


def _levels(bundle: Bundle) -> dict[str, str]:
    """How a model of studies comes from slices to the patient; nothing of others."""
    level = bundle.patient
    if level is None:
        return {}
    ensemble = f"; ensemble of {', '.join(level.ensemble)}" if level.ensemble else ""
    lines = {"patient": f"by {level.decides}; votes: {', '.join(level.votes)}{ensemble}"}
    if bundle.imputer:
        lines["imputer"] = bundle.imputer
        lines["anomalies"] = (
            "none" if bundle.anomaly is None else f"score above {bundle.anomaly['value']:.4g}"
        )
    return lines


def _size_mib(bundle: Bundle) -> float:
    return sum((bundle.folder / name).stat().st_size for name in bundle.files) / 2**20


def _headline(metrics: Mapping[str, Any]) -> str:
    """The accuracy on every set of images that it was recorded for, one a line."""
    return "\n".join(
        f"{name}: accuracy {record['figures']['accuracy']['value']:.3f}"
        for name, record in metrics.items()
        if "accuracy" in record["figures"]
    )
