"""``pulmoscope evaluate``: predictions, figures with intervals, and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulmoscope.apps.cli.console import as_typed, progress_bar, show
from pulmoscope.apps.cli.data import load_data
from pulmoscope.apps.cli.options import (
    Bootstrap,
    DataOptions,
    Device,
    Force,
    On,
    Out,
    Runtime,
    WithRuntime,
    grouped,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pulmoscope.datasets import SampleTable
    from pulmoscope.datasets.labels import LabelMap
    from pulmoscope.runtime.model import Model

Evaluated = Annotated[
    str,
    typer.Argument(
        help="A built-in model's name, a bundle's folder, or `measure`: the measured severity of CT, without a model.",
    ),
]
OwnSplit = Annotated[
    str,
    typer.Option(
        help="Which split; `all` takes every image. Default: test; of `measure`, which has learnt nothing, all.",
        show_default=False,
    ),
]

_SHOWN_FAILURES = 10
_ROWS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "mcc": "MCC",
    "macro_f1": "Macro-F1",
    "macro_auroc": "AUROC, mean over classes",
    "calibration_error": "Calibration error",
    "brier": "Brier score",
}


@grouped
def command(
    model: Evaluated,
    data: DataOptions,
    out: Out,
    split: OwnSplit = "",
    runtime: WithRuntime = Runtime.AUTO,
    device: Device = "auto",
    bootstrap: Bootstrap = 1000,
    force: Force = False,
    on: On = "",
) -> None:
    """Evaluate a model on labelled images, or on labelled CT studies.

    Writes predictions.csv, metrics.json, pictures, report.html, and worst.html with the worst answers explained. A
    model of three levels or of severity, which predicts whole studies, writes slices.csv, classifiers.csv (of severity:
    the votes) and tsne.csv instead of worst.html; a model of slices on studies slices.csv and slices.json: how well it
    tells infected from clean slices within each patient. `measure` instead of a model's name compares what is measured
    on CT studies with masks of their lungs and lesions: measure.json, patients.csv, slices.csv, report.html with a
    Bland-Altman plot.
    """
    from pulmoscope.core.errors import PulmoscopeError
    from pulmoscope.pipeline.api import evaluate
    from pulmoscope.pipeline.truth.evaluate import MEASURE
    from pulmoscope.runtime.model import Model

    if model == MEASURE and on:
        raise PulmoscopeError("--on spreads tables of single images; masks are compared on one machine")
    if model == MEASURE:
        _evaluate_measure(data, out, split or "all", bootstrap, force)
        return
    opened, split = Model.load(model, runtime.value, device), split or "test"
    table = chosen(data, split, opened)
    with _spread(on, opened, table, runtime, device) as more, progress_bar("Evaluating") as progress:
        report = evaluate(
            opened,
            table,
            out,
            split=split,
            bootstrap=bootstrap,
            command=as_typed(),
            force=force,
            progress=progress,
            **more,
        )
    tell_failures(report)
    if "patients" in report:
        _tell_slices(report)
    elif "levels" in report:
        _tell_levels(report)
    else:
        _tell(report)
    page = out / "report.html"
    typer.echo(f"Report: {page}" if page.exists() else f"Figures: {out / 'slices.json'}")


def _spread(
    on: str, model: Model, table: SampleTable, runtime: Runtime, device: str
) -> AbstractContextManager[Mapping[str, Any]]:
    """What spreads the evaluation over the cluster that ``--on`` names; nothing where it names none."""
    if not on:
        return nullcontext({})
    from pulmoscope.apps.ray.tables import predicting

    return predicting(on, model, table, runtime.value, device)


def _evaluate_measure(data: DataOptions, out: Path, split: str, bootstrap: int, force: bool) -> None:
    from pulmoscope.core.errors import DatasetError
    from pulmoscope.pipeline.truth.evaluate import evaluate_measure

    if data.labels is not None:
        raise DatasetError(f"{data.labels}: --labels is for models; the measure has no classes")
    table = load_data(data.data, data.layout)
    table = table if split == "all" else table.split(split)
    with progress_bar("Measuring") as progress:
        report = evaluate_measure(
            table,
            out,
            split=split,
            bootstrap=bootstrap,
            command=as_typed(),
            force=force,
            progress=progress,
        )
    tell_failures(report)
    _tell_measure(report)
    typer.echo(f"Report: {out / 'report.html'}")


def _tell_measure(report: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    view = Table(
        box=box.SIMPLE_HEAD, title=f"Measured beside the truth; studies: {report['data']['compared']}"
    )
    for name in ("", "value", "95 % interval"):
        view.add_column(name, justify="right" if name else "left", no_wrap=True)
    for part, name in (("lungs", "Lungs"), ("lesions", "Lesions")):
        if (own := report[part]) is not None:
            view.add_row(f"{name}, Dice", *figure(own["dice"]))
            view.add_row(f"{name}, surface distance, mm", *figure(own["surface_mm"]))
            view.add_row(f"{name}, 95 % Hausdorff distance, mm", *figure(own["hd95_mm"]))
            view.add_row(f"{name}, Dice of {own['slices']} slices", *figure(own["slice_dice"]))
    if (affected := report["percent_affected"]) is not None:
        view.add_row("Percent affected, mean absolute error", *figure(affected["mean_absolute_error"]))
        view.add_row("Percent affected, bias", *figure(affected["bias"]))
        for name, limit in (affected["limits_of_agreement"] or {}).items():
            if name != "bias":
                view.add_row(f"Percent affected, {name} limit of agreement", *figure(limit))
    if report["grades"] is not None:
        view.add_row("Grade as the truth's", *figure(report["grades"]["right"]))
    show(view)
    if report["synthetic"]:
        _tell_synthetic({"synthetic": {"evaluated": True}})


def _tell_slices(report: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    view = Table(
        box=box.SIMPLE_HEAD, title=f"{report['model']['name']}: infected against clean slices of one patient"
    )
    for name in (
        "patient",
        "label",
        "predicted",
        "judged",
        "ill",
        "AUROC",
        "95 % interval",
        "network",
        "dense",
        "lesion",
    ):
        words = name in ("patient", "label", "predicted")
        view.add_column(name, justify="left" if words else "right", no_wrap=not words)
    for patient in report["patients"]:
        known = "-" if patient["infected"] is None else str(patient["infected"])
        called = f"{patient['predicted']} ({patient['decision']})"
        parts = (figure(patient[name])[0] for name in ("network_auroc", "dense_auroc", "lesion_auroc"))
        view.add_row(
            patient["patient"],
            patient["label"],
            called,
            str(patient["judged"]),
            known,
            *figure(patient["auroc"]),
            *parts,
        )
    show(view)
    _tell_synthetic(report)


def _tell_levels(report: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    view = Table(
        box=box.SIMPLE_HEAD, title=f"{report['model']['name']} on {report['data']['predicted']} studies"
    )
    for name in ("", "images", "accuracy", "95 % interval", "MCC", "95 % interval"):
        view.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, scores in report["levels"].items():
        if scores is not None:
            cells = (figure(scores["scores"][key]) for key in ("accuracy", "mcc"))
            view.add_row(name, str(scores["images"]), *chain.from_iterable(cells))
    show(view)
    _tell_synthetic(report)


def _tell_synthetic(report: Mapping[str, Any]) -> None:
    if any(report["synthetic"].values()):
        typer.echo("Synthetic: the figures are of synthetic studies and say nothing about patients.")


def chosen(data: DataOptions, split: str, model: Model) -> SampleTable:
    """The data sets' split, or all of them, with labels in the model's words; warnings go to stderr."""
    table = in_words_of(model, data)
    return table if split == "all" else table.split(split)


def in_words_of(model: Model, data: DataOptions) -> SampleTable:
    """The data sets with labels in a model's words, see :func:`label_map`."""
    from pulmoscope.datasets.labels import mapped_labels

    return mapped_labels(load_data(data.data, data.layout), label_map(model, data.labels))


