"""``pulmoscope datasets``: check, list and show data sets, and draw synthetic ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pulmoscope.apps.cli.console import progress_bar
from pulmoscope.apps.cli.console import show as show_table

if TYPE_CHECKING:
    from rich.table import Table

    from pulmoscope.datasets.check import CheckReport

app = typer.Typer(help="Check, list and show data sets; draw synthetic ones.", no_args_is_help=True)

Data = Annotated[Path, typer.Argument(help="A data set's folder, or a manifest.csv.", show_default=False)]
LayoutName = Annotated[
    str | None, typer.Option("--layout", help="The layout's name (see `datasets list`); default: recognised.")
]


@app.command("list")
def list_layouts() -> None:
    """The layouts that are read, and what they look like."""
    from pulmoscope.datasets.layouts import LAYOUTS

    table = _table("layout", "what is in the folder")
    for name, layout in LAYOUTS.items():
        table.add_row(name, layout.looks_like)
    show_table(table)


@app.command("show")
def show(
    data: Data,
    layout: LayoutName = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="Also write the table as a manifest; as DATA/manifest.csv it is what DATA means from then on.",
        ),
    ] = None,
    steps: Annotated[
        bool,
        typer.Option(
            "--steps",
            help="DATA is a CT study: draw what its preprocessing does, step by step, into the folder -o.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a manifest that is there.")] = False,
) -> None:
    """Counts per class and split, the sources, and the first rows."""
    if steps:
        _draw_steps(data, out, force)
        return
    from pulmoscope.core.errors import OutputExistsError
    from pulmoscope.datasets import load, manifest
    from pulmoscope.datasets.layouts import UNSETTLED
    from pulmoscope.datasets.studies import is_study

    if out is not None and out.exists() and not force:
        raise OutputExistsError(out)
    with progress_bar("Reading images") as progress:
        table = load(data, layout, progress)
    studies = sum(is_study(table.path(sample)) for sample in table)
    typer.echo(f"{data}: {_extent(len(table), studies)}, layout {table.layout}")
    counts = Counter((sample.label, sample.split) for sample in table)
    grid = _table("class", *[split or "(no split)" for split in table.splits], "all", numbers_from=1)
    for label in sorted({sample.label for sample in table}):
        row = [counts[label, split] for split in table.splits]
        grid.add_row(label or "(no label)", *map(str, row), str(sum(row)))
    show_table(grid)
    sources = Counter(sample.source or "(unknown)" for sample in table)
    typer.echo("Sources: " + ", ".join(f"{name} {images}" for name, images in sources.most_common()))
    rows = _table("file", "label", "split", "source", "mask")
    for sample in table.samples[:5]:
        rows.add_row(sample.file, sample.label, sample.split, sample.source, sample.mask)
    show_table(rows)
    if out is not None:
        manifest.write_table(out, table)
        typer.echo(str(out))
    for warning in table.warnings:
        if out is None or warning != UNSETTLED:
            typer.echo(f"warning: {warning}", err=True)


@app.command("check")
def check(
    data: Data,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for check.json and check.html.")
    ] = None,
    layout: LayoutName = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON instead of tables.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a report that is there.")] = False,
) -> None:
    """Look for what makes results wrong: leaks, duplicates, damaged files, shortcuts."""
    import json

    from pulmoscope.core.files import claim_folder, write_json, write_text
    from pulmoscope.datasets import load
    from pulmoscope.datasets.check import check as check_table

    if out is not None:
        claim_folder(out, "check.json", force)
    with progress_bar("Drawing splits") as progress:
        table = load(data, layout, progress)
    with progress_bar("Reading images") as progress:
        report = check_table(table, progress)
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        _print_report(report)
    if out is not None:
        from pulmoscope.report.dataset_check import to_html

        write_text(out / "check.html", to_html(report, table))
        write_json(out / "check.json", report.to_json())
        typer.echo(str(out / "check.html"), err=as_json)


@app.command("phantom")
def phantom(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the pictures and manifest.csv.")],
    kind: Annotated[str, typer.Option(help="What to draw: xray or ct.")] = "xray",
    count: Annotated[
        int, typer.Option(min=1, help="How many pictures, or CT studies, in all; the classes take turns.")
    ] = 1,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated. X-ray: Normal, COVID, Viral Pneumonia, Tuberculosis; default: Normal, of several "
            "pictures Normal,COVID. CT: Normal, COVID, CAP; default: all three."
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=64, max=4096, help="Side, px. Default: 512, of a CT 256.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal pictures.")] = 0,
    masks: Annotated[
        bool, typer.Option("--masks", help="Write the true lung masks, too; of a CT also the lesions'.")
    ] = False,
    slices: Annotated[int, typer.Option(min=8, max=1000, help="CT: slices a study.")] = 60,
    format_: Annotated[str, typer.Option("--format", help="CT: dicom or nifti.")] = "dicom",
    tie: Annotated[
        str,
        typer.Option(
            help="CT: comma-separated settings of the scan that go with the class, so that a network can learn them "
            "instead of the lungs: dose, kernel, fov_mm, thickness_mm, scanner, height_mm, or all. Default: none."
        ),
    ] = "",
    tie_splits: Annotated[str, typer.Option(help="CT: the splits in which they do.")] = "train,val",
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Draw synthetic radiographs or synthetic chest CT: of no patient, for trying things out."""
    if kind == "ct":
        _ct_phantoms(
            out, count, classes, size, seed, masks, slices, format_, _names(tie), _names(tie_splits), force
        )
        return
    from pulmoscope.datasets.phantom_folder import write_phantoms

    if kind != "xray":
        raise typer.BadParameter(f"must be xray or ct (found: {kind})", param_hint="--kind")
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


