"""``pulmoscope check``: what one of our objects says, in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    files: Annotated[
        list[Path],
        typer.Argument(help="DICOM objects or FHIR Bundles that `diagnose --dicom` wrote."),
    ],
) -> None:
    """Say in plain words what a DICOM object or FHIR Bundle of Pulmoscope says; nothing of the patient is told.

    Exit code 0: all are; 3: some are damaged or not ours; 4: all are.
    """
    from pulmoscope.core.errors import InputError
    from pulmoscope.pipeline.objects.read import told

    refused = 0
    for number, file in enumerate(files):
        try:
            lines = told(file)
        except InputError as error:
            refused += 1
            typer.echo(f"pulmoscope: refused: {error}", err=True)
            continue
        if len(files) > 1:
            typer.echo(f"{'' if number == 0 else chr(10)}{file}")
        for line in lines:
            typer.echo(line)
    raise typer.Exit(0 if not refused else 3 if refused < len(files) else 4)
