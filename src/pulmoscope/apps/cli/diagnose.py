"""``pulmoscope diagnose``: chest X-rays in, diagnoses and reports out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulmoscope.apps.cli.console import progress_bar

if TYPE_CHECKING:
    from pulmoscope.pipeline.diagnose import Outcome, Reports

FEW = 20
"""Up to so many inputs each get a page and heat maps; of more, those that are positive or referred."""


class Runtime(StrEnum):
    """What runs the network."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"


class Report(StrEnum):
    """Whose page and heat maps are written."""

    AUTO = "auto"
    ALL = "all"
    POSITIVE = "positive"
    NONE = "none"


def command(
    inputs: Annotated[
        list[Path], typer.Argument(help="Images (PNG, JPEG, TIFF, DICOM), folders or zips of them.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")],
    model: Annotated[str, typer.Option(help="A built-in model's name, or a bundle's folder.")] = "xray-covid",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    runtime: Annotated[Runtime, typer.Option(help="What runs the network.")] = Runtime.AUTO,
    report: Annotated[
        Report,
        typer.Option(
            help="Whose report.html and heat maps are written: all; positive (or referred); none; "
            f"auto: all for up to {FEW} inputs, positive for more."
        ),
    ] = Report.AUTO,
    force: Annotated[bool, typer.Option("--force", help="Replace the results of a complete run.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")] = False,
) -> None:
    """Diagnose chest X-rays: a probability, a decision, its reason and a report for each.

    Exit code 0: all diagnosed; 3: some refused, the others done; 4: all refused; 2: wrong usage. A run that was
    interrupted goes on when the same command is given again.
    """
    from pulmoscope.core.errors import PulmoscopeError
    from pulmoscope.io import entries, studies
    from pulmoscope.pipeline.diagnose import diagnose_many
    from pulmoscope.runtime.model import Model

    if any(given.is_dir() and given.resolve() == out.resolve() for given in inputs):
        raise PulmoscopeError(f"{out}: is one of the inputs; results go into a folder of their own")
    found = list(studies(entries(inputs, without=out)))
    opened = Model.load(model, runtime.value, device)
    stream = diagnose_many(found, opened, out, reports=_reports(report, len(found)), force=force)
    tally = _Tally()
    for outcome in stream if quiet or len(found) == 1 else _shown(stream, len(found)):
        tally.add(outcome)
        if outcome.error is not None:
            typer.echo(f"pulmoscope: refused: {outcome.error}", err=True)
        elif not quiet and len(found) <= FEW:
            _tell(outcome, alone=len(found) == 1)
    if not quiet and len(found) > 1:
        typer.echo(f"{tally.line()}; {out / 'index.json'}")
    raise typer.Exit(tally.exit_code())


def _reports(report: Report, inputs: int) -> Reports:
    """Whose pages are written, with ``auto`` decided."""
    if report is Report.NONE:
        return "none"
    return "all" if report is Report.ALL or (report is Report.AUTO and inputs <= FEW) else "positive"


class _Tally:
    """How many inputs came to what."""

    def __init__(self) -> None:
        self.diagnosed = self.referred = self.refused = self.kept = 0

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.refused += outcome.error is not None
        self.kept += outcome.kept
        if outcome.plain is not None:
            self.diagnosed += 1
            self.referred += outcome.plain["prediction"]["decision"] == "refer"

    def line(self) -> str:
        """For people."""
        before = f" ({self.kept} by the interrupted run)" if self.kept else ""
        return f"{self.diagnosed} diagnosed{before}, {self.referred} of them referred; {self.refused} refused"

    def exit_code(self) -> int:
        """0: all diagnosed; 3: some refused; 4: all refused."""
        if not self.refused:
            return 0
        return 3 if self.diagnosed else 4


def _tell(outcome: Outcome, alone: bool) -> None:
    """Say what became of one input: in a few lines where it is the only one, else in one."""
    from pulmoscope.report.html import percent
    from pulmoscope.report.page import summary

    assert outcome.plain is not None
    if alone:
        for line in summary(outcome.plain):
            typer.echo(line)
        if outcome.report is not None:
            typer.echo(f"Report          {outcome.report}")
        typer.echo("Research use only; a physician must read the image.")
        return
    prediction: dict[str, Any] = outcome.plain["prediction"]
    share = percent(prediction["probabilities"][prediction["label"]])
    where = f"  {outcome.report}" if outcome.report else ""
    typer.echo(f"{outcome.name}  {prediction['label']} {share}  {prediction['decision']}{where}")


def _shown(stream: Iterable[Outcome], total: int) -> Iterator[Outcome]:
    """The same outcomes, under a progress bar on stderr."""
    with progress_bar("Diagnosing") as progress:
        for done, outcome in enumerate(stream, start=1):
            progress(done, total)
            yield outcome