def label_map(model: Model, file: Path | None) -> LabelMap:
    """What labels are to a model: by a file of labels, else as in its training."""
    from pulmoscope.datasets.labels import read_labels

    return model.bundle.recipe.get("labels", {}) if file is None else read_labels(file)


def tell_failures(report: Mapping[str, Any]) -> None:
    """One line on stderr for each of the first files without a prediction, by the results of an evaluation or audit."""
    tell_left_out([f"{failure['file']}: {failure['reason']}" for failure in report["data"]["failures"]])


def tell_left_out(reasons: Sequence[str]) -> None:
    """One line on stderr for each of the first."""
    for reason in reasons[:_SHOWN_FAILURES]:
        typer.echo(f"pulmoscope: left out: {reason}", err=True)
    if len(reasons) > _SHOWN_FAILURES:
        typer.echo(f"pulmoscope: left out: {len(reasons) - _SHOWN_FAILURES} more files", err=True)


def figure(estimate: Mapping[str, Any]) -> tuple[str, str]:
    """An estimate and its interval as text."""
    from pulmoscope.report.html import interval

    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    return "-" if value is None else f"{value:.3f}", "" if low is None else interval(low, high)


def _tell(report: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    view = Table(
        box=box.SIMPLE_HEAD, title=f"{report['model']['name']} on {report['data']['predicted']} images"
    )
    for name in ("", "value", "95 % interval"):
        view.add_column(name, justify="right" if name else "left", no_wrap=True)
    if report["overall"] is not None:
        for key, name in _ROWS.items():
            view.add_row(name, *figure(report["overall"]["scores"][key]))
    if (pair := report["pairwise"]) is not None:
        name = f"{pair['positive']} against {pair['negative']}"
        view.add_row(f"{name}: AUROC", *figure(pair["scores"]["macro_auroc"]))
        view.add_row(f"{name}: accuracy", *figure(pair["scores"]["accuracy"]))
    if (referral := report["referral"]["overall"]) is not None:
        view.add_row("Reported, not referred", *figure(referral["reported"]))
        view.add_row("Accuracy of the reported", *figure(referral["accuracy_reported"]))
        view.add_row("Wrong answers that were referred", *figure(referral["wrong_referred"]))
    for row in report["outside_classes"]:
        for name, fraction in row["called"].items():
            view.add_row(f"{row['source']} {row['label']} called {name}", *figure(fraction))
    show(view)
    if used := report["data"]["used_for_calibration"]:
        typer.echo(
            f"{used} of these images were used to calibrate the model: the calibration error, the Brier score and the "
            "figures of referral are better here than on new images."
        )
