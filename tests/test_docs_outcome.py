"""docs/outcome.md: its commands are understood, its settings are there, and its columns are those that are read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from pulmoscope.apps.cli.main import app
from pulmoscope.core.outcome import SEVERITY
from pulmoscope.datasets.patients import HOURS, PATIENT, SOURCE, SPLIT, STAY
from pulmoscope.recipes.published import chosen
from pulmoscope.recipes.recipe import Named

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "outcome.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_understood(line: str) -> None:
    words = shlex.split(line)[1:]
    command = get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(line, words)  # raises for an option or argument that the command does not take


@pytest.mark.parametrize("setting", sorted(set(re.findall(r"--set (\w+=[\w.,-]+)", PAGE))))
def test_a_setting_is_one(setting: str) -> None:
    chosen("outcome-clinical", [setting], Named)


def test_the_columns_that_are_read_are_named() -> None:
    for name in (PATIENT, SPLIT, HOURS, STAY, SOURCE, *SEVERITY):
        assert f"`{name}`" in PAGE
