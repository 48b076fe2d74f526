from __future__ import annotations

import sys

import pytest
from rich.table import Table

from pulmoscope.apps.cli.console import as_typed, show


def test_a_command_is_recorded_without_the_folders_of_its_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [
        "evaluate",
        "xray-covid",
        "--data",
        "/ward/MUELLER 1951/",
        "--out=/ward/x",
        "--set",
        "loss.gamma=0.5",
    ]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pulmoscope", *given])
    assert as_typed() == "pulmoscope evaluate xray-covid --data 'MUELLER 1951' --out=x --set loss.gamma=0.5"


def test_a_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    cells = [f"{number:02}.952 (0.913–0.984)" for number in range(12)]
    for cell in cells:
        table.add_column(cell, no_wrap=True)
    table.add_row(*cells)
    show(table)
    printed = capsys.readouterr().out
    assert all(printed.count(cell) == 2 for cell in cells)
    assert "…" not in printed
