"""``pulmoscope leave-out``: how a recipe, or a model, does at a hospital that it has not learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulmoscope.apps.cli.console import as_typed, progress_bar, show
from pulmoscope.apps.cli.data import chosen_recipe, load_data
from pulmoscope.apps.cli.evaluate import in_words_of, tell_left_out
from pulmoscope.apps.cli.options import (
    Bootstrap,
    Changes,
    DataOptions,
    Device,
    Force,
    Out,
    Resume,
    Runtime,
    WithRuntime,
    grouped,
)

if TYPE_CHECKING:
    from pulmoscope.datasets import SampleTable
    from pulmoscope.pipeline.hospitals import Answers, Skipped
    from pulmoscope.recipes.recipe import Recipe
    from pulmoscope.training.leave_out import LeaveOut


@grouped
def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|MODEL",
            help="A recipe's name; or a model: a bundle's folder, or a built-in one's name. "
            "A name that is both, as xray-covid is, means the recipe, unless --model is given.",
            show_default=False,
        ),
    ],
    data: DataOptions,
    out: Out,
    hospital: Annotated[
        list[str] | None,
        typer.Option("--hospital", help="Only this one; may be given several times. Default: all."),
    ] = None,
    model: Annotated[bool, typer.Option("--model", help="The name is a model's, not a recipe's.")] = False,
    set_: Changes = None,
    bootstrap: Bootstrap = 1000,
    resume: Resume = False,
    force: Force = False,
    device: Device = "auto",
    runtime: WithRuntime = Runtime.AUTO,
) -> None:
    """Measure at hospitals left out: how well patients of one hospital are told apart by who has never seen it.

    Of a recipe a model is trained for every hospital, without it, and asked about all of its images. A model is asked
    as it is; where it has learnt from a hospital, about the split test only, and that counts in no mean. Writes
    hospitals.json, hospitals.md, hospitals.png, and the predictions.
    """
    if model or not _is_recipe(name):
        _refuse(name, {"--set": set_, "--resume": resume})
        _ask_model(name, data, out, hospital or [], bootstrap, force, device, runtime)
        return
    from pulmoscope.recipes.recipe import Recipe, expected

    recipe = chosen_recipe(name, set_, labels=data.labels, options={"--leave-out": True})
    _train_recipe(
        expected(recipe, Recipe),
        data,
        out,
        hospital or [],
        bootstrap,
        (resume, force),
        device,
        runtime,
    )


def _is_recipe(name: str) -> bool:
    """Whether a recipe has this name.

    Raises:
        RecipeError: it is the name of nothing.
    """
    from pulmoscope.core.errors import RecipeError
    from pulmoscope.recipes.published import RECIPES
    from pulmoscope.runtime.bundle import built_in

    if name in RECIPES:
        return True
    if name not in built_in() and not Path(name).exists():
        raise RecipeError(
            f"{name}: is no recipe ({', '.join(RECIPES)}) and no model ({', '.join(built_in())}, or a folder)"
        )
    return False


def _refuse(name: str, options: Mapping[str, object]) -> None:
    from pulmoscope.core.errors import RecipeError

    typed = [option for option, value in options.items() if value]
    if typed:
        raise RecipeError(f"{name}: {', '.join(typed)} can't be given; a model is not trained here")


def _ask_model(
    name: str,
    data: DataOptions,
    out: Path,
    hospitals: list[str],
    bootstrap: int,
    force: bool,
    device: str,
    runtime: Runtime,
) -> None:
    from pulmoscope.core.errors import DatasetError
    from pulmoscope.core.files import check_folder, claim_folder
    from pulmoscope.datasets.hospitals import left_out_by
    from pulmoscope.pipeline.hospitals import RESULT, ask, images_to_predict
    from pulmoscope.runtime.model import Model

    check_folder(out, RESULT, force)
    opened = Model.load(name, runtime.value, device)
    table = in_words_of(opened, data)
    chosen, skipped = images_to_predict(opened, table, left_out_by(table, hospitals) if hospitals else ())
    if not len(chosen):
        raise DatasetError(f"{table.root}: no hospital can be asked about ({_reasons(skipped)})")
    claim_folder(out, RESULT, force)
    with progress_bar("Asking") as progress:
        answers = ask(opened, chosen, out, progress=progress)
    _finish(out, [answers], skipped, None, bootstrap)


def _train_recipe(
    recipe: Recipe,
    data: DataOptions,
    out: Path,
    hospitals: list[str],
    bootstrap: int,
    go_on: tuple[bool, bool],
    device: str,
    runtime: Runtime,
) -> None:
    from pulmoscope.core.errors import DatasetError, OutputExistsError
    from pulmoscope.core.files import check_folder, claim_folder
    from pulmoscope.datasets.hospitals import left_out_by, of
    from pulmoscope.pipeline.hospitals import RESULT, Skipped

    resume, force = go_on
    check_folder(out, RESULT, force=True)
    if (out / RESULT).exists() and not (resume or force):
        raise OutputExistsError(out / RESULT, resumable=True)
    table = load_data(data.data, data.layout)
    wanted = left_out_by(table, hospitals)
    # Brings torch, which takes seconds: not for data that are not there.
    from pulmoscope.training.leave_out import LeaveOut, folders_of
    from pulmoscope.training.run import check_free

    trainer = LeaveOut(recipe, table, wanted)
    skipped = [
        Skipped(name, len(of(table, name)), reason) for name, reason in trainer.skipped.items()
    ] + _nobodys(table, hospitals)
    if not trainer.hospitals:
        raise DatasetError(f"{table.root}: no hospital can be left out ({_reasons(skipped)})")
    folders = {name: out / folder for name, folder in folders_of(wanted).items()}
    for name in trainer.hospitals:
        check_free(folders[name], resume, force)
    claim_folder(out, RESULT, force=True)
    answers = ask_without(trainer, folders, device, runtime, resume=resume, force=force)
    _finish(out, answers, skipped, trainer, bootstrap)


def ask_without(
    trainer: LeaveOut,
    folders: Mapping[str, Path],
    device: str,
    runtime: Runtime,
    *,
    resume: bool,
    force: bool,
) -> list[Answers]:
    """Train without every hospital, in a folder for each, and ask each model about the hospital that it lacks."""
    from pulmoscope.pipeline.hospitals import ask
    from pulmoscope.runtime.model import Model

    answers = []
    for number, name in enumerate(trainer.hospitals, 1):
        typer.echo(f"{trainer.recipe.name} without {name} ({number} of {len(trainer.hospitals)})")
        trainer.train(name, folders[name], device=device, resume=resume, force=force)
        opened = Model.load(folders[name], runtime.value, device)
        with progress_bar(f"Asking about {name}") as progress:
            answers.append(
                ask(opened, trainer.images_of(name), folders[name], left_out=name, progress=progress)
            )
    return answers


def _nobodys(table: SampleTable, hospitals: Sequence[str]) -> list[Skipped]:
    """Unidentified images, which no hospital's absence takes away; none where only some hospitals are asked for."""
    from pulmoscope.datasets.hospitals import UNIDENTIFIED, of
    from pulmoscope.pipeline.hospitals import Skipped

    images = 0 if hospitals else len(of(table, UNIDENTIFIED))
    reason = "nobody knows which hospitals they are from, so they can't be left out"
    return [Skipped(UNIDENTIFIED, images, reason)] if images else []


