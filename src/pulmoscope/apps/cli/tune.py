"""``pulmoscope tune``: a recipe's whole grid, in parallel, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pulmoscope.apps.cli.data import Data, Labels, Layout, image_recipe, load_data, settle


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name; see `pulmoscope recipes list`.")],
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting that is not tuned, key=value."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time, one thread each; default: one a core.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="The most epochs of a trial; default: the recipe's.")
    ] = None,
    cached_features: Annotated[
        bool | None,
        typer.Option(
            "--cached-features/--whole-network",
            help="Compute a frozen backbone's features once, with 4 augmented variants an image, and train heads "
            "alone; default: where the backbone stays frozen and images are not mixed.",
        ),
    ] = None,
    layout: Layout = None,
    labels: Labels = None,
    force: Annotated[bool, typer.Option("--force", help="Begin anew.")] = False,
) -> None:
    """Try every combination of a recipe's grid on the splits train and val.

    Writes table.csv, table.md, plot.png and best.json. A search that was killed goes on when the same command is
    given again.
    """
    chosen = image_recipe(recipe, set_ or [], labels)
    # Brings torch, which takes seconds: not for a wrong setting.
    from pulmoscope.datasets.hospitals import check_hospitals
    from pulmoscope.training.trial import as_settings
    from pulmoscope.training.tune import tune

    table = load_data(data, layout)
    check_hospitals(table, chosen.left_out)
    settle(chosen, table)
    best = tune(
        chosen,
        table,
        out,
        jobs=jobs,
        epochs=epochs,
        cached_features=cached_features,
        force=force,
    )
    typer.echo(f"best: trial {best['trial']}, validation accuracy {best['val_accuracy']:.4f}")
    typer.echo(" ".join(f"--set {setting}" for setting in as_settings(best["settings"])))
    typer.echo(f"Table: {out / 'table.md'}")