def _extent(images: int, studies: int) -> str:
    """How much there is: ``6 images``, ``6 CT studies``, or ``6 images (2 of them CT studies)``."""
    if studies == images:
        return f"{studies} CT studies"
    return f"{images} images" + (f" ({studies} of them CT studies)" if studies else "")


def _ct_phantoms(
    out: Path,
    count: int,
    classes: str | None,
    size: int | None,
    seed: int,
    masks: bool,
    slices: int,
    layout: str,
    tie: list[str],
    tie_splits: list[str],
    force: bool,
) -> None:
    from pulmoscope.datasets.ct_lesions import LABELS
    from pulmoscope.datasets.ct_phantom_folder import LAYOUTS, write_ct_phantoms

    if layout not in LAYOUTS:
        raise typer.BadParameter(f"must be {' or '.join(LAYOUTS)} (found: {layout})", param_hint="--format")
    with progress_bar("Drawing") as progress:
        table = write_ct_phantoms(
            out,
            count,
            LABELS if classes is None else _names(classes),
            seed=seed,
            size=size or 256,
            slices=slices,
            layout="nifti" if layout == "nifti" else "dicom",
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


def _names(text: str) -> list[str]:
    """The names in a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _draw_steps(study: Path, out: Path | None, force: bool) -> None:
    """Pictures of a CT study's preprocessing."""
    from pulmoscope.core.errors import UnsuitableError
    from pulmoscope.core.types import Modality
    from pulmoscope.io import read_scan
    from pulmoscope.pipeline.steps import write_steps

    if out is None:
        raise typer.BadParameter("--steps needs a folder for the pictures", param_hint="-o")
    scan = read_scan(study, "ct")
    if scan.modality is not Modality.CT:
        raise UnsuitableError(study, "the steps are those of a CT study", "an X-ray")
    for file in write_steps(scan, out, force=force):
        typer.echo(str(file))


def _print_report(report: CheckReport) -> None:
    typer.echo(f"{report.data}: {_extent(report.images, report.studies)}, layout {report.layout}")
    counts: Counter[tuple[str, str, str]] = Counter()
    for count in report.counts:
        counts[count.label, count.source, count.split] += count.images
    grid = _table("class", "source", *[split or "(no split)" for split in report.splits], numbers_from=2)
    for label, source in sorted({(count.label, count.source) for count in report.counts}):
        row = [str(counts[label, source, split]) for split in report.splits]
        grid.add_row(label or "(no label)", source or "(unknown)", *row)
    show_table(grid)
    pixels = _table("split", "class", "images", "mean", "s.d.", numbers_from=2)
    for part in report.pixels:
        row = [str(part.images), f"{part.mean:.3f}", f"{part.sd:.3f}"]
        pixels.add_row(part.split or "(no split)", part.label or "all", *row)
    show_table(pixels)
    for problem in report.problems:
        typer.echo(problem)
    verdicts = _table("", "rule", "what was found")
    for one in report.verdicts:
        verdicts.add_row(one.verdict, one.rule, one.sentence)
    show_table(verdicts)
    for warning in report.warnings:
        typer.echo(f"warning: {warning}", err=True)


def _table(*columns: str, numbers_from: int | None = None) -> Table:
    """A table whose columns hold numbers from position ``numbers_from`` on."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(columns):
        table.add_column(
            name,
            justify="left" if numbers_from is None or position < numbers_from else "right",
            overflow="fold",
        )
    return table
