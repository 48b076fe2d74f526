"""``pulmoscope compare``: two models over the same images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pulmoscope.apps.cli.console import as_typed, show
from pulmoscope.apps.cli.evaluate import figure
from pulmoscope.apps.cli.options import Bootstrap, Force, Out

Evaluation = Annotated[Path, typer.Argument(help="A folder that `evaluate` has written.", show_default=False)]
_ROWS = {
    "macro_auroc": "AUROC, mean over classes",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "mcc": "MCC",
}
_BY_CLASS = {"sensitivity": "Sensitivity", "auroc": "AUROC against the rest"}


def command(
    evaluation_a: Evaluation,
    evaluation_b: Evaluation,
    out: Out,
    bootstrap: Bootstrap = 1000,
    force: Force = False,
) -> None:
    """Compare two models that `evaluate` has asked about the same images.

    Writes compare.json: of every figure what the first model has more than the second, with a 95 % interval by paired
    bootstrap over patients, and McNemar's exact test of which answers are right.
    """
    from pulmoscope.pipeline.compare import RESULT, compare

    result = compare(evaluation_a, evaluation_b, out, bootstrap=bootstrap, command=as_typed(), force=force)
    _tell(result)
    typer.echo(f"Comparison: {out / RESULT}")


def _tell(result: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    names = {side: f"{result[side]['name']} {result[side]['version']}" for side in ("first", "second")}
    data = result["data"]
    view = Table(
        box=box.SIMPLE_HEAD,
        title=f"A: {names['first']}, B: {names['second']}, on {data['images']} images",
    )
    for name in ("", "A", "B", "A − B", "95 % interval"):
        view.add_column(name, justify="right" if name else "left", no_wrap=True)
    for key, title in _ROWS.items():
        view.add_row(title, *_cells(result["figures"][key]))
    for label, held in result["by_class"].items():
        for key, title in _BY_CLASS.items():
            view.add_row(f"{label}: {title}", *_cells(held[key]))
    show(view)
    test = result["mcnemar"]
    typer.echo(
        f"McNemar's exact test: only A is right about {test['first_only']} patients, only B about "
        f"{test['second_only']} (an image whose patient is unknown counts as one); p = {test['p_value']:.3g}"
    )
    for side, name in names.items():
        if used := result[side]["used_for_calibration"]:
            typer.echo(f"{used} of the images were used to calibrate {name}.")
    typer.echo(result["conclusion"]["sentence"])


def _cells(held: Mapping[str, Any]) -> tuple[str, ...]:
    values = ("–" if held[side] is None else f"{held[side]:.3f}" for side in ("first", "second"))
    gap = held["difference"]
    difference, interval = figure(gap)
    return (
        *values,
        f"+{difference}" if (gap["value"] or 0) > 0 else difference,
        interval.replace("–", " to "),
    )
