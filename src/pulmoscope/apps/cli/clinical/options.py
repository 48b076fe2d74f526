"""The options of a file of values, and reading it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pulmoscope.core.types import Flag
    from pulmoscope.pipeline.clinical.values import Values

TOLD = 20
"""So many remarks are told, one a line; more are counted."""


@dataclass(frozen=True)
class ClinicalOptions:
    """The patient's values beside an image."""

    values: Annotated[
        Path | None,
        typer.Option(
            help="The patients' values, as CSV or FHIR R4 Bundle; linked by patient and time, or by file."
        ),
    ] = None
    values_before: Annotated[
        float, typer.Option(min=0, help="How long before the image values may have been taken, in hours.")
    ] = 48.0
    values_after: Annotated[
        float, typer.Option(min=0, help="How long after the image values may have been taken, in hours.")
    ] = 24.0
    header_age_sex: Annotated[
        bool,
        typer.Option(
            "--header-age-sex", help="Take age and sex from the DICOM header where --values has none of them."
        ),
    ] = False
    outcome: Annotated[
        Path | None,
        typer.Option(
            help="A model of an outcome (a folder of `train outcome-clinical`), applied to the values and the image."
        ),
    ] = None


def read_given(options: ClinicalOptions, inputs: Iterable[str], *, only: bool, quiet: bool) -> Values | None:
    """The file of values that is given; what is not read of it is told. None without one.

    Args:
        inputs: the paths of all images.
        only: there is one image.

    Raises:
        PulmoscopeError: there is none, and an option is about one.
        UnreadableError: it can't be read, or what it means is unclear.
        BundleError: there is no model of an outcome where one is named, or it is damaged.
    """
    if options.values is None:
        wrong = {"--header-age-sex": options.header_age_sex, "--outcome": options.outcome is not None}
        for option in (option for option, given in wrong.items() if given):
            from pulmoscope.core.errors import PulmoscopeError

            raise PulmoscopeError(f"{option} is about the patient's values, and --values gives none")
        return None
    from pulmoscope.pipeline.clinical.values import Values
    from pulmoscope.values.choose import Window
    from pulmoscope.values.link import shared_names
    from pulmoscope.values.read import read_values

    file = read_values(options.values)
    if not quiet:
        for line in remark_lines(file.remarks):
            typer.echo(f"pulmoscope: {options.values}: {line}", err=True)
    window = Window(options.values_before, options.values_after)
    values = Values(file, window, options.header_age_sex, only, shared_names(file, inputs))
    return Values.of(values, options.outcome)


def remark_lines(flags: Iterable[Flag]) -> list[str]:
    """Flags one a line, a long list cut short."""
    lines = [flag.message for flag in flags]
    more = [f"and {len(lines) - TOLD} more like these"] if len(lines) > TOLD else []
    return [*lines[:TOLD], *more]
