"""Experiments with recipes that grade studies: ``ablate`` and ``stress``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pulmoscope.apps.cli.console import as_typed, show
from pulmoscope.apps.cli.data import chosen_recipe, load_data
from pulmoscope.apps.cli.options import Bootstrap, Changes, Data, Device, Force, Layout, Out, Resume

_LEVELS = ("slice", "majority", "mean", "attention", "regression")  # of runtime.votes, which loads numpy


def ablate_command(
    recipe: Annotated[
        str, typer.Argument(help="A recipe that grades studies; see `pulmoscope recipes list`.")
    ],
    data: Data,
    out: Out,
    set_: Changes = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds, patients kept whole.")] = 4,
    bootstrap: Bootstrap = 1000,
    resume: Resume = False,
    force: Force = False,
    layout: Layout = None,
    device: Device = "auto",
) -> None:
    """Compare losses, with and without quality control: each cross-validated on the same folds.

    {no quality control, the recipe's imputer} x {cross-entropy, LDAM, class-balanced, LDAM and class-balanced}; writes
    ablation.json, ablation.csv and ablation.png.
    """
    from pulmoscope.core.errors import RecipeError
    from pulmoscope.recipes.published import grading
    from pulmoscope.recipes.recipe import Recipe, expected

    if recipe not in grading():
        raise RecipeError(f"{recipe}: must be a recipe that grades studies ({', '.join(grading())})")
    chosen = expected(chosen_recipe(recipe, set_), Recipe)
    from pulmoscope.training.experiments.ablation import ablate
    from pulmoscope.training.systems import Grades, Options

    options = Options(device, resume=resume, force=force)
    Grades.check_free(out / "none-ce", options, folds)
    system = Grades.of(chosen, [load_data(data, layout)], options)
    result = ablate(chosen, system.table, folds, out, system.fitted, bootstrap=bootstrap, command=as_typed())
    _tell("MCC", [(f"{row['imputer']}, {row['loss']}", row["mcc"]) for row in result["rows"]])
    _tell_synthetic(result)
    typer.echo(f"Table: {out / 'ablation.csv'}")


def stress_command(
    run: Annotated[Path, typer.Argument(help="The folder of a cross-validation (train … --folds).")],
    data: Data,
    out: Out,
    bootstrap: Bootstrap = 1000,
    force: Force = False,
    layout: Layout = None,
) -> None:
    """Damage held-out studies on purpose, fill them by every imputer and by none, and predict them again.

    10, 20 and 30 % of a study's slices, three sizes of damage; writes stress.json, stress.csv and pictures.
    """
    from pulmoscope.core.files import claim_folder
    from pulmoscope.training.experiments.stress import RESULT, stress

    claim_folder(out, RESULT, force)
    result = stress(run, load_data(data, layout), out, bootstrap=bootstrap, command=as_typed())
    levels = ("slice", "damaged", *_LEVELS[1:])
    _tell("MCC", [(f"{row['case']}, {row['imputer']}", row["mcc"]) for row in result["rows"]], levels)
    _tell_synthetic(result)
    typer.echo(f"Table: {out / 'stress.csv'}")


def _tell(title: str, rows: Sequence[tuple[str, Mapping[str, Any]]], levels: Sequence[str] = _LEVELS) -> None:
    from rich import box
    from rich.table import Table

    from pulmoscope.apps.cli.evaluate import figure

    view = Table(box=box.SIMPLE_HEAD, title=title)
    view.add_column("", no_wrap=True)
    for level in levels:
        view.add_column(level, justify="right", overflow="fold")
    for name, figures in rows:
        known = [("-", "") if figures[level] is None else figure(figures[level]) for level in levels]
        view.add_row(name, *(f"{value} ({apart})" if apart else value for value, apart in known))
    show(view)


def _tell_synthetic(result: Mapping[str, Any]) -> None:
    if result["synthetic"]:
        typer.echo("Synthetic: the figures are of synthetic studies and say nothing about patients.")
