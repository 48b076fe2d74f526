"""``pulmoscope train``: a recipe, a data set, a run that is a bundle when it is done."""

from __future__ import annotations

from typing import Annotated

import typer

from pulmoscope.apps.cli.console import as_typed
from pulmoscope.apps.cli.data import chosen_recipe, load_for, tell
from pulmoscope.apps.cli.options import Changes, DataOptions, Force, Machine, Out, RecipeName, Resume, grouped


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
    typed: dict[str, object] = {"--folds": folds, "--resume": resume, "--terms": terms, "--release": release}
    typed |= {"--workers": machine.workers, "--processes": machine.processes > 1}
    typed |= {"--device": machine.device != "auto"}
    chosen = chosen_recipe(recipe, set_, labels=data.labels, leave_out=leave_out, options=typed)
    # Brings torch, which takes seconds: not for a wrong setting.
    from pulmoscope.recipes.published import as_run
    from pulmoscope.training.systems import Options, kind_of

    options = Options(
        **vars(machine), resume=resume, force=force, terms=terms, release=release, command=as_typed()
    )
    kind = kind_of(chosen)
    kind.check_free(out, options, folds)
    system = kind.of(chosen, load_for(chosen, data.data, data.layout), options)
    note = as_run(chosen)
    typer.echo(f"{chosen.name}: {chosen.title}" + (f" ({note})" if note else ""))
    if chosen.hub_backbone:
        typer.echo(f"Asking timm's hub for the pretrained weights of {chosen.hub_backbone} …", err=True)
    tell(system.notes())
    tell(system.cross_validate(folds, out) if folds else system.fit(out))
