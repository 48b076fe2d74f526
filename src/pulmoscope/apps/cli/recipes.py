"""``pulmoscope recipes``: which published systems can be trained, and with what settings."""

from __future__ import annotations

import typer

from pulmoscope.apps.cli.data import chosen_recipe
from pulmoscope.apps.cli.options import Changes, RecipeName

app = typer.Typer(help="List and show the recipes that `train` and `tune` take.", no_args_is_help=True)


@app.command("list")
def list_recipes() -> None:
    """Every recipe's name and title."""
    from pulmoscope.recipes.published import RECIPES

    width = max(map(len, RECIPES))
    for name, recipe in RECIPES.items():
        typer.echo(f"{name:{width}}  {recipe.title}")


@app.command("show")
def show(
    name: RecipeName,
    set_: Changes = None,
) -> None:
    """A recipe's source, how it deviates from it, and all settings as `--set` names them."""
    from pulmoscope.recipes.published import as_run
    from pulmoscope.recipes.settings import as_text, shown

    recipe = chosen_recipe(name, set_)
    typer.echo(f"{recipe.name}: {recipe.title}\n")
    published = ", ".join(f"{key} {value}" for key, value in recipe.published.items())
    facts = {"Source": recipe.paper, "Published": published, "Deviations": recipe.deviations}
    facts = {heading: text for heading, text in {**facts, "As set": as_run(recipe)}.items() if text}
    for heading, text in facts.items():
        typer.echo(f"{heading:11} {text}")
    typer.echo(("\n" if facts else "") + "Settings:")
    for path, value in shown(recipe).items():
        typer.echo(f"  {path}={as_text(value)}")
    if recipe.grid:
        typer.echo("\nGrid that `tune` tries:")
    for path, values in recipe.grid.items():
        typer.echo(f"  {path}: {', '.join(map(str, values))}")
