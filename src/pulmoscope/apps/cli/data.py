"""The data set of a command: read under a bar, its warnings on stderr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pulmoscope.apps.cli.console import progress_bar

if TYPE_CHECKING:
    from pulmoscope.datasets import SampleTable
    from pulmoscope.recipes.recipe import Named
    from pulmoscope.training.systems import Told


def load_data(data: Sequence[Path], layout: str | None = None) -> SampleTable:
    """Read data sets as one; the bar moves where splits are made (errors: see :func:`pulmoscope.datasets.several`)."""
    from pulmoscope.datasets.several import load_all

    with progress_bar("Drawing splits") as progress:
        table = load_all(data, layout, progress)
    for warning in table.warnings:
        typer.echo(f"pulmoscope: {', '.join(map(str, data))}: {warning}", err=True)
    return table


def load_for(recipe: Named, data: Sequence[Path], layout: str | None = None) -> list[Any]:
    """The data sets that a recipe learns from: as one, or one by one; or tables of patients.

    Raises:
        RecipeError: a layout is given, and the recipe learns from tables of patients.
    """
    if recipe.tabular:
        from pulmoscope.core.errors import RecipeError

        if layout is not None:
            raise RecipeError(f"{recipe.name}: --layout can't be given; it learns from a table of values")
        table_of: Any = recipe
        return [table_of.patients_in(folder) for folder in data]
    if recipe.joins_data:
        return [load_data(data, layout)]
    return [load_data([folder], layout) for folder in data]


def chosen_recipe(
    name: str,
    changes: Sequence[str] | None,
    *,
    labels: Path | None = None,
    leave_out: Sequence[str] | None = None,
    options: Mapping[str, object] | None = None,
) -> Named:
    """A recipe with its settings, checked, and with what a command's other options change of it.

    Args:
        labels: a file that gives the labels instead of the recipe's.
        leave_out: hospitals that are left out besides the recipe's.
        options: the command's further options, by name; those that are set must make sense for the recipe.

    Raises:
        RecipeError: there is no such recipe or setting, a setting is beyond its limits, or an option makes no sense.
        DatasetError: the table of labels makes no sense.
    """
    from dataclasses import replace

    from pulmoscope.core.errors import RecipeError
    from pulmoscope.datasets.labels import read_labels
    from pulmoscope.recipes.published import find
    from pulmoscope.recipes.recipe import Named
    from pulmoscope.recipes.rules import check
    from pulmoscope.recipes.settings import apply

    recipe: Any = find(name, Named)
    refused, why = recipe.refused_options
    typed = {"--labels": labels, "--leave-out": leave_out, **(options or {})}
    if wrong := [option for option in refused if typed.get(option)]:
        raise RecipeError(f"{name}: {', '.join(wrong)} can't be given; {why}")
    recipe = apply(recipe, changes or [])
    if labels is not None:
        recipe = replace(recipe, labels=read_labels(labels))
    if leave_out:
        recipe = replace(recipe, left_out=tuple(dict.fromkeys((*recipe.left_out, *leave_out))))
    check(recipe)
    checked: Named = recipe
    return checked


def tell(messages: Told) -> None:
    """Warnings on standard error, then lines on standard output."""
    for warning in messages.warnings:
        typer.echo(f"pulmoscope: {warning}", err=True)
    for line in messages.lines:
        typer.echo(line)
