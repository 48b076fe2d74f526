"""The data set that a command was given: read under a bar, its warnings on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pulmoscope.apps.cli.console import progress_bar

if TYPE_CHECKING:
    from pulmoscope.datasets import SampleTable
    from pulmoscope.training.recipe import Recipe


Data = Annotated[
    list[Path],
    typer.Option(
        "--data",
        help="A data set: a folder in a known layout, or a manifest.csv; may be given several times.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", help="A CSV file `label,class`: what the labels of the data are to the model."),
]
Layout = Annotated[str | None, typer.Option(help="The data set's layout; default: recognised.")]


def load_data(data: Sequence[Path], layout: str | None = None) -> SampleTable:
    """Read data sets as one; the bar moves where splits are drawn (errors: see :func:`pulmoscope.datasets.several`)."""
    from pulmoscope.datasets.several import load_all

    with progress_bar("Drawing splits") as progress:
        table = load_all(data, layout, progress)
    _tell(data, table.warnings)
    return table


def load_prepared(recipe: Recipe, data: Sequence[Path], layout: str | None = None) -> SampleTable:
    """Read data sets as one, in a recipe's words; what that leaves out is told, too (errors: see `prepared`)."""
    from pulmoscope.datasets.hospitals import check_hospitals
    from pulmoscope.training.frames import prepared

    table = load_data(data, layout)
    check_hospitals(table, recipe.left_out)
    made = prepared(recipe, table)
    _tell(data, made.warnings[len(table.warnings) :])
    return made


def _tell(data: Sequence[Path], warnings: Sequence[str]) -> None:
    for warning in warnings:
        typer.echo(f"pulmoscope: {', '.join(map(str, data))}: {warning}", err=True)
