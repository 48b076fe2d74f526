"""The data set that a command was given: read under a bar, its warnings on stderr."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pulmoscope.apps.cli.console import progress_bar

if TYPE_CHECKING:
    from pulmoscope.datasets import SampleTable


Data = Annotated[
    Path, typer.Option("--data", help="A data set: a folder in a known layout, or a manifest.csv.")
]
Layout = Annotated[str | None, typer.Option(help="The data set's layout; default: recognised.")]


def load_data(data: Path, layout: str | None = None) -> SampleTable:
    """Read a data set; the bar moves where splits are drawn (errors: see :func:`pulmoscope.datasets.load`)."""
    from pulmoscope.datasets import load

    with progress_bar("Drawing splits") as progress:
        table = load(data, layout, progress)
    for warning in table.warnings:
        typer.echo(f"pulmoscope: {data}: {warning}", err=True)
    return table
