"""``pulmoscope tune``: a recipe's grid, or Optuna's search over ranges, in parallel, resumable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pulmoscope.apps.cli.data import chosen_recipe, load_data, tell
from pulmoscope.apps.cli.options import Changes, DataOptions, Device, Force, On, Out, RecipeName, grouped

if TYPE_CHECKING:
    from pulmoscope.recipes.recipe import Named
    from pulmoscope.training.tune.plan import Search
    from pulmoscope.training.tune.processes import RunJobs


@dataclass(frozen=True)
class SearchOptions:
    """How settings are found, and how many are tried."""

    sampler: Annotated[
        Literal["grid", "tpe"],
        typer.Option(help="grid: every combination of the recipe's grid; tpe: Optuna proposes settings."),
    ] = "grid"
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many trials, with --sampler tpe; default: 20.")
    ] = None
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range", help="Search a setting between two numbers, key=low:high or key=low:high:log (tpe)."
        ),
    ] = None
    pruner: Annotated[
        Literal["none", "median", "hyperband", "asha"] | None,
        typer.Option(
            help="Stop trials whose validation figure lags behind that of others; default: none, with --on asha."
        ),
    ] = None

    def of(self, recipe: Named, on: str) -> Search:
        """The search over this recipe, in the words of :mod:`pulmoscope.training.tune`."""
        from pulmoscope.training.tune.plan import Search

        pruner = self.pruner or ("asha" if on and recipe.reported_epochs else "none")
        return Search(self.sampler, self.trials, tuple(self.ranges or ()), pruner)


@grouped
def command(
    recipe: RecipeName,
    data: DataOptions,
    out: Out,
    search: SearchOptions,
    set_: Changes = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Trials at a time, one thread each; default: one a core, with --on of the cluster."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="The most epochs of a phase; default: the recipe's.")
    ] = None,
    cached_features: Annotated[
        bool | None,
        typer.Option(
            "--cached-features/--whole-network",
            help="Compute a frozen backbone's features once, with 4 augmented variants an image, and train heads "
            "alone; default: where the backbone stays frozen and images are not mixed.",
        ),
    ] = None,
    device: Device = "cpu",
    on: On = "",
    force: Force = False,
) -> None:
    """Compare settings of a recipe on the splits train and val.

    Writes table.csv, table.md, plot.png and best.json. A search that was killed goes on when the same command is
    given again; the same command given several times at once shares the work.
    """
    from pulmoscope.training.tune.plan import as_settings, plan_of, tunable

    chosen = tunable(chosen_recipe(recipe, set_, labels=data.labels))
    plan = search.of(chosen.shortened(epochs), on)
    plan_of(chosen.shortened(epochs), plan)
    # Brings torch, which takes seconds: not for a wrong setting.
    from pulmoscope.training.systems import Options, kind_of
    from pulmoscope.training.tune.search import tune
    from pulmoscope.training.tune.table import headline

    table = load_data(data.data, data.layout)
    tell(kind_of(chosen).of(chosen, [table], Options()).notes())
    with _spread(on, device, out) as (spread, at_a_time):
        best = tune(
            chosen,
            table,
            out,
            search=plan,
            jobs=jobs or at_a_time,
            epochs=epochs,
            cached_features=cached_features,
            device=device,
            force=force,
            spread=spread,
        )
    typer.echo(f"best: {headline(best)}")
    typer.echo(" ".join(f"--set {setting}" for setting in as_settings(best["settings"])))
    typer.echo(f"Table: {out / 'table.md'}")


@contextmanager
def _spread(on: str, device: str, out: Path) -> Iterator[tuple[RunJobs | None, int | None]]:
    """What does the trials, and how many at a time; None: processes of this machine, one a core."""
    if not on:
        yield None, None
        return
    from pulmoscope.apps.ray.tune import trials_on

    with trials_on(on, device, out) as found:
        yield found
