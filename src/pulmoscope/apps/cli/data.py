"""The data set that a command was given: read under a bar, its warnings on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pulmoscope.apps.cli.console import progress_bar

if TYPE_CHECKING:
    from pulmoscope.datasets import SampleTable
    from pulmoscope.recipes.recipe import Recipe


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
    for warning in table.warnings:
        typer.echo(f"pulmoscope: {', '.join(map(str, data))}: {warning}", err=True)
    return table


def image_recipe(name: str, set_: Sequence[str], labels: Path | None) -> Recipe:
    """A recipe of single images with its settings, and with the labels that a file gives in place of its own.

    Raises:
        RecipeError: there is no such recipe or setting, or a setting is beyond its limits.
        DatasetError: the table of labels makes no sense.
    """
    from dataclasses import replace

    from pulmoscope.datasets.labels import read_labels
    from pulmoscope.recipes.limits import check
    from pulmoscope.recipes.published import find
    from pulmoscope.recipes.settings import apply

    recipe = apply(find(name), set_)
    if labels is not None:
        recipe = replace(recipe, labels=read_labels(labels))
    check(recipe)
    return recipe


def settle(recipe: Recipe, table: SampleTable) -> tuple[Recipe, SampleTable]:
    """A recipe and data made for one another, as training has them; says what is renamed, and what is left out."""
    from pulmoscope.datasets.labels import renamed
    from pulmoscope.training.loop import settled

    if line := renamed(table, recipe.labels):
        typer.echo(f"labels: {line}")
    found, known = settled(recipe, table)
    for warning in known.warnings[len(table.warnings) :]:
        typer.echo(f"pulmoscope: {warning}", err=True)
    return found, known
