"""``pulmoscope train``: a recipe, a data set, a run that is a bundle when it is done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from pulmoscope.apps.cli.console import as_typed
from pulmoscope.apps.cli.data import chosen_recipe, load_for, tell
from pulmoscope.apps.cli.options import Changes, DataOptions, Force, Machine, Out, RecipeName, Resume, grouped
from pulmoscope.core.errors import PulmoscopeError

if TYPE_CHECKING:
    from pulmoscope.training.parallel.launch import Launch


@grouped
def command(
    recipe: RecipeName,
    data: DataOptions,
    machine: Machine,
    out: Out,
    set_: Changes = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            "--leave-out", help="Learn nothing from this hospital, in whatever folder its images lie."
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option(min=0, help="Cross-validate with this many folds, patients kept whole.")
    ] = 0,
    resume: Resume = False,
    force: Force = False,
    terms: Annotated[str, typer.Option(help="The data's licence or terms of use, for the model card.")] = "",
    release: Annotated[
        str,
        typer.Option(help="Version of the model, where it is handed on; default: its checksum's beginning."),
    ] = "",
) -> None:
    """Train a recipe on the splits train and val of a data set.

    The folder of the run is then a model that `diagnose` and `evaluate` take. A run that was killed goes on with
    --resume and ends with the same weights. `xray-lungs` trains the lung finder, on radiographs with masks, `xray-view`
    the view network, on pictures of every kind, `xray-severity` how ill a radiograph is, on radiographs with readers'
    scores; the recipes of three levels and of `ct-severity` learn from CT studies.
    """
    rank = _rank(machine)
    if rank:
        from pulmoscope.training.parallel.launch import follow

        follow(machine.device)
        return
    typed: dict[str, object] = {"--folds": folds, "--resume": resume, "--terms": terms, "--release": release}
    typed |= {"--workers": machine.workers, "--device": machine.device != "auto", "--on": machine.on}
    typed |= {"--processes": (machine.processes or 1) > 1, "torchrun": rank == 0}
    chosen = chosen_recipe(recipe, set_, labels=data.labels, leave_out=leave_out, options=typed)
    # Brings torch, which takes seconds: not for a wrong setting.
    from pulmoscope.recipes.published import as_run
    from pulmoscope.training.systems import Options, kind_of

    options = Options(machine.device, machine.workers, resume=resume, force=force, command=as_typed())
    options = replace(options, terms=terms, release=release)
    kind = kind_of(chosen)
    kind.check_free(out, options, folds)
    system = kind.of(chosen, load_for(chosen, data.data, data.layout), options)
    note = as_run(chosen)
    typer.echo(f"{chosen.name}: {chosen.title}" + (f" ({note})" if note else ""))
    if chosen.hub_backbone:
        typer.echo(f"Asking timm's hub for the pretrained weights of {chosen.hub_backbone} …", err=True)
    tell(system.notes())
    with _launch(machine, rank) as launch:
        system = replace(system, options=replace(options, launch=launch))
        tell(system.cross_validate(folds, out) if folds else system.fit(out))


def _rank(machine: Machine) -> int | None:
    """Which of torchrun's processes this is; None where there is one, or no torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["WORLD_SIZE"] == "1":
        return None
    if machine.on or machine.processes:
        raise PulmoscopeError("--on, --processes: can't be given under torchrun, whose processes train")
    return int(os.environ["RANK"])


@contextmanager
def _launch(machine: Machine, rank: int | None) -> Iterator[Launch | None]:
    """What starts the processes that share every batch; None where one has it whole."""
    from pulmoscope.training.parallel.launch import leading, spawned

    if machine.on:
        from pulmoscope.apps.ray.train import training_on

        with training_on(machine.on, machine.processes) as launch:
            yield launch
    elif rank == 0:
        with leading(machine.device) as launch:
            yield launch
    else:
        processes = machine.processes or 1
        yield spawned(processes) if processes > 1 else None
