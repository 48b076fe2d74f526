"""``pulmoscope evaluate``: predictions, figures with intervals, and a page."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulmoscope.apps.cli.console import progress_bar, show
from pulmoscope.apps.cli.data import load_data
from pulmoscope.apps.cli.diagnose import Runtime

if TYPE_CHECKING:
    from pulmoscope.datasets import SampleTable
    from pulmoscope.runtime.model import Model

ModelName = Annotated[str, typer.Argument(help="A built-in model's name, or a bundle's folder.")]
Data = Annotated[
    Path, typer.Option("--data", help="A data set: a folder in a known layout, or a manifest.csv.")
]
Split = Annotated[str, typer.Option(help="Which split; `all` takes every image.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]
Layout = Annotated[str | None, typer.Option(help="The data set's layout; default: recognised.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
WithRuntime = Annotated[Runtime, typer.Option(help="What runs the network.")]
Bootstrap = Annotated[int, typer.Option(min=0, help="Resamples for the 95 % intervals; 0: none.")]
Force = Annotated[bool, typer.Option("--force", help="Replace results that are already there.")]

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


def command(
    model: ModelName,
    data: Data,
    out: Out,
    split: Split = "test",
    layout: Layout = None,
    runtime: WithRuntime = Runtime.AUTO,
    device: Device = "auto",
    bootstrap: Bootstrap = 1000,
    force: Force = False,
) -> None:
    """Evaluate a model on labelled images, or on labelled CT studies.

    Writes predictions.csv, metrics.json, pictures, report.html, and worst.html with the worst answers explained. A
    model of three levels on studies writes slices.csv, classifiers.csv and tsne.csv instead of worst.html; a model of
    slices on studies slices.csv and slices.json: how well it tells infected from clean slices within each patient.
    """
    from pulmoscope.runtime.study_bundle import judges_studies

    if judges_studies(model):
        _evaluate_studies(model, data, out, (split, layout), (runtime, device), bootstrap, force)
        return
    from pulmoscope.datasets.studies import holds_studies
    from pulmoscope.pipeline.evaluate import evaluate
    from pulmoscope.runtime.model import Model

    table = chosen(data, layout, split)
    opened = Model.load(model, runtime.value, device)
    if opened.bundle.modality == "CT" and holds_studies(table):
        _evaluate_slices(opened, table, out, split, bootstrap, force)
        return
    with progress_bar("Evaluating") as progress:
        found = evaluate(
            opened,
            table,
            out,
            split=split,
            bootstrap=bootstrap,
            command=shlex.join(["pulmoscope", *sys.argv[1:]]),
            force=force,
            progress=progress,
        )
    tell_failures([failure["reason"] for failure in found["data"]["failures"]])
    _tell(found)
    typer.echo(f"Report: {out / 'report.html'}")


def _evaluate_slices(
    model: Model, table: SampleTable, out: Path, split: str, bootstrap: int, force: bool
) -> None:
    """Evaluate a model of slices on studies, within each patient."""
    from rich import box
    from rich.table import Table

    from pulmoscope.pipeline.evaluate_slices import evaluate_slices

    command = shlex.join(["pulmoscope", *sys.argv[1:]])
    with progress_bar("Evaluating") as progress:
        found = evaluate_slices(
            model,
            table,
            out,
            split=split,
            bootstrap=bootstrap,
            command=command,
            force=force,
            progress=progress,
        )
    tell_failures([failure["reason"] for failure in found["data"]["failures"]])
    view = Table(
        box=box.SIMPLE_HEAD, title=f"{model.bundle.name}: infected against clean slices of one patient"
    )
    for name in ("patient", "label", "predicted", "judged", "infected", "AUROC", "95 % interval"):
        view.add_column(name, justify="left" if name in ("patient", "label", "predicted") else "right")
    for own in found["patients"]:
        known = "-" if own["infected"] is None else str(own["infected"])
        called = f"{own['predicted']} ({own['decision']})"
        view.add_row(own["patient"], own["label"], called, str(own["judged"]), known, *figure(own["auroc"]))
    show(view)
    _tell_synthetic(found)
    typer.echo(f"Figures: {out / 'slices.json'}")


def _evaluate_studies(
    model: str,
    data: Path,
    out: Path,
    which: tuple[str, str | None],
    runs: tuple[Runtime, str],
    bootstrap: int,
    force: bool,
) -> None:
    """Evaluate a model of three levels.

    Args:
        which: split and layout.
        runs: runtime and device.
    """
    from pulmoscope.pipeline.evaluate_studies import evaluate_studies
    from pulmoscope.runtime.three_level import ThreeLevelModel

    split, layout = which
    table = chosen(data, layout, split)
    opened = ThreeLevelModel.load(model, runs[0].value, runs[1])
    with progress_bar("Evaluating") as progress:
        found = evaluate_studies(
            opened,
            table,
            out,
            split=split,
            bootstrap=bootstrap,
            command=shlex.join(["pulmoscope", *sys.argv[1:]]),
            force=force,
            progress=progress,
        )
    tell_failures([failure["reason"] for failure in found["data"]["failures"]])
    _tell_levels(found)
    typer.echo(f"Report: {out / 'report.html'}")


def _tell_levels(found: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    view = Table(
        box=box.SIMPLE_HEAD, title=f"{found['model']['name']} on {found['data']['predicted']} studies"
    )
    for name in ("", "images", "accuracy", "95 % interval"):
        view.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, own in found["levels"].items():
        if own is not None:
            view.add_row(name, str(own["images"]), *figure(own["scores"]["accuracy"]))
    show(view)
    _tell_synthetic(found)


def _tell_synthetic(found: Mapping[str, Any]) -> None:
    if any(found["synthetic"].values()):
        typer.echo("Synthetic: the figures are of drawn studies and say nothing about patients.")


def chosen(data: Path, layout: str | None, split: str) -> SampleTable:
    """The data set's split, or all of it; its warnings go to stderr."""
    table = load_data(data, layout)
    return table if split == "all" else table.split(split)


