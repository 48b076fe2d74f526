"""``pulmoscope recipes``: which published systems can be trained, and with what settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pulmoscope.recipes.recipe import Recipe
    from pulmoscope.recipes.severity import SeverityRecipe
    from pulmoscope.recipes.three_level import ThreeLevelRecipe

app = typer.Typer(help="List and show the recipes that `train` and `tune` take.", no_args_is_help=True)


@app.command("list")
def list_recipes() -> None:
    """Every recipe's name and title."""
    from pulmoscope.recipes.published import RECIPES, SEVERITY, THREE_LEVEL, xray_lungs, xray_view

    finder = xray_lungs.RECIPE
    titles = {name: recipe.title for name, recipe in RECIPES.items()}
    titles |= {name: levels.title for name, levels in THREE_LEVEL.items()}
    titles |= {name: severity.title for name, severity in SEVERITY.items()}
    titles[finder.name] = f"{finder.title}; recipes with region=lungs use it"
    titles[xray_view.RECIPE.name] = xray_view.RECIPE.title
    width = max(map(len, titles))
    for name, title in titles.items():
        typer.echo(f"{name:{width}}  {title}")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A recipe's name.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting first, key=value.")
    ] = None,
) -> None:
    """A recipe's source, how it deviates from it, and all settings as `--set` names them."""
    from pulmoscope.recipes import limits
    from pulmoscope.recipes.published import SEVERITY, THREE_LEVEL, as_run, find, xray_lungs, xray_view
    from pulmoscope.recipes.settings import apply
    from pulmoscope.recipes.severity import check as check_severity
    from pulmoscope.recipes.three_level import check

    if name == xray_lungs.RECIPE.name:
        _show_lung_finder(set_)
        return
    if name == xray_view.RECIPE.name:
        _show_view_network(set_)
        return
    if name in THREE_LEVEL:
        levels = apply(THREE_LEVEL[name], set_ or [])
        check(levels)
        _show_settings(levels, "")
        return
    if name in SEVERITY:
        severity = apply(SEVERITY[name], set_ or [])
        check_severity(severity)
        _show_settings(severity, "")
        return
    recipe = apply(find(name), set_ or [])
    limits.check(recipe)
    _show_settings(recipe, as_run(recipe))


def _show_settings(recipe: Recipe | ThreeLevelRecipe | SeverityRecipe, as_set: str) -> None:
    from pulmoscope.recipes.settings import as_text, leaves, to_plain

    typer.echo(f"{recipe.name}: {recipe.title}\n")
    typer.echo(f"Source      {recipe.paper}")
    if recipe.published:
        typer.echo("Published   " + ", ".join(f"{key} {value}" for key, value in recipe.published.items()))
    for heading, text in (("Deviations", recipe.deviations), ("As set", as_set)):
        if text:
            typer.echo(f"{heading:11} {text}")
    typer.echo("\nSettings:")
    plain = to_plain(recipe)
    for said in ("name", "title", "paper", "deviations", "published", "modality", "grid"):
        plain.pop(said, None)
    for path, value in leaves(plain):
        typer.echo(f"  {path}={as_text(value)}")
    _show_grid(recipe.grid)


def _show_grid(grid: Mapping[str, Sequence[object]]) -> None:
    typer.echo("\nGrid that `tune` tries:")
    for path, values in grid.items():
        typer.echo(f"  {path}: {', '.join(map(str, values))}")


def _show_view_network(set_: list[str] | None) -> None:
    from dataclasses import asdict

    from pulmoscope.recipes.published.xray_view import RECIPE, changed

    view = changed(RECIPE, set_ or [])
    typer.echo(f"{view.name}: {view.title}\n\nSettings:")
    for key, value in asdict(view).items():
        if isinstance(value, int | float | str) and key not in ("name", "title"):
            typer.echo(f"  {key}={value}")


def _show_lung_finder(set_: list[str] | None) -> None:
    from dataclasses import asdict

    from pulmoscope.recipes.published.xray_lungs import GRID, RECIPE, check
    from pulmoscope.recipes.settings import apply

    finder = apply(RECIPE, set_ or [])
    check(finder)
    typer.echo(f"{finder.name}: {finder.title}\n\nSettings:")
    for key, value in asdict(finder).items():
        if key not in ("name", "title"):
            typer.echo(f"  {key}={value}")
    _show_grid(GRID)
