"""``pulmoscope datasets``: check, list and show data sets, and draw synthetic ones."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pulmoscope.apps.cli.console import progress_bar
from pulmoscope.apps.cli.console import show as show_table
from pulmoscope.apps.cli.options import On
from pulmoscope.apps.cli.phantoms import phantom

if TYPE_CHECKING:
    from rich.table import Table

    from pulmoscope.datasets.check.check import Measure
    from pulmoscope.datasets.check.findings import CheckReport

FAILED = 1
"""The exit code of a check that ends in ``fail``; an error of the command itself is 2."""

app = typer.Typer(help="Check, list and show data sets; draw synthetic ones.", no_args_is_help=True)
app.command("phantom")(phantom)

Data = Annotated[Path, typer.Argument(help="A data set's folder, or a manifest.csv.", show_default=False)]
LayoutName = Annotated[
    str | None, typer.Option("--layout", help="The layout's name (see `datasets list`); default: recognised.")
]


@app.command("list")
def list_layouts() -> None:
    """The layouts that are read, and what they look like."""
    from pulmoscope.datasets.layouts.detect import LAYOUTS

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
    from pulmoscope.datasets.layouts.detect import UNSETTLED
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
    on: On = "",
) -> None:
    """Look for what makes results wrong: leaks, duplicates, damaged files, shortcuts.

    The exit code is 1 where a verdict is `fail`, else 0 (warnings included).
    """
    import json

    from pulmoscope.core.files import claim_folder, write_json, write_text
    from pulmoscope.datasets import load
    from pulmoscope.datasets.check.check import check as check_table

    if out is not None:
        claim_folder(out, "check.json", force)
    with progress_bar("Drawing splits") as progress:
        table = load(data, layout, progress)
    with _measuring(on) as measure, progress_bar("Reading images") as progress:
        report = check_table(table, progress, measure)
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        _print_report(report)
    if out is not None:
        from pulmoscope.report.dataset_check import to_html

        write_text(out / "check.html", to_html(report, table))
        write_json(out / "check.json", report.to_json())
        typer.echo(str(out / "check.html"), err=as_json)
    if report.verdict == "fail":
        raise typer.Exit(FAILED)


def _measuring(on: str) -> AbstractContextManager[Measure]:
    """What reads the images: this process, or the cluster that ``--on`` names."""
    if not on:
        from pulmoscope.datasets.check.measure import measure_all

        return nullcontext(measure_all)
    from pulmoscope.apps.ray.tables import measuring

    return measuring(on)


def _extent(images: int, studies: int) -> str:
    """How much there is: ``6 images``, ``6 CT studies``, or ``6 images (2 of them CT studies)``."""
    if studies == images:
        return f"{studies} CT studies"
    return f"{images} images" + (f" ({studies} of them CT studies)" if studies else "")


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
        raise UnsuitableError(
            study, "other-modality", "the image is an X-ray", "steps are drawn of a CT study"
        )
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
