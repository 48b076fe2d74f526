"""``pulmoscope datasets phantom``: draw synthetic radiographs and synthetic chest CT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pulmoscope.apps.cli.console import progress_bar

LAYOUTS = ("manifest", "mosmed", "mosmeddata")

Count = Annotated[
    int,
    typer.Option(
        min=1,
        help="How many pictures, or CT studies, in all. The classes take turns; in the layout mosmed they have "
        "MosMedData's proportions.",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated. X-ray: Normal, COVID, Viral Pneumonia, Tuberculosis; default: Normal, of several "
        "pictures Normal,COVID. CT: Normal, COVID, CAP; default: all three."
    ),
]
Slices = Annotated[
    int | None,
    typer.Option(
        min=8,
        max=1000,
        help="CT: slices a study. Default: 60; in the layout mosmed one every 8 mm, about 36.",
    ),
]
Layout = Annotated[
    str,
    typer.Option(
        help="CT: manifest, or mosmed: the grades CT-0 to CT-4 as MosMedData has them, NIfTI, masks and all."
    ),
]
Fraction = Annotated[
    float | None,
    typer.Option(
        help="In the layout mosmed, instead of --count: this fraction of each grade's 254/684/125/45/2."
    ),
]
Damage = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="In the layout mosmed: which share of each study's slices has missing or spoilt regions.",
    ),
]
Tie = Annotated[
    str,
    typer.Option(
        help="CT: comma-separated settings of the scan that go with the class, so that a network can learn them "
        "instead of the lungs: dose, kernel, fov_mm, thickness_mm, scanner, height_mm, or all. Default: none."
    ),
]


def phantom(
    context: typer.Context,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the pictures and manifest.csv.")],
    kind: Annotated[str, typer.Option(help="What to draw: xray or ct.")] = "xray",
    count: Count = 1,
    classes: Classes = None,
    size: Annotated[
        int | None, typer.Option(min=64, max=4096, help="Side, px. Default: 512, of a CT 256.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal pictures.")] = 0,
    masks: Annotated[
        bool, typer.Option("--masks", help="Write the true lung masks, too; of a CT also the lesions'.")
    ] = False,
    slices: Slices = None,
    layout: Layout = "manifest",
    fraction: Fraction = None,
    damage: Damage = 0.0,
    format_: Annotated[str, typer.Option("--format", help="CT: dicom or nifti.")] = "dicom",
    tie: Tie = "",
    tie_splits: Annotated[str, typer.Option(help="CT: the splits in which they do.")] = "train,val",
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Draw synthetic radiographs or synthetic chest CT: of no patient, for trying things out."""
    if kind not in ("xray", "ct"):
        raise typer.BadParameter(f"must be xray or ct (found: {kind})", param_hint="--kind")
    if layout not in LAYOUTS:
        raise typer.BadParameter(f"must be manifest or mosmed (found: {layout})", param_hint="--layout")
    given = _given(context)
    if layout != "manifest":
        if kind != "ct":
            raise typer.BadParameter("the layout mosmed is of CT: give --kind ct", param_hint="--layout")
        _refuse(
            given, ("classes", "masks", "format_", "tie", "tie_splits"), "is of no use in the layout mosmed"
        )
        if ("count" in given) == (fraction is not None):
            raise typer.BadParameter("the layout mosmed needs --count or --fraction, one of them")
        _mosmed_phantoms(out, count, fraction, size, seed, slices, damage, force)
        return
    _refuse(given, ("fraction", "damage"), "needs --layout mosmed")
    if kind == "ct":
        _ct_phantoms(
            out, count, classes, size, seed, masks, slices, format_, _names(tie), _names(tie_splits), force
        )
        return
    _films(out, count, classes, size, seed, masks, force)


def _films(
    out: Path, count: int, classes: str | None, size: int | None, seed: int, masks: bool, force: bool
) -> None:
    """Draw synthetic radiographs."""
    from pulmoscope.phantoms.xray.folder import write_phantoms

    if classes is None:
        classes = "Normal" if count == 1 else "Normal,COVID"
    with progress_bar("Drawing") as progress:
        table = write_phantoms(
            out,
            count,
            _names(classes),
            seed=seed,
            size=size or 512,
            masks=masks,
            force=force,
            progress=progress,
        )
    typer.echo(f"{out}: {len(table)} synthetic radiographs ({', '.join(table.classes)}) and manifest.csv")


def _given(context: typer.Context) -> set[str]:
    """The options that the user has given."""
    return {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
    }


def _refuse(given: set[str], names: tuple[str, ...], why: str) -> None:
    """Refuse options that would have no effect."""
    for name in names:
        if name in given:
            raise typer.BadParameter(why, param_hint="--" + name.strip("_").replace("_", "-"))


def _ct_phantoms(
    out: Path,
    count: int,
    classes: str | None,
    size: int | None,
    seed: int,
    masks: bool,
    slices: int | None,
    format_: str,
    tie: list[str],
    tie_splits: list[str],
    force: bool,
) -> None:
    from pulmoscope.phantoms.ct.folder import LAYOUTS as FORMATS
    from pulmoscope.phantoms.ct.folder import write_ct_phantoms
    from pulmoscope.phantoms.ct.lesions import LABELS

    if format_ not in FORMATS:
        raise typer.BadParameter(f"must be {' or '.join(FORMATS)} (found: {format_})", param_hint="--format")
    with progress_bar("Drawing") as progress:
        table = write_ct_phantoms(
            out,
            count,
            LABELS if classes is None else _names(classes),
            seed=seed,
            size=size or 256,
            slices=slices or 60,
            layout="nifti" if format_ == "nifti" else "dicom",
            tie=tie,
            tie_splits=tie_splits,
            masks=masks,
            force=force,
            progress=progress,
        )
    typer.echo(
        f"{out}: {len(table)} synthetic chest CT studies ({', '.join(table.classes)}), manifest.csv and truth.csv"
    )
    if tie:
        typer.echo(f"Tied to the class in {', '.join(tie_splits)}: {', '.join(tie)}")


def _mosmed_phantoms(
    out: Path,
    count: int,
    fraction: float | None,
    size: int | None,
    seed: int,
    slices: int | None,
    damage: float,
    force: bool,
) -> None:
    from pulmoscope.phantoms.ct.mosmed import counts_of_fraction, counts_of_total, write_mosmed_phantoms

    counts = counts_of_total(count) if fraction is None else counts_of_fraction(fraction)
    with progress_bar("Drawing") as progress:
        table = write_mosmed_phantoms(
            out,
            counts,
            seed=seed,
            size=size or 256,
            slices=slices,
            damage=damage,
            force=force,
            progress=progress,
        )
    shown = ", ".join(f"{grade} {number}" for grade, number in counts.items())
    typer.echo(
        f"{out}: {len(table)} synthetic chest CT studies ({shown}), masks, dataset_registry.xlsx, truth.csv"
    )


def _names(text: str) -> list[str]:
    """The names in a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]
