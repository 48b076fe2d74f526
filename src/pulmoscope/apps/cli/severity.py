"""Training and testing system A: ``train ct-severity-resnet18``, ``ablate`` and ``stress``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulmoscope.apps.cli.console import as_typed, show
from pulmoscope.apps.cli.data import Data, Layout, load_data

if TYPE_CHECKING:
    from pulmoscope.datasets.table import SampleTable
    from pulmoscope.recipes.severity import SeverityRecipe
    from pulmoscope.training.severity.run import SeverityRun

Out = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]
Bootstrap = Annotated[int, typer.Option(min=0, help="Resamples for the 95 % intervals; 0: none.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
_LEVELS = ("slice", "majority", "mean", "attention", "regression")  # of runtime.votes, which loads numpy


def train_severity(
    recipe: str,
    data: Sequence[Path],
    layout: str | None,
    out: Path,
    set_: list[str],
    folds: int,
    device: str,
    go_on: tuple[bool, bool],
    told: tuple[str, str],
) -> None:
    """Train a recipe of severity, once or cross-validated.

    Args:
        folds: 0: once, on the data's own split train.
        go_on: whether to resume, whether to replace.
        told: the data's terms, and the version of the model.
    """
    chosen = _chosen(recipe, set_)
    from pulmoscope.training.loop import check_free
    from pulmoscope.training.severity.folds import cross_validate_severity

    resume, force = go_on
    check_free(out / "fold-1" if folds else out, resume, force)
    table = load_data(data, layout)
    typer.echo(f"{chosen.name}: {chosen.title}")
    fit = partial(_fitted, device=device, resume=resume, force=force, told=told)
    if not folds:
        run = fit(chosen, table, out)
        typer.echo(
            f"{run.summary['epochs']} epochs in {run.summary['seconds']:.0f} s; curves: {out / 'curves.png'}"
        )
        typer.echo(f"Model: {out}")
        return
    found = cross_validate_severity(chosen, table, folds, out, fit, command=as_typed()).summary
    _tell(
        "MCC of held-out studies", [("", {name: found["figures"][name]["scores"]["mcc"] for name in _LEVELS})]
    )
    _tell_anomalies(found["anomaly"])
    _tell_synthetic(found)
    typer.echo(f"Summary: {out / 'summary.json'}")


def ablate_command(
    recipe: Annotated[str, typer.Argument(help="A recipe of severity; see `pulmoscope recipes list`.")],
    data: Data,
    out: Out,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, key=value; see `pulmoscope recipes show NAME`."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds, patients kept whole.")] = 4,
    bootstrap: Bootstrap = 1000,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in the folder.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is in the folder.")] = False,
    layout: Layout = None,
    device: Device = "auto",
) -> None:
    """Compare losses, with and without quality control: each cross-validated on the same folds.

    {no quality control, the recipe's imputer} x {cross-entropy, LDAM, class-balanced, LDAM and class-balanced}; writes
    ablation.json, ablation.csv and ablation.png.
    """
    chosen = _chosen(recipe, set_ or [])
    from pulmoscope.training.experiments.ablation import ablate
    from pulmoscope.training.loop import check_free

    check_free(out / "none-ce" / "fold-1", resume, force)
    table = load_data(data, layout)
    fit = partial(_fitted, device=device, resume=resume, force=force, told=("", ""))
    found = ablate(chosen, table, folds, out, fit, bootstrap=bootstrap, command=as_typed())
    _tell("MCC", [(f"{row['imputer']}, {row['loss']}", row["mcc"]) for row in found["rows"]])
    _tell_synthetic(found)
    typer.echo(f"Table: {out / 'ablation.csv'}")


def stress_command(
    run: Annotated[Path, typer.Argument(help="The folder of a cross-validation (train … --folds).")],
    data: Data,
    out: Out,
    bootstrap: Bootstrap = 1000,
    force: Annotated[bool, typer.Option("--force", help="Replace results that are there.")] = False,
    layout: Layout = None,
) -> None:
    """Damage held-out studies on purpose, fill them by every imputer and by none, and judge them again.

    10, 20 and 30 % of a study's slices, three sizes of damage; writes stress.json, stress.csv and pictures.
    """
    from pulmoscope.core.files import claim_folder
    from pulmoscope.training.experiments.stress import RESULT, stress

    claim_folder(out, RESULT, force)
    found = stress(run, load_data(data, layout), out, bootstrap=bootstrap, command=as_typed())
    levels = ("slice", "damaged", *_LEVELS[1:])
    _tell("MCC", [(f"{row['case']}, {row['imputer']}", row["mcc"]) for row in found["rows"]], levels)
    _tell_synthetic(found)
    typer.echo(f"Table: {out / 'stress.csv'}")


def _chosen(recipe: str, set_: list[str]) -> SeverityRecipe:
    """A recipe of severity with its settings, checked."""
    from pulmoscope.core.errors import RecipeError
    from pulmoscope.recipes.published import SEVERITY
    from pulmoscope.recipes.settings import apply
    from pulmoscope.recipes.severity import check

    if recipe not in SEVERITY:
        raise RecipeError(f"{recipe}: must be a recipe of severity ({', '.join(SEVERITY)})")
    chosen = apply(SEVERITY[recipe], set_)
    check(chosen)
    return chosen


def _fitted(
    recipe: SeverityRecipe,
    table: SampleTable,
    folder: Path,
    *,
    device: str,
    resume: bool,
    force: bool,
    told: tuple[str, str],
) -> SeverityRun:
    """A run that is a bundle; one that is finished is left as it is."""
    from pulmoscope.runtime.bundle import is_bundle
    from pulmoscope.training.severity.export import export_severity
    from pulmoscope.training.severity.run import fit_severity

    run = fit_severity(recipe, table, folder, device=device, resume=resume, force=force)
    if not is_bundle(folder):
        export_severity(folder, table, told[1], cache=recipe.cache, terms=told[0])
    return run


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


def _tell_anomalies(found: Mapping[str, Any] | None) -> None:
    if found is None:
        return
    from pulmoscope.apps.cli.evaluate import figure

    for name, own in found["auroc"].items():
        told = (f"{level} {' '.join(figure(own[level]))}" for level in ("slice", "study"))
        typer.echo(f"AnoGAN, AUROC of {name} against the first class: {', '.join(told)}")


def _tell_synthetic(found: Mapping[str, Any]) -> None:
    if found["synthetic"]:
        typer.echo("Synthetic: the figures are of drawn studies and say nothing about patients.")
