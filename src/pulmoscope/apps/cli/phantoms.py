"""``pulmoscope datasets phantom``: draw synthetic radiographs, synthetic chest CT, and records of no patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pulmoscope.apps.cli.console import progress_bar
from pulmoscope.apps.cli.options import Force, grouped

LAYOUTS = ("manifest", "mosmed", "mosmeddata")


@dataclass(frozen=True)
class Drawing:
    """How many pictures, studies or records to simulate, and where they go."""

    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the pictures and manifest.csv.")]
    count: Annotated[
        int,
        typer.Option(
            min=1,
            help="How many pictures, CT studies or records. The classes take turns; in the layout mosmed they have "
            "MosMedData's proportions.",
        ),
    ] = 1
    classes: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated. X-ray: Normal, COVID, Viral Pneumonia, Tuberculosis; default: Normal, of several "
            "pictures Normal,COVID. CT: Normal, COVID, CAP; default: all three."
        ),
    ] = None
    size: Annotated[
        int | None, typer.Option(min=64, max=4096, help="Side, px. Default: 512, of a CT 256.")
    ] = None
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal pictures.")] = 0
    masks: Annotated[
        bool, typer.Option("--masks", help="Write the true lung masks, too; of a CT also the lesions'.")
    ] = False
    force: Force = False


@dataclass(frozen=True)
class CtOptions:
    """What only a CT has."""

    slices: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=1000,
            help="CT: slices a study. Default: 60; in the layout mosmed one every 8 mm, about 36.",
        ),
    ] = None
    format_: Annotated[str, typer.Option("--format", help="CT: dicom or nifti.")] = "dicom"
    tie: Annotated[
        str,
        typer.Option(
            help="CT: comma-separated settings of the scan that go with the class, so that a network can learn them "
            "instead of the lungs: dose, kernel, fov_mm, thickness_mm, scanner, height_mm, or all. Default: none."
        ),
    ] = ""
    tie_splits: Annotated[str, typer.Option(help="CT: the splits in which they do.")] = "train,val"


@dataclass(frozen=True)
class MosmedOptions:
    """Whether studies lie as MosMedData's do, and what only those have."""

    layout: Annotated[
        str,
        typer.Option(
            help="CT: manifest, or mosmed: the grades CT-0 to CT-4 as MosMedData has them, NIfTI, masks and all."
        ),
    ] = "manifest"
    fraction: Annotated[
        float | None,
        typer.Option(
            help="In the layout mosmed, instead of --count: this fraction of each grade's 254/684/125/45/2."
        ),
    ] = None
    damage: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="In the layout mosmed: which fraction of each study's slices has missing or spoilt regions.",
        ),
    ] = 0.0


@grouped
def phantom(
    context: typer.Context,
    drawing: Drawing,
    ct: CtOptions,
    mosmed: MosmedOptions,
    kind: Annotated[str, typer.Option(help="What to draw: xray, ct, or records.")] = "xray",
) -> None:
    """Draw synthetic radiographs, chest CT, or records of values: of no patient, for trying things out.

    Records are a table of patients with values, what images show, and an outcome whose true probability is known.
    """
    if kind not in ("xray", "ct", "records"):
        raise typer.BadParameter(f"must be xray, ct or records (found: {kind})", param_hint="--kind")
    if mosmed.layout not in LAYOUTS:
        raise typer.BadParameter(
            f"must be manifest or mosmed (found: {mosmed.layout})", param_hint="--layout"
        )
    typed = _typed(context)
    if kind == "records":
        others = typed - {"kind", "out", "count", "seed", "force"}
        _refuse(others, tuple(sorted(others)), "is of no use for records")
        _records(drawing)
        return
    if mosmed.layout != "manifest":
        if kind != "ct":
            raise typer.BadParameter("the layout mosmed is of CT: give --kind ct", param_hint="--layout")
        _refuse(
            typed, ("classes", "masks", "format_", "tie", "tie_splits"), "is of no use in the layout mosmed"
        )
        if ("count" in typed) == (mosmed.fraction is not None):
            raise typer.BadParameter("the layout mosmed needs --count or --fraction, one of them")
        _mosmed_phantoms(drawing, ct.slices, mosmed)
        return
    _refuse(typed, ("fraction", "damage"), "needs --layout mosmed")
    if kind == "ct":
        _ct_phantoms(drawing, ct)
    else:
        _radiographs(drawing)


