"""``pulmoscope outcome``: a model of an outcome, evaluated on a table of patients or applied to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulmoscope.apps.cli.console import as_typed, show
from pulmoscope.apps.cli.options import Bootstrap, Force, Out, grouped

if TYPE_CHECKING:
    from pulmoscope.pipeline.outcome.evaluate import Source

app = typer.Typer(
    help="Evaluate models of `train outcome-clinical`, and apply them to tables.", no_args_is_help=True
)
Run = Annotated[
    Path, typer.Argument(help="A model's folder, of `train outcome-clinical`.", show_default=False)
]


@dataclass(frozen=True)
class Patients:
    """Which patients; what is not given is as in the model's training."""

    data: Annotated[Path, typer.Option("--data", help="The data set's folder, or the table itself.")]
    table: Annotated[str, typer.Option(help="The file with the values. Default: the model's.")] = ""
    outcome: Annotated[str, typer.Option(help="The column of the outcome. Default: the model's.")] = ""
    outcomes: Annotated[
        str, typer.Option(help="The file with the outcomes, where the table has a row a time.")
    ] = ""
    hours: Annotated[
        float | None,
        typer.Option(min=0, help="Values taken within so many hours from admission. Default: the model's."),
    ] = None

    def source(self, split: str) -> Source:
        """The same, as the evaluation takes it."""
        from pulmoscope.pipeline.outcome.evaluate import Source

        return Source(self.data, self.table, self.outcome, self.outcomes, self.hours, split)


@app.command("evaluate")
@grouped
def evaluate(
    run: Run,
    patients: Patients,
    out: Out,
    split: Annotated[
        str, typer.Option(help="Which split, or several as val,test; `all` takes every patient.")
    ] = "test",
    beside: Annotated[
        Path | None, typer.Option(help="Another model's folder, compared on the same patients.")
    ] = None,
    bootstrap: Bootstrap = 1000,
    force: Force = False,
) -> None:
    """AUROC, calibration, Brier score and calls at the model's threshold, with intervals.

    Writes predictions.csv, metrics.json, two pictures and report.html. Of a table with a row a time also how the AUROC
    depends on how early the values were taken. Of another outcome than the model's the figures say whether the one
    ranks patients by the other.
    """
    from pulmoscope.pipeline.outcome.evaluate import evaluate_outcome
    from pulmoscope.runtime.outcome import load_outcome

    report = evaluate_outcome(
        load_outcome(run),
        patients.source(split),
        out,
        beside=None if beside is None else load_outcome(beside),
        bootstrap=bootstrap,
        command=as_typed(),
        force=force,
    )
    _tell(report)
    typer.echo(f"Report: {out / 'report.html'}")


@app.command("predict")
@grouped
def predict(
    run: Run,
    patients: Patients,
    out: Out,
    split: Annotated[
        str, typer.Option(help="Which split, or several as val,test; `all` takes every patient.")
    ] = "all",
    force: Force = False,
) -> None:
    """The probability of every patient of a table, whose outcome need not be known, in predictions.csv."""
    from pulmoscope.pipeline.outcome.evaluate import PREDICTIONS, apply_outcome
    from pulmoscope.runtime.outcome import load_outcome

    table = apply_outcome(load_outcome(run), patients.source(split), out, force=force)
    typer.echo(f"{len(table)} rows: {out / PREDICTIONS}")


def _tell(report: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    from pulmoscope.apps.cli.evaluate import figure
    from pulmoscope.report.outcome import OUTCOME_FIGURES

    data, model = report["data"], report["model"]
    view = Table(
        box=box.SIMPLE_HEAD,
        title=f"{model['title']} ({model['kind']}) on {data['patients']} patients of {data['hospital']}, "
        f"{data['events']} with {data['outcome']}",
    )
    for name in ("", "value", "95 % interval"):
        view.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, (title, _) in OUTCOME_FIGURES.items():
        view.add_row(title, *figure(report["figures"][name]))
    for key, words in (("by_time", "before the end"), ("by_stay", "of stay or more")):
        for row in report[key]:
            title = f"AUROC, {row['days']} days {words} ({row['events']} of {row['patients']})"
            view.add_row(title, *figure(row["auroc"]))
    for name, own in (report["truth"] or {}).items():
        view.add_row(f"{name}: AUROC", *figure(own["auroc"]))
        view.add_row(f"{name}: more than the model", *figure(own["difference"]))
    if (other := report["beside"]) is not None:
        view.add_row("Other model: AUROC", *figure(other["figures"]["auroc"]))
        view.add_row("AUROC more than the other model's", *figure(other["difference"]))
    show(view)
    if not data["same_outcome"]:
        typer.echo(
            f"Another outcome: the model predicts {model['outcome']}, these patients are known by {data['outcome']}; "
            "calibration and calls mean nothing here."
        )
    for what, seen in (("model", data), ("other model", report["beside"] or {})):
        if seen.get("learnt_from"):
            typer.echo(f"The {what} has learnt from some of these patients.")
        if seen.get("threshold_from"):
            typer.echo(f"The {what}'s threshold was chosen on some of these patients.")
    if report["synthetic"]:
        typer.echo("Synthetic: the figures say nothing about patients.")
