"""The command line. Each command is a module; heavy imports stay inside the commands, so that starting is quick."""

from __future__ import annotations

import sys

import typer

from pulmoscope.apps.cli import audit, datasets, diagnose, doctor, evaluate, models, recipes, train, tune
from pulmoscope.core.errors import PulmoscopeError

app = typer.Typer(
    name="pulmoscope",
    help="Reads chest X-rays for COVID-19. Research use only; not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("diagnose")(diagnose.command)
app.command("train")(train.command)
app.command("evaluate")(evaluate.command)
app.command("audit")(audit.command)
app.command("tune")(tune.command)
app.add_typer(models.app, name="models")
app.add_typer(recipes.app, name="recipes")
app.add_typer(datasets.app, name="datasets")
app.command("doctor")(doctor.command)


def main() -> None:
    """Run the command line; an error that is the user's business ends in one line and exit code 2."""
    try:
        app()
    except PulmoscopeError as error:
        typer.echo(f"pulmoscope: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("pulmoscope: interrupted; run the same command again to go on", err=True)
        sys.exit(130)