def _records(drawing: Drawing) -> None:
    """Simulate records of patients."""
    from pulmoscope.phantoms.records.folder import write_records

    table = write_records(drawing.out, drawing.count, drawing.seed, drawing.force)
    typer.echo(f"{table}: {drawing.count} simulated records, no patients")


def _radiographs(drawing: Drawing) -> None:
    """Draw synthetic radiographs."""
    from pulmoscope.phantoms.xray.folder import write_phantoms

    classes = drawing.classes
    if classes is None:
        classes = "Normal" if drawing.count == 1 else "Normal,COVID"
    with progress_bar("Drawing") as progress:
        table = write_phantoms(
            drawing.out,
            drawing.count,
            _names(classes),
            seed=drawing.seed,
            size=drawing.size or 512,
            masks=drawing.masks,
            force=drawing.force,
            progress=progress,
        )
    typer.echo(
        f"{drawing.out}: {len(table)} synthetic radiographs ({', '.join(table.classes)}) and manifest.csv"
    )


def _typed(context: typer.Context) -> set[str]:
    """The options on the command line."""
    return {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
    }


def _refuse(typed: set[str], names: tuple[str, ...], why: str) -> None:
    """Refuse options that would have no effect."""
    for name in names:
        if name in typed:
            raise typer.BadParameter(why, param_hint="--" + name.strip("_").replace("_", "-"))


def _ct_phantoms(drawing: Drawing, ct: CtOptions) -> None:
    from pulmoscope.phantoms.ct.folder import LAYOUTS as FORMATS
    from pulmoscope.phantoms.ct.folder import Tied, write_ct_phantoms
    from pulmoscope.phantoms.ct.lesions import LABELS

    if ct.format_ not in FORMATS:
        raise typer.BadParameter(
            f"must be {' or '.join(FORMATS)} (found: {ct.format_})", param_hint="--format"
        )
    tied = Tied(_names(ct.tie), _names(ct.tie_splits))
    with progress_bar("Drawing") as progress:
        table = write_ct_phantoms(
            drawing.out,
            drawing.count,
            LABELS if drawing.classes is None else _names(drawing.classes),
            seed=drawing.seed,
            size=drawing.size or 256,
            slices=ct.slices or 60,
            layout="nifti" if ct.format_ == "nifti" else "dicom",
            tied=tied,
            masks=drawing.masks,
            force=drawing.force,
            progress=progress,
        )
    shown = ", ".join(table.classes)
    typer.echo(
        f"{drawing.out}: {len(table)} synthetic chest CT studies ({shown}), manifest.csv and truth.csv"
    )
    if tied.nuisances:
        typer.echo(f"Tied to the class in {', '.join(tied.splits)}: {', '.join(tied.nuisances)}")


def _mosmed_phantoms(drawing: Drawing, slices: int | None, mosmed: MosmedOptions) -> None:
    from pulmoscope.phantoms.ct.mosmed import counts_of_fraction, counts_of_total, write_mosmed_phantoms

    counts = (
        counts_of_total(drawing.count) if mosmed.fraction is None else counts_of_fraction(mosmed.fraction)
    )
    with progress_bar("Drawing") as progress:
        table = write_mosmed_phantoms(
            drawing.out,
            counts,
            seed=drawing.seed,
            size=drawing.size or 256,
            slices=slices,
            damage=mosmed.damage,
            force=drawing.force,
            progress=progress,
        )
    shown = ", ".join(f"{grade} {number}" for grade, number in counts.items())
    typer.echo(
        f"{drawing.out}: {len(table)} synthetic chest CT studies ({shown}), masks, dataset_registry.xlsx, truth.csv"
    )


def _names(text: str) -> list[str]:
    """The names in a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]
