"""``pulmoscope train``: a recipe, a data set, a run that is a bundle when it is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pulmoscope.apps.cli.data import Data, Labels, Layout, image_recipe, load_data, settle

if TYPE_CHECKING:
    from pulmoscope.datasets.table import SampleTable
    from pulmoscope.recipes.recipe import Recipe
    from pulmoscope.training.loop import TrainedRun

    _Train = Callable[[SampleTable, Path], TrainedRun]


_WHOLE = ("--leave-out", "--labels", "--folds", "--resume", "--terms", "--release", "--workers", "--device")
REFUSED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "xray-lungs": (_WHOLE, "it is trained as a whole"),
    "xray-view": (_WHOLE, "it is trained as a whole"),
    "three-level": (
        ("--leave-out", "--labels", "--folds", "--workers"),
        "it learns from studies, one by one",
    ),
    "severity": (("--leave-out", "--labels", "--workers"), "it learns from studies, one by one"),
}
"""Kind of recipe → the options that it does not take, and why; recipes of single images take all."""


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name; see `pulmoscope recipes list`.")],
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the run.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, key=value; see `pulmoscope recipes show NAME`."),
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            "--leave-out", help="Learn nothing from this hospital, in whatever folder its images lie."
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option(min=0, help="Cross-validate with this many folds, patients kept whole.")
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that is in the folder.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a run that is in the folder.")] = False,
    terms: Annotated[str, typer.Option(help="The data's licence or terms of use, for the model card.")] = "",
    release: Annotated[
        str,
        typer.Option(help="Version of the model, where it is handed on; default: its checksum's beginning."),
    ] = "",
    layout: Layout = None,
    labels: Labels = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that prepare images; 0: none of their own.")
    ] = 0,
) -> None:
    """Train a recipe on the splits train and val of a data set.

    The folder of the run is then a model that `diagnose` and `evaluate` take. A run that was killed goes on with
    --resume and ends with the same weights. `xray-lungs` trains the lung finder, on films with masks, `xray-view` the
    view network, on pictures of every kind; the recipes of three levels and of severity learn from CT studies.
    """
    from pulmoscope.recipes.published import SEVERITY, THREE_LEVEL

    given: dict[str, object] = {"--leave-out": leave_out, "--labels": labels, "--set": set_, "--folds": folds}
    given |= {"--resume": resume, "--terms": terms, "--release": release}
    given |= {"--workers": workers, "--device": device != "auto"}
    _refuse(recipe, given)
    changes, go_on, told = set_ or [], (resume, force), (terms, release)
    if recipe == "xray-lungs":
        _train_lungs(data, layout, out, changes, force)
    elif recipe == "xray-view":
        from pulmoscope.apps.cli.view import train_view_network

        train_view_network(data, layout, out, changes, force)
    elif recipe in THREE_LEVEL:
        _train_studies(recipe, data, layout, out, changes, device, go_on, told)
    elif recipe in SEVERITY:
        from pulmoscope.apps.cli.severity import train_severity

        train_severity(recipe, data, layout, out, changes, folds, device, go_on, told)
    else:
        chosen = image_recipe(recipe, changes, labels)
        left = tuple(dict.fromkeys((*chosen.left_out, *(leave_out or []))))
        chosen = dataclasses.replace(chosen, left_out=left)
        _train_images(chosen, data, layout, out, folds, device, workers, go_on, told)


def _train_images(
    chosen: Recipe,
    data: Sequence[Path],
    layout: str | None,
    out: Path,
    folds: int,
    device: str,
    workers: int,
    go_on: tuple[bool, bool],
    told: tuple[str, str],
) -> None:
    """Train a recipe of single images, once or cross-validated.

    Args:
        leave_out: hospitals that are left out besides those of the setting ``left_out``.

    The others are those of :func:`_train_studies`.
    """

    from pulmoscope.core.errors import RecipeError
    from pulmoscope.recipes.published import as_run

    if folds and any(told):
        raise RecipeError("--folds: gives no model, so --terms and --release can't be given")
    # Brings torch, which takes seconds: not for a wrong setting.
    from pulmoscope.datasets.hospitals import check_hospitals
    from pulmoscope.training.loop import check_free, fit

    resume, force = go_on
    check_free(out / "fold-1" if folds else out, resume, force)
    table = load_data(data, layout)
    check_hospitals(table, chosen.left_out)
    _announce(chosen, as_run(chosen))
    chosen, table = settle(chosen, table)

    def trained(part: SampleTable, folder: Path) -> TrainedRun:
        return fit(chosen, part, folder, device=device, workers=workers, resume=resume, force=force)

    if folds:
        _cross_validate(chosen, table, folds, out, trained)
    else:
        _train(table, out, trained, *told)


def _announce(recipe: Recipe, note: str) -> None:
    """Say what is trained, and what will ask the network."""
    typer.echo(f"{recipe.name}: {recipe.title}" + (f" ({note})" if note else ""))
    if recipe.model.from_hub:
        typer.echo(f"Asking timm's hub for the pretrained weights of {recipe.model.backbone} …", err=True)


def _refuse(recipe: str, options: Mapping[str, object]) -> None:
    """Refuse options that this recipe does not take and that were given: those whose value is not empty."""
    from pulmoscope.core.errors import RecipeError
    from pulmoscope.recipes.published import SEVERITY, THREE_LEVEL

    kind = "three-level" if recipe in THREE_LEVEL else "severity" if recipe in SEVERITY else recipe
    names, why = REFUSED.get(kind, ((), ""))
    given = [name for name in names if options[name]]
    if given:
        raise RecipeError(f"{recipe}: {', '.join(given)} can't be given; {why}")


def _train_studies(
    recipe: str,
    data: Sequence[Path],
    layout: str | None,
    out: Path,
    set_: list[str],
    device: str,
    go_on: tuple[bool, bool],
    told: tuple[str, str],
) -> None:
    """Train a recipe of three levels.

    Args:
        go_on: whether to resume, whether to replace.
        told: the data's terms, and the version of the model.
    """
    from pulmoscope.recipes.published import THREE_LEVEL
    from pulmoscope.recipes.settings import apply
    from pulmoscope.recipes.three_level import check

    chosen = apply(THREE_LEVEL[recipe], set_)
    check(chosen)
    from pulmoscope.runtime.bundle import is_bundle
    from pulmoscope.training.loop import check_free
    from pulmoscope.training.three_level.export import export_studies
    from pulmoscope.training.three_level.run import fit_studies

    resume, force = go_on
    terms, release = told
    check_free(out, resume, force)
    table = load_data(data, layout)
    typer.echo(f"{chosen.name}: {chosen.title}")
    run = fit_studies(chosen, table, out, device=device, resume=resume, force=force)
    typer.echo(
        f"held-out accuracy of the ensemble {run.summary['val_accuracy']:.4f}; {run.summary['epochs']} epochs in "
        f"{run.summary['seconds']:.0f} s; curves: {out / 'curves.png'}"
    )
    if not is_bundle(out):
        export_studies(out, table, release, terms=terms)
    typer.echo(f"Model: {out}")


def _train_lungs(data: Sequence[Path], layout: str | None, out: Path, set_: list[str], force: bool) -> None:
    from pulmoscope.recipes.published.xray_lungs import RECIPE, check
    from pulmoscope.recipes.settings import apply

    recipe = apply(RECIPE, set_)
    check(recipe)
    from pulmoscope.core.files import claim_folder
    from pulmoscope.training.lung_finder.fit import MARKER, train_lung_finder

    claim_folder(out, MARKER, force)
    result = train_lung_finder(recipe, load_data(data, layout), out, force=force)
    for split, dice in result["dice"].items():
        typer.echo(f"{split}: Dice {dice['mean']:.3f} (least {dice['least']:.3f}) on {dice['films']} films")
    typer.echo(f"Lung finder: {out / 'lungs.onnx'}")


def _train(table: SampleTable, out: Path, trained: _Train, terms: str, release: str) -> None:
    from pulmoscope.quality.unproven import limits_of
    from pulmoscope.runtime.bundle import is_bundle
    from pulmoscope.training.export import export_bundle

    run = trained(table, out)
    _tell(run)
    # It is a bundle only where a finished run was resumed: exporting again would drop its figures.
    if not is_bundle(out):
        made = export_bundle(out, table, version=release, terms=terms)
        for flag in limits_of(made):
            typer.echo(f"warning: every answer of this model is referred: {flag.message}", err=True)
    typer.echo(f"Model: {out}")


def _cross_validate(recipe: Recipe, table: SampleTable, count: int, out: Path, trained: _Train) -> None:
    from pulmoscope.training.folds import cross_validate

    summary = cross_validate(recipe, table, count, out, trained)
    for result in summary["folds"]:
        typer.echo(f"fold {result['fold']}: accuracy {result['val_accuracy']}, loss {result['val_loss']}")
    accuracy = summary["val_accuracy"]
    if accuracy is not None:
        typer.echo(f"accuracy {accuracy['mean']:.4f}, s.d. over folds {accuracy['sd']:.4f}")
    typer.echo(f"Summary: {out / 'summary.json'}")


def _tell(run: TrainedRun) -> None:
    summary = run.summary
    if summary["val_accuracy"] is not None:
        typer.echo(
            f"best epoch {summary['best_epoch']}: held-out accuracy {summary['val_accuracy']:.4f}, "
            f"loss {summary['val_loss']:.4f}"
        )
    typer.echo(
        f"{summary['epochs']} epochs in {summary['seconds']:.0f} s; curves: {run.folder / 'curves.png'}"
    )
