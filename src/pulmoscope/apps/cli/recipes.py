"""``pulmoscope recipes``: which published systems can be trained, and with what settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

app = typer.Typer(help="List and show the recipes that `train` and `tune` take.", no_args_is_help=True)


@app.command("list")
def list_recipes() -> None:
    """Every recipe's name and title."""
    from pulmoscope.training.recipes import RECIPES

    width = max(map(len, RECIPES))
    for name, recipe in RECIPES.items():
        typer.echo(f"{name:{width}}  {recipe.title}")
    typer.echo(
        f"{'xray-lungs':{width}}  The lung finder that recipes with region=lungs use (needs films with masks)"
    )


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A recipe's name.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting first, key=value.")
    ] = None,
) -> None:
    """A recipe's source, how it deviates from it, and all settings as `--set` names them."""
    from pulmoscope.training.recipes import as_run, find
    from pulmoscope.training.settings import apply, to_plain

    recipe = apply(find(name), set_ or [])
    typer.echo(f"{recipe.name}: {recipe.title}\n")
    typer.echo(f"Source      {recipe.paper}")
    if recipe.published:
        typer.echo("Published   " + ", ".join(f"{key} {value}" for key, value in recipe.published.items()))
    for heading, text in (("Deviations", recipe.deviations), ("As set", as_run(recipe))):
        if text:
            typer.echo(f"{heading:11} {text}")
    typer.echo("\nSettings:")
    plain = to_plain(recipe)
    for said in ("name", "title", "paper", "deviations", "published", "modality", "grid"):
        del plain[said]
    for path, value in _flat(plain):
        typer.echo(f"  {path}={value}")
    if recipe.grid:
        typer.echo("\nGrid that `tune` tries:")
        for path, values in recipe.grid.items():
            typer.echo(f"  {path}: {', '.join(map(str, values))}")


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Settings as ``--set`` takes them: phases by name, lists with commas."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{path}.{key}" if path else key)
    elif isinstance(node, list) and node and isinstance(node[0], Mapping):
        for part in node:
            yield from _flat(
                {key: value for key, value in part.items() if key != "name"}, f"{path}.{part['name']}"
            )
    elif isinstance(node, list):
        yield path, ",".join(map(str, node))
    elif not isinstance(node, Mapping):
        yield path, node if isinstance(node, str) else json.dumps(node)
