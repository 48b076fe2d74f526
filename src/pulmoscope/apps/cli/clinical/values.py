"""``pulmoscope values``: what a file of values holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from pulmoscope.apps.cli.clinical.options import remark_lines

app = typer.Typer(no_args_is_help=True, help="Values of patients: what a file of them holds.")


@app.callback()
def _whole() -> None:
    """Values of patients."""


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="A table as CSV, or a FHIR R4 Bundle as JSON.")],
) -> None:
    """Say what would be read of a file of values: how many of each analyte, their unit, and what is left out.

    Nothing of it identifies anyone. Exit code 0 also where single values are left out; 2: the file is refused.
    """
    from pulmoscope.core.analytes import ANALYTES
    from pulmoscope.values.read import read_values

    found = read_values(file)
    counts = Counter(value.name for record in found.records for value in record.values)
    timed = sum(
        value.taken is not None or value.hours is not None
        for record in found.records
        for value in record.values
    )
    of = "" if found.patients is None else f" of {found.patients} patient{'s' * (found.patients != 1)}"
    typer.echo(f"{counts.total()} values{of}, {timed} of them with a time")
    for name, analyte in ANALYTES.items():
        if name in counts:
            unit = "" if analyte.unit == "1" else analyte.unit
            typer.echo(f"  {name:22} {counts[name]:6}  {unit}".rstrip())
    for line in remark_lines(found.flags()):
        typer.echo(line)
