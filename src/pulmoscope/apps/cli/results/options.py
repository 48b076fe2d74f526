"""Which results ``diagnose`` writes, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

FEW = 20
"""Up to so many inputs each get a page and heat maps; of more, those that are positive or referred."""


class Report(StrEnum):
    """Whose page and heat maps are written."""

    AUTO = "auto"
    ALL = "all"
    POSITIVE = "positive"
    NONE = "none"


@dataclass(frozen=True)
class ResultOptions:
    """Which results have pages, what results are called, and whether a strange place refers."""

    report: Annotated[
        Report,
        typer.Option(
            help="Whose report.html and heat maps are written: all; positive (or referred); none; "
            f"auto: all for up to {FEW} inputs, positive for more."
        ),
    ] = Report.AUTO
    name: Annotated[
        str,
        typer.Option(
            help="What the only input is called in its results; default: by its content, as paths may name patients."
        ),
    ] = ""
    keep_names: Annotated[
        bool,
        typer.Option(
            "--keep-names", help="Name results after the files: only where no file names a patient."
        ),
    ] = False
    show_date: Annotated[
        bool,
        typer.Option(
            "--show-date",
            help="Tell a CT's date on its page: only where the page stays where patients are known.",
        ),
    ] = False
    dicom: Annotated[
        bool,
        typer.Option(
            "--dicom",
            help="Also write DICOM objects for a PACS, and fhir.json (extra `results`); like the sources, "
            "all of them name the patient.",
        ),
    ] = False
    pdf: Annotated[
        bool,
        typer.Option(
            "--pdf", help="Also write each page as PDF on A4 (extra `results`, and Pango of the system)."
        ),
    ] = False
    strict_drift: Annotated[
        bool,
        typer.Option(
            "--strict-drift",
            help="Refer all X-rays of a place (device or folder) that is unlike every hospital the model knows.",
        ),
    ] = False


def check_extras(results: ResultOptions) -> None:
    """Say before any work that what writes the results is missing.

    Raises:
        ModuleNotFoundError: a package of the extra ``results``; the command line says how to get it.
        ResourceError: Pango.
    """
    if results.dicom:
        from pulmoscope.pipeline.objects.write import need_highdicom

        need_highdicom()
    if results.pdf:
        from pulmoscope.report.pdf import check_pdf

        check_pdf()
