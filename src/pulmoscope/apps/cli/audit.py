"""``pulmoscope audit``: can a model be relied on?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulmoscope.apps.cli.console import as_typed, progress_bar, show
from pulmoscope.apps.cli.evaluate import in_words_of, tell_failures
from pulmoscope.apps.cli.options import (
    Bootstrap,
    Changes,
    DataOptions,
    Device,
    Force,
    ModelName,
    Out,
    Runtime,
    Split,
    WithRuntime,
    grouped,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pulmoscope.pipeline.audit.subject import Retrained
    from pulmoscope.recipes.recipe import Recipe
    from pulmoscope.runtime.bundle import Bundle

FOLDER = "retrained"
"""The folder of what is trained, within that of the results."""


@grouped
def command(
    model: ModelName,
    data: DataOptions,
    out: Out,
    split: Split = "test",
    runtime: WithRuntime = Runtime.AUTO,
    device: Device = "auto",
    bootstrap: Bootstrap = 1000,
    retrain: Annotated[
        bool,
        typer.Option(
            "--retrain",
            help="Train the model's recipe without every hospital, and with another seed: takes hours, and "
            "pulmoscope[train]. What is finished is kept when it is started again.",
        ),
    ] = False,
    set_: Changes = None,
    force: Force = False,
) -> None:
    """Ask of a model whether it looks at the lungs, what breaks it, and how far its figures can be relied on.

    Writes report.html, audit.json, and the predictions under every change. --set goes with --retrain.
    """
    from pulmoscope.core.errors import RecipeError
    from pulmoscope.core.files import check_folder
    from pulmoscope.pipeline.audit.run import RESULT, audit
    from pulmoscope.runtime.model import Model

    if set_ and not retrain:
        raise RecipeError("--set: goes with --retrain; nothing is trained without it")
    check_folder(out, RESULT, force)
    opened = Model.load(model, runtime.value, device)
    whole = in_words_of(opened, data)
    table = whole if split == "all" else whole.split(split)
    retrained = None
    if retrain:
        retrained = _retrained(opened.bundle, data, out / FOLDER, set_ or [], device, runtime, bootstrap)
    with progress_bar("Auditing") as progress:
        report = audit(
            opened,
            table,
            out,
            split=split,
            bootstrap=bootstrap,
            command=as_typed(),
            force=force,
            progress=progress,
            whole=whole,
            retrained=retrained,
        )
    tell_failures(report)
    _tell(report)
    typer.echo(f"Report: {out / 'report.html'}")


def _retrained(
    bundle: Bundle,
    data: DataOptions,
    out: Path,
    changes: list[str],
    device: str,
    runtime: Runtime,
    bootstrap: int,
) -> Retrained:
    """Models of the bundle's recipe: one without every hospital, and one with another seed.

    Raises:
        RecipeError: the bundle has no recipe, or its weights to begin with are not there.
        DatasetError: no hospital can be left out.
    """
    from dataclasses import replace

    from pulmoscope.apps.cli.data import load_data
    from pulmoscope.apps.cli.leave_out import ask_without
    from pulmoscope.core.errors import DatasetError
    from pulmoscope.datasets.hospitals import left_out_by, of
    from pulmoscope.pipeline.audit.subject import Retrained
    from pulmoscope.pipeline.hospitals import Skipped, results, write_results
    from pulmoscope.runtime.model import Model

    recipe = _recipe(bundle, changes)
    table = load_data(data.data, data.layout)
    wanted = left_out_by(table)
    from pulmoscope.training.leave_out import LeaveOut, folders_of
    from pulmoscope.training.systems import Options, kind_of

    trainer = LeaveOut(recipe, table, wanted)
    skipped = [Skipped(name, len(of(table, name)), reason) for name, reason in trainer.skipped.items()]
    if not trainer.hospitals:
        reasons = "; ".join(f"{one.hospital}: {one.reason}" for one in skipped)
        raise DatasetError(f"{table.root}: --retrain: no hospital can be left out ({reasons})")
    folders = {name: out / f"without-{folder}" for name, folder in folders_of(wanted).items()}
    answers = ask_without(trainer, folders, device, runtime, resume=True, force=False)
    report, rows = results(answers, skipped, recipe=trainer.facts(), bootstrap=bootstrap, command=as_typed())
    write_results(out, report, rows)
    seed = recipe.seed + 1
    again = out / f"seed-{seed}"
    typer.echo(f"{recipe.name} with seed {seed}")
    kind_of(recipe).of(replace(recipe, seed=seed), (table,), Options(device=device, resume=True)).fit(again)
    return Retrained(report, Model.load(again, runtime.value, device), seed)


def _recipe(bundle: Bundle, changes: list[str]) -> Recipe:
    """The bundle's recipe, with what is changed of it."""
    from pathlib import Path

    from pulmoscope.core.errors import RecipeError
    from pulmoscope.recipes import settings

    if not bundle.recipe:
        raise RecipeError(
            f"{bundle.folder}: --retrain: the bundle does not say by which recipe it was trained"
        )
    recipe = settings.apply(settings.from_plain(bundle.recipe), changes)
    weights = recipe.model.weights
    if weights and not weights.startswith("package:") and not Path(weights).is_file():
        raise RecipeError(
            f"{bundle.folder}: --retrain: the training began with {weights}: give --set model.weights=FILE"
        )
    return recipe


def _tell(report: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    view = Table(box=box.SIMPLE_HEAD, title=f"{report['model']['name']} {report['model']['version']}: audit")
    view.add_column("")
    view.add_column("")
    for verdict in report["verdicts"]:
        view.add_row(verdict["level"].replace("none", "not known"), verdict["says"])
    show(view)
    typer.echo(f"Can I trust it at my hospital? {report['trust']['says']}")
