"""``pulmoscope compare``: two models over the same images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pulmoscope.apps.cli.console import as_typed, progress_bar, show
from pulmoscope.apps.cli.data import load_data
from pulmoscope.apps.cli.evaluate import figure, label_map
from pulmoscope.apps.cli.options import (
    Bootstrap,
    Device,
    Force,
    Labels,
    Layout,
    Out,
    Runtime,
    Split,
    WithRuntime,
)

Compared = Annotated[
    str,
    typer.Argument(
        help="With --data a model, a built-in one's name or a bundle's folder; without, a folder that `evaluate` has "
        "written.",
        show_default=False,
    ),
]
_ROWS = {
    "macro_auroc": "AUROC, mean over classes",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "mcc": "MCC",
}


def command(
    first: Compared,
    second: Compared,
    out: Out,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            help="A data set that both models are evaluated on first, into OUT/first and OUT/second; may be given "
            "several times.",
        ),
    ] = None,
    layout: Layout = None,
    labels: Labels = None,
    split: Split = "test",
    runtime: WithRuntime = Runtime.AUTO,
    device: Device = "auto",
    bootstrap: Bootstrap = 1000,
    force: Force = False,
) -> None:
    """Compare two models on the same images: models and their data, or what `evaluate` has written of each.

    Writes compare.html and compare.json: of every figure what the first model has more than the second, with a 95 %
    interval by paired bootstrap over patients; DeLong's test of their AUROCs; and McNemar's exact test of which answers
    are right. Models of different classes are compared by COVID against Normal alone.
    """
    from pulmoscope.core.errors import DatasetError
    from pulmoscope.pipeline.compare import PAGE, compare, compare_models

    options: dict[str, Any] = {"bootstrap": bootstrap, "command": as_typed(), "force": force}
    if not data:
        if layout or labels:
            raise DatasetError(
                f"{first}, {second}: --layout and --labels say how --data is read, which is not given"
            )
        result = compare(Path(first), Path(second), out, **options)
    else:
        from pulmoscope.datasets.labels import mapped_labels
        from pulmoscope.runtime.model import Model

        models = Model.load(first, runtime.value, device), Model.load(second, runtime.value, device)
        table = load_data(data, layout)
        table = table if split == "all" else table.split(split)
        one, other = (mapped_labels(table, label_map(model, labels)) for model in models)
        with progress_bar("Evaluating both") as progress:
            result = compare_models(models, (one, other), out, split=split, progress=progress, **options)
    _tell(result)
    typer.echo(f"Comparison: {out / PAGE}")


def _tell(result: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    names = {side: f"{result[side]['name']} {result[side]['version']}" for side in ("first", "second")}
    data, classes = result["data"], result["compared"]["classes"]
    view = Table(
        box=box.SIMPLE_HEAD,
        title=f"A: {names['first']}, B: {names['second']}, on {data['images']} images of {', '.join(classes)}",
    )
    for name in ("", "A", "B", "A − B", "95 % interval"):
        view.add_column(name, justify="right" if name else "left", no_wrap=True)
    for key, title in _ROWS.items():
        view.add_row(title, *_cells(result["figures"][key]))
    # Of two classes each against the rest is the same, and the pair once more.
    several = len(classes) > 2
    for label, held in result["by_class"].items():
        view.add_row(f"{label}: Sensitivity", *_cells(held["sensitivity"]))
        if several:
            view.add_row(f"{label}: AUROC against the rest", *_cells(held["auroc"]))
    if several and (pair := result["pair"]) is not None:
        view.add_row(f"AUROC, {pair['positive']} against {pair['negative']}", *_cells(pair["auroc"]))
    show(view)
    _tell_delong(result)
    _tell_left_out(result["compared"])
    test = result["mcnemar"]
    typer.echo(
        f"McNemar's exact test: only A is right about {test['first_only']} patients, only B about "
        f"{test['second_only']} (an image whose patient is unknown counts as one); p = {test['p_value']:.3g}"
    )
    for side, name in names.items():
        if used := result[side]["used_for_calibration"]:
            typer.echo(f"{used} of the images were used to calibrate {name}.")
        if homes := [home for home, learnt in result[side]["learnt_from"].items() if learnt]:
            typer.echo(f"{name} has learnt from {', '.join(homes)}, where some of these images are from.")
    typer.echo(result["conclusion"]["sentence"])


def _tell_delong(result: Mapping[str, Any]) -> None:
    """DeLong's test of the pair, or of each class where there is no pair."""
    pair = result["pair"]
    tests = (
        {label: held["delong"] for label, held in result["by_class"].items()}
        if pair is None
        else {f"{pair['positive']} against {pair['negative']}": pair["delong"]}
    )
    for what, test in tests.items():
        if test is not None and test["z"] is not None:
            typer.echo(
                f"DeLong's test of the AUROC, {what}: A − B from {test['low']:.3f} to {test['high']:.3f} (95 %), "
                f"z = {test['z']:.2f}, p = {test['p_value']:.3g}"
            )
    if several := result["data"]["several"]:
        typer.echo(
            f"{several} patients have several images, which DeLong's test takes for independent: go by the bootstrap."
        )


def _tell_left_out(compared: Mapping[str, Any]) -> None:
    for side, key in (("A", "only_first"), ("B", "only_second")):
        if compared[key]:
            typer.echo(f"Not compared, as only {side} knows it: {', '.join(compared[key])}")
    for row in compared["labels_differ"]:
        typer.echo(
            f"Left out: {row['images']} images that are {row['first'] or '(no label)'} to A and "
            f"{row['second'] or '(no label)'} to B"
        )


def _cells(held: Mapping[str, Any]) -> tuple[str, ...]:
    values = ("–" if held[side] is None else f"{held[side]:.3f}" for side in ("first", "second"))
    gap = held["difference"]
    difference, interval = figure(gap)
    return (
        *values,
        f"+{difference}" if (gap["value"] or 0) > 0 else difference,
        interval.replace("–", " to "),
    )