def tell_failures(reasons: Sequence[str]) -> None:
    """One line on stderr for each of the first files without a prediction."""
    for reason in reasons[:_SHOWN_FAILURES]:
        typer.echo(f"pulmoscope: left out: {reason}", err=True)
    if len(reasons) > _SHOWN_FAILURES:
        typer.echo(f"pulmoscope: left out: {len(reasons) - _SHOWN_FAILURES} more files", err=True)


def figure(estimate: Mapping[str, Any]) -> tuple[str, str]:
    """An estimate and its interval as text."""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    return "-" if value is None else f"{value:.3f}", "" if low is None else f"{low:.3f}–{high:.3f}"


def _tell(found: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    view = Table(
        box=box.SIMPLE_HEAD, title=f"{found['model']['name']} on {found['data']['predicted']} images"
    )
    for name in ("", "value", "95 % interval"):
        view.add_column(name, justify="right" if name else "left", no_wrap=True)
    if found["overall"] is not None:
        for key, name in _ROWS.items():
            view.add_row(name, *figure(found["overall"]["scores"][key]))
    if (pair := found["pairwise"]) is not None:
        name = f"{pair['positive']} against {pair['negative']}"
        view.add_row(f"{name}: AUROC", *figure(pair["scores"]["macro_auroc"]))
        view.add_row(f"{name}: accuracy", *figure(pair["scores"]["accuracy"]))
    if (referral := found["referral"]["overall"]) is not None:
        view.add_row("Reported, not referred", *figure(referral["reported"]))
        view.add_row("Accuracy of the reported", *figure(referral["accuracy_reported"]))
        view.add_row("Wrong answers that were referred", *figure(referral["wrong_referred"]))
    for row in found["outside_classes"]:
        for name, share in row["called"].items():
            view.add_row(f"{row['source']} {row['label']} called {name}", *figure(share))
    show(view)
