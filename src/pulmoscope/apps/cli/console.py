"""What the commands show on a terminal beside plain lines: tables and progress. rich is imported when it is needed."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def as_typed() -> str:
    """The command line as the user gave it, for results: of every path the last part, as folders may name patients."""
    options = [(option + equals, value) for option, equals, value in map(_divided, sys.argv[1:])]
    return shlex.join(
        ["pulmoscope", *(before + (PurePath(value).name or value) for before, value in options)]
    )


def _divided(argument: str) -> tuple[str, str, str]:
    """What of an argument is an option's name, where both are one; and its value."""
    return argument.partition("=") if re.match(r"-{0,2}[\w.-]+=", argument) else ("", "", argument)


def show(table: Table) -> None:
    """Print a table; brackets in its cells are text, as file and class names may hold them.

    Into a file or a pipe it goes at its whole width: no figure is cut to fit a terminal that is not there.
    """
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = max(
            console.width, console.measure(table, options=console.options.update(width=1000)).maximum
        )
    console.print(table)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, so that stdout stays clean, moved by calling what this gives with (done, total)."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
