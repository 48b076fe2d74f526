"""``pulmoscope audit``: does a model look at lungs, or at shortcuts?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from pulmoscope.apps.cli.console import as_typed, progress_bar, show
from pulmoscope.apps.cli.evaluate import chosen, figure, tell_failures
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
    """Evaluate a model with the lungs, or the border, taken out of every image.

    Writes audit.json, report.html with examples, and the predictions under every perturbation.
    """
    from pulmoscope.pipeline.audit import audit, check_auditable
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

    view = Table(box=box.SIMPLE_HEAD, title=f"{report['model']['name']}: AUROC, {report['method']['auroc']}")
    view.add_column("")
    view.add_column("AUROC", justify="right", no_wrap=True)
    view.add_column("95 % interval", justify="right", no_wrap=True)
    view.add_column("")
    for row in report["results"]:
        view.add_row(row["title"], *figure(row["auroc"]), row["says"])
    show(view)
