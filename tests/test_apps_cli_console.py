from __future__ import annotations

import pytest
from rich.table import Table

from pulmoscope.apps.cli.console import show


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