def _reasons(skipped: Sequence[Skipped]) -> str:
    return "; ".join(f"{hospital.hospital}: {hospital.reason}" for hospital in skipped)


def _finish(
    out: Path,
    answers: Sequence[Answers],
    skipped: Sequence[Skipped],
    trainer: LeaveOut | None,
    bootstrap: int,
) -> None:
    """Write the results, and say them."""
    from pulmoscope.pipeline.hospitals import results, write_results

    recipe = None if trainer is None else trainer.facts()
    report, rows = results(answers, skipped, recipe=recipe, bootstrap=bootstrap, command=as_typed())
    write_results(out, report, rows)
    tell_left_out([f"{failure.file}: {failure.reason}" for one in answers for failure in one.failures])
    for one in skipped:
        typer.echo(
            f"pulmoscope: {one.hospital}: not asked about its {one.images} images: {one.reason}", err=True
        )
    _tell(report)
    typer.echo(f"Results: {out / 'hospitals.json'}")


def _tell(report: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    from pulmoscope.report.hospitals import HEADER, summary_lines, table_rows

    name = (report["recipe"] or report["model"])["name"]
    what = "each hospital left out of training" if report["recipe"] else "by hospital"
    view = Table(box=box.SIMPLE_HEAD, title=f"{name}: {what}")
    for title in HEADER:
        view.add_column(title, justify="left" if title == HEADER[0] else "right")
    for row in table_rows(report):
        view.add_row(*row)
    show(view)
    for line in summary_lines(report):
        typer.echo(line)
