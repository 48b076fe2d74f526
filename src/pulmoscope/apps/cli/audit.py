"""``pulmoscope audit``: does a model look at lungs, or at shortcuts?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from pulmoscope.apps.cli.console import as_typed, progress_bar, show
from pulmoscope.apps.cli.evaluate import chosen, tell_failures
from pulmoscope.apps.cli.options import (
    Bootstrap,
    DataOptions,
    Device,
    Force,
    ModelName,
    Out,
    Runtime,
    Split,
    WithRuntime,
    grouped,
)


@grouped
def command(
    model: ModelName,
    data: DataOptions,
    out: Out,
    split: Split = "test",
    runtime: WithRuntime = Runtime.AUTO,
    device: Device = "auto",
    bootstrap: Bootstrap = 1000,
    force: Force = False,
) -> None:
    """Ask of a model whether it looks at the lungs, what breaks it, and how far its figures can be relied on.

    Writes report.html, audit.json, and the predictions under every change.
    """
    from pulmoscope.pipeline.audit.run import audit, check_auditable
    from pulmoscope.runtime.model import Model

    opened = Model.load(model, runtime.value, device)
    check_auditable(opened)
    table = chosen(data, split, opened)
    with progress_bar("Auditing") as progress:
        report = audit(
            opened,
            table,
            out,
            split=split,
            bootstrap=bootstrap,
            command=as_typed(),
            force=force,
            progress=progress,
        )
    tell_failures(report)
    _tell(report)
    typer.echo(f"Report: {out / 'report.html'}")


def _tell(report: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    view = Table(box=box.SIMPLE_HEAD, title=f"{report['model']['name']} {report['model']['version']}: audit")
    view.add_column("")
    view.add_column("")
    for verdict in report["verdicts"]:
        view.add_row(verdict["level"].replace("none", "not known"), verdict["says"])
    show(view)
    typer.echo(f"Can I trust it at my hospital? {report['trust']['says']}")
