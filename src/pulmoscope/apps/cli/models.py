"""``pulmoscope models``: list, show, check and calibrate bundles, and record figures in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulmoscope.apps.cli.console import progress_bar
from pulmoscope.apps.cli.console import show as show_table
from pulmoscope.apps.cli.data import Data, Labels, Layout
from pulmoscope.apps.cli.evaluate import Split, chosen, labels_of, tell_left_out
from pulmoscope.apps.cli.model_facts import data_lines, figure_lines

if TYPE_CHECKING:
    from pulmoscope.preprocess.ct import CtPreprocess
    from pulmoscope.preprocess.ct_standard import Standardisation
    from pulmoscope.preprocess.kinds import Preprocess
    from pulmoscope.runtime.bundle import Bundle, Contents, Thresholds
    from pulmoscope.runtime.severity_bundle import SeverityBundle
    from pulmoscope.runtime.study_bundle import StudyBundle

app = typer.Typer(help="List, show, check and calibrate models.", no_args_is_help=True)

LUNGS, VIEW = "xray-lungs", "xray-view"

Name = Annotated[
    str, typer.Argument(help="A built-in model's name, or a bundle's folder.", show_default=False)
]


@app.command("list")
def list_models() -> None:
    """The models that come with Pulmoscope."""
    from rich.table import Table

    from pulmoscope.runtime.any_bundle import load_any
    from pulmoscope.runtime.bundle import built_in

    if not built_in():
        typer.echo("No built-in models.")
        return
    table = Table("name", "version", "classes", "MiB", "figures")
    for name in built_in():
        bundle = load_any(name)
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


@app.command("show")
def show(model: Name) -> None:
    """What goes into a model and comes out, how it was calibrated and measured, and its card."""
    from pulmoscope.runtime.any_bundle import load_any
    from pulmoscope.runtime.bundle import built_in_lung_finder, built_in_view_network

    if model in (LUNGS, VIEW):
        folder = built_in_lung_finder() if model == LUNGS else built_in_view_network()
        typer.echo((folder / "MODEL_CARD.md").read_text(encoding="utf-8"))
        return
    bundle = load_any(model)
    calibration, thresholds = bundle.calibration, bundle.thresholds
    lines = {
        "name": f"{bundle.name} {bundle.version}",
        "sha256": bundle.sha256,
        "modality": bundle.modality,
        "classes": ", ".join(bundle.classes),
        "input": _input(bundle.preprocess),
        **_levels(bundle),
        "calibration": f"temperature {calibration.temperature:g}"
        + (f", fitted on {calibration.fitted_on}" if calibration.fitted_on else ""),
        "referred": _referred(thresholds),
        **_unproven(bundle),
        "files": ", ".join(bundle.files),
        "size": f"{_size_mib(bundle):.1f} MiB",
    }
    for name, value in lines.items():
        typer.echo(f"{name:<12} {value}")
    for line in (*figure_lines(bundle.metrics), *data_lines(bundle.training_data)):
        typer.echo(line)
    card = bundle.folder / "MODEL_CARD.md"
    if card.is_file():
        typer.echo("\n" + card.read_text(encoding="utf-8"))


@app.command("check")
def check(model: Name) -> None:
    """Verify a bundle: every file by its checksum, its contract, and that its networks answer as it says."""
    from pulmoscope.core.errors import BundleError
    from pulmoscope.runtime.any_bundle import load_any
    from pulmoscope.runtime.severity_bundle import SeverityBundle
    from pulmoscope.runtime.study_bundle import StudyBundle

    bundle = load_any(model)
    if isinstance(bundle, SeverityBundle):
        answers, fit = _answers_severity(bundle)
    else:
        answers, fit = _answers_study(bundle) if isinstance(bundle, StudyBundle) else _answers(bundle)
    for name, classes in answers.items():
        if classes != len(bundle.classes):
            raise BundleError(f"{model}: {len(bundle.classes)} classes, but {name} gives {classes}")
    if not fit:
        raise BundleError(f"{model}: the network's gradients do not fit its features and classes")
    typer.echo(f"{model}: {bundle.name} {bundle.version} is whole, {len(bundle.files)} files verified")


def _answers(bundle: Bundle) -> tuple[dict[str, int], bool]:
    """How many classes the network gives for a black image, and whether its gradients fit its features."""
    import numpy as np

    from pulmoscope.runtime.model import Model

    seen = bundle.preprocess
    said = Model(bundle).predict(np.zeros((1, seen.channels, seen.size, seen.size), dtype=np.float32))
    fit = said.gradients.shape == (1, len(bundle.classes), said.features.shape[1])
    return {"the network": said.probabilities.shape[1]}, fit


def _answers_study(bundle: StudyBundle) -> tuple[dict[str, int], bool]:
    """The same of every network of three levels, for a study of one black slice."""
    import numpy as np

    from pulmoscope.runtime.three_level import ThreeLevelModel

    opened = ThreeLevelModel(bundle)
    black = np.zeros((1, bundle.preprocess.size, bundle.preprocess.size), dtype=np.uint8)
    said = opened.slices(black)
    classes = said.probabilities.shape[1]
    if classes != len(bundle.classes):  # the next networks would not even take it
        return {"slice.onnx": classes}, True
    patient = opened.predict(black)
    answers = {f"{name}.onnx": len(shares) for name, shares in patient.patient.items()}
    fit = all(
        said.gradients[stage].shape == (1, classes, maps.shape[1]) for stage, maps in said.features.items()
    )
    return answers | {"ensemble.onnx": len(patient.ensemble)}, fit


def _answers_severity(bundle: SeverityBundle) -> tuple[dict[str, int], bool]:
    """The same of the networks that grade severity, for a study of one black slice."""
    import numpy as np

    from pulmoscope.runtime.severity import SeverityModel
    from pulmoscope.runtime.severity_bundle import LEARNT

    opened = SeverityModel(bundle)
    black = np.zeros((1, bundle.preprocess.size, bundle.preprocess.size), dtype=np.float32)
    said = opened.slices(black)
    classes = said.probabilities.shape[1]
    if classes != len(bundle.classes):  # the next network would not even take it
        return {"model.onnx": classes}, True
    voted = opened.predict(black).patient
    fit = said.gradients.shape == (1, classes, said.features.shape[1])
    return {
        "model.onnx": classes,
        **{file: len(voted[name]) for name, file in LEARNT.items()},
    }, fit


@app.command("record")
def record(
    model: Annotated[Path, typer.Argument(help="A bundle's folder.", show_default=False)],
    metrics: Annotated[
        Path,
        typer.Option(
            help="The metrics.json of `evaluate`, the audit.json of `audit`, of this bundle, or the hospitals.json of "
            "`leave-out`, of this bundle or its recipe."
        ),
    ],
    as_: Annotated[
        str, typer.Option("--as", help="What the figures are called in the card, e.g. test or left-out.")
    ],
) -> None:
    """Add the figures of an evaluation, an audit or hospitals left out to a bundle and its model card."""
    import json

    from pulmoscope.core.errors import BundleError
    from pulmoscope.training.card import add_metrics

    try:
        found = json.loads(metrics.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{metrics}: is no JSON that can be read ({error})") from error
    bundle = add_metrics(model, as_, found)
    typer.echo(f"{model}: {as_} recorded, {len(bundle.metrics[as_]['figures'])} figures")


@app.command("calibrate")
def calibrate(
    model: Name,
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the new bundle.")],
    split: Split = "val",
    layout: Layout = None,
    labels: Labels = None,
    release: Annotated[
        str, typer.Option(help="Version of the new bundle; default: the old one and the data's checksum.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
) -> None:
    """Fit a model's temperature and its threshold of referral anew, e.g. on your own hospital's images.

    The network stays the same; figures of calibration that the card has are left out, as they are no longer true.
    """
    from pulmoscope.core.files import write_text
    from pulmoscope.pipeline.calibrate import calibrate as fit
    from pulmoscope.runtime.bundle import CARD
    from pulmoscope.runtime.model import Model
    from pulmoscope.training.card import model_card

    old = Model.load(model)
    table = chosen(data, layout, split, labels_of(old, labels))
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
    typer.echo(f"Model: {out} ({made.name} {made.version}, fitted on {made.calibration.fitted_on})")


def _input(seen: Preprocess | CtPreprocess | Standardisation) -> str:
    """What a network is given, in a line."""
    from pulmoscope.preprocess.ct import CtPreprocess
    from pulmoscope.preprocess.ct_standard import Standardisation
    from pulmoscope.preprocess.xray import XrayPreprocess

    if isinstance(seen, Standardisation):
        return (
            f"slices of 1 x {seen.size} x {seen.size}, region {seen.region}, outside {seen.outside}, about "
            f"{seen.slice_mm:g} mm apart, HU {seen.hu_low:g} to {seen.hu_high:g}, mean {seen.mean:g}, s.d. {seen.std:g}"
        )
    if isinstance(seen, CtPreprocess):
        means, spreads = (", ".join(f"{own:g}" for own in values) for values in (seen.mean, seen.std))
        return (
            f"slices of 3 x {seen.size} x {seen.size}, region {seen.region}, HU {seen.hu_low:g} to {seen.hu_high:g}, "
            f"mean {means}, s.d. {spreads}"
        )
    region = f"{seen.region} (hull)" if seen.hull else seen.region
    tone = f"contrast {seen.contrast}" if isinstance(seen, XrayPreprocess) else f"window {seen.window}"
    size = f"{seen.channels} x {seen.size} x {seen.size}"
    return f"{size}, region {region}, {tone}, mean {seen.mean:g}, s.d. {seen.std:g}"


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


def _unproven(bundle: Contents) -> dict[str, str]:
    """Why all answers of a model are referred; nothing where it reports some."""
    from pulmoscope.quality.unproven import limits_of
    from pulmoscope.runtime.bundle import Bundle

    limits = limits_of(bundle) if isinstance(bundle, Bundle) else ()
    return {"unproven": limits[0].message} if limits else {}


def _levels(bundle: Contents) -> dict[str, str]:
    """What a model of three levels, or of severity, is made of; nothing of others."""
    from pulmoscope.runtime.severity_bundle import SeverityBundle
    from pulmoscope.runtime.study_bundle import StudyBundle

    if isinstance(bundle, SeverityBundle):
        scored = "none" if bundle.anomaly is None else f"score above {bundle.anomaly['value']:.4g}"
        return {"patient": f"by {bundle.vote}", "imputer": bundle.imputer, "anomalies": scored}
    if not isinstance(bundle, StudyBundle):
        return {}
    return {
        "levels": f"slice; patient: {', '.join(bundle.patient)}; ensemble of {', '.join(bundle.ensemble)}"
    }


def _size_mib(bundle: Contents) -> float:
    return sum((bundle.folder / name).stat().st_size for name in bundle.files) / 2**20


def _headline(metrics: Mapping[str, Any]) -> str:
    """The accuracy on every set of images that it was recorded for, one a line."""
    return "\n".join(
        f"{name}: accuracy {found['figures']['accuracy']['value']:.3f}"
        for name, found in metrics.items()
        if "accuracy" in found["figures"]
    )
