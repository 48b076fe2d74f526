"""The command line. Each command is a module; heavy imports stay inside the commands, so that starting is quick."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import typer

from pulmoscope.apps.cli import (
    audit,
    compare,
    datasets,
    demo,
    diagnose,
    doctor,
    evaluate,
    leave_out,
    recipes,
    severity,
    train,
    tune,
)
from pulmoscope.apps.cli.clinical import outcome, values
from pulmoscope.apps.cli.models import commands as models
from pulmoscope.apps.cli.models import export
from pulmoscope.apps.cli.results import check
from pulmoscope.core.errors import PulmoscopeError

INTERRUPTED = 130
"""The exit code that typer makes of Ctrl-C: 128 and the signal's number."""

_GOES_ON = {
    "diagnose": "the same command goes on",
    "tune": "the same command goes on, without --force",
    **dict.fromkeys(("train", "leave-out", "ablate"), "the same command goes on, with --resume"),
}
"""What becomes of the work of a command that was interrupted."""

_TEXTS = ("--name", "--series", "--terms", "--release")
"""Options that an empty text leaves at their default."""

app = typer.Typer(
    name="pulmoscope",
    help="Reads chest X-rays and CTs for COVID-19. Research use only; not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.command("diagnose")(diagnose.command)
app.command("check")(check.command)
app.command("train")(train.command)
app.command("evaluate")(evaluate.command)
app.command("compare")(compare.command)
app.command("leave-out")(leave_out.command)
app.command("audit")(audit.command)
app.command("tune")(tune.command)
app.command("export")(export.command)
app.command("ablate")(severity.ablate_command)
app.command("stress")(severity.stress_command)
app.add_typer(outcome.app, name="outcome")
app.add_typer(models.app, name="models")
app.add_typer(recipes.app, name="recipes")
app.add_typer(datasets.app, name="datasets")
app.add_typer(values.app, name="values")
app.command("demo")(demo.command)
app.command("doctor")(doctor.command)


def _tell_version(asked: bool) -> None:
    if asked:
        from pulmoscope.apps.cli.versions import versions

        for what, version in versions().items():
            typer.echo(f"{what} {version}")
        raise typer.Exit


@app.callback()
def _whole(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Say the versions of package, models and schemas.",
            is_eager=True,
            callback=_tell_version,
        ),
    ] = False,
) -> None:
    """What goes before any command."""


def main() -> None:
    """Run the command line; an error that is the user's business ends in one line and exit code 2.

    So does a command that needs a package of an extra that is not installed: training on a base install, say.
    """
    try:
        _check_none_is_empty(sys.argv[1:])
        app()
    except PulmoscopeError as error:
        typer.echo(f"pulmoscope: {error}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        extra = _extra_with(error.name or "")
        if extra is None:
            raise
        typer.echo(
            f"pulmoscope: this needs {error.name}, which comes with the extra {extra}: "
            f"pip install 'pulmoscope[{extra}]', or '.[{extra}]' in a clone",
            err=True,
        )
        sys.exit(2)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            then = _GOES_ON.get(sys.argv[1] if len(sys.argv) > 1 else "")
            typer.echo(f"pulmoscope: interrupted{f'; {then}' if then else ''}", err=True)
        raise


def _check_none_is_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty argument where a path is taken: a path's library takes it for the current folder.

    Raises:
        PulmoscopeError: one is empty.
    """
    for before, argument in pairwise(["", *arguments]):
        option, equals, value = (
            argument.partition("=") if argument.startswith("--") else (before, "", argument)
        )
        if value == "" and (equals or argument == "") and option not in _TEXTS:
            raise PulmoscopeError("an argument is empty where a path or a name is expected")


def _extra_with(module: str) -> str | None:
    """The first of this package's extras that brings a module; None where none does."""
    from importlib.metadata import requires

    names = "|".join(re.escape(name) for name in (module, module.partition(".")[0]))
    wanted = re.compile(rf"(?:{names})(?![\w.-]).*extra == ['\"](\w+)['\"]")
    matches = (wanted.match(line) for line in requires("pulmoscope") or [])
    return next((match.group(1) for match in matches if match), None)
